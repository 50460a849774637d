"""What MedM-PLM installs and what it needs.

The three files that travel to the Hub and the scripts are top-level modules; everything else is the package
`medm_plm`. The ranges below are what the tests pass with: `constraints.txt` pins their newest end,
`constraints-minimum.txt` their lowest.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Read the version without importing the package, whose requirements are not installed yet."""
    source = (ROOT / "medm_plm" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE).group(1)


REQUIREMENTS = [
    "torch>=2.10",  # earlier ones: GHSA-63cw-57p8-fm3p
    # Before 5.5.4, Trainer and accelerate both divide accumulated losses; before 5.3: CVE-2026-4372.
    "transformers>=5.5.4,<6",
    "accelerate>=1.10",
    "datasets>=4.4",
    "evaluate>=0.4.6",
    "huggingface_hub>=1.22,<3",  # before 1.22, a cut transfer is not taken up again
    "isal>=1.7",  # decompresses the tables two to three times as fast as the standard library
    "networkx>=3.2",
    "numpy>=2.1",
    "packaging>=24.2",  # medm-plm doctor compares versions by it; transformers and accelerate need it too
    "polars>=1.36.1,<3",
    "pyarrow>=21",
    "PyYAML>=6.0.1",
    "safetensors>=0.6.2",
    "scikit-learn>=1.6",
    "scipy>=1.14",
    "tokenizers>=0.22.2",
    "tqdm>=4.66.3",
]

# Only for the pictures of run_experiments.py.
FIGURE_REQUIREMENTS = ["matplotlib>=3.9"]
# Only for integrated gradients (run_explanation.py).
EXPLANATION_REQUIREMENTS = ["captum>=0.9"]  # older ones need numpy 1
# Only for ONNX files (run_export.py).
ONNX_REQUIREMENTS = ["onnx>=1.19", "onnxruntime>=1.22", "onnxscript>=0.5"]
# Only for adapters on the text encoder (docs/using.md).
LORA_REQUIREMENTS = ["peft>=0.18"]
# Only for medm-plm completion.
COMPLETION_REQUIREMENTS = ["shtab>=1.7"]
# Only for the demo page; older ones have known holes in their file routes.
DEMO_REQUIREMENTS = ["gradio>=6.7"]
# Only for the tests of that page and its picture; chromium and chromium-driver come from Debian.
BROWSER_REQUIREMENTS = ["selenium>=4.25"]
TEST_REQUIREMENTS = [
    "hypothesis>=6.100",
    "parameterized>=0.9",  # what the suites of transformers import
    "pillow>=10",  # without it the processor suite of transformers skips itself
    "pytest>=9",
    "protobuf>=5",  # old transformers ask for it whenever a tokenizer refuses an argument
    "pytest-xdist>=3.6",
    "seqeval>=1.2.2",  # the reference our strict span F1 is compared with
    "torch_geometric>=2.6",  # the reference our graph attention is compared with
    *FIGURE_REQUIREMENTS,
    *EXPLANATION_REQUIREMENTS,
    *ONNX_REQUIREMENTS,
    *LORA_REQUIREMENTS,
    *COMPLETION_REQUIREMENTS,
]
STYLE_REQUIREMENTS = ["ruff>=0.14", "mypy>=1.18", "types-PyYAML>=6.0.12"]
# Only for the preparation on many machines (docs/large_scale.md); older ones know no token authentication.
ENGINE_REQUIREMENTS = ["ray>=2.52,<3"]

setup(
    name="medm-plm",
    version=read_version(),
    description="Language models over the notes and the diagnosis and medication codes of hospital visits",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["electronic health records", "clinical notes", "ICD", "ATC", "transformers", "multimodal"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Healthcare Industry",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["medm_plm", "medm_plm.*"]),
    py_modules=[
        "configuration_medm_plm",
        "tokenization_medm_plm",
        "modeling_medm_plm",
        "pipeline_medm_plm",
        "run_preparation",
        "run_pretraining",
        "run_finetuning",
        "run_experiments",
        "run_explanation",
        "run_prediction",
        "run_export",
        "run_card",
        "run_privacy",
        "run_publishing",
    ],
    entry_points={"console_scripts": ["medm-plm = medm_plm.cli:main"]},
    package_data={"medm_plm": ["py.typed", "ontologies/*.csv", "cards/templates/*.md"]},
    install_requires=REQUIREMENTS,
    extras_require={
        "test": TEST_REQUIREMENTS,
        "dev": TEST_REQUIREMENTS + STYLE_REQUIREMENTS,
        "figures": FIGURE_REQUIREMENTS,
        "explanations": EXPLANATION_REQUIREMENTS,
        "onnx": ONNX_REQUIREMENTS,
        "lora": LORA_REQUIREMENTS,
        "completion": COMPLETION_REQUIREMENTS,
        "demo": DEMO_REQUIREMENTS,
        "browser": BROWSER_REQUIREMENTS,
        "engines": ENGINE_REQUIREMENTS,
    },
)
