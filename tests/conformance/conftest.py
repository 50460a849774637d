"""Make the markers of the library's suites known, which our settings otherwise refuse."""

import pytest

LIBRARY_MARKERS = (
    "accelerate_tests",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "flash_attn_test",
    "is_agent_test",
    "is_expert_parallel_test",
    "is_fsdp_test",
    "is_pipeline_test",
    "is_staging_test",
    "is_tensor_parallel_test",
    "is_training_test",
    "order",
    "torch_compile_test",
    "torch_export_test",
)


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest when it finds this file."""
    for marker in LIBRARY_MARKERS:
        config.addinivalue_line("markers", f"{marker}: used by the suites of transformers")
