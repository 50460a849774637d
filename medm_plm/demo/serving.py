"""Start the page from a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from medm_plm import register_auto_classes
from medm_plm.command_line import parse_arguments
from medm_plm.demo.isolation import isolate, server_name
from medm_plm.errors import InputError

DESCRIPTION = """Show fine-tuned models on a page of this machine.

    python demo/app.py --models demo-output
    python demo/app.py --models icd_coding readmission medication_recommendation

Research use, not for care. The page is served to this machine alone and asks nothing of any other.
"""
DEFAULT_MODELS = "demo-output"
_LARGEST_PORT = 65_535


@dataclass
class DemoArguments:
    """What the page shows, and where.

    Args:
        models (`list[str]`): folders of fine-tuned models, or one that holds them, as `make demo` leaves it.
        port (`int`, defaults to 7860): port on this machine; 0 takes a free one.
        examples (`int`, defaults to 3): how many invented patients are offered.
    """

    models: list[str] = field(
        default_factory=lambda: [DEFAULT_MODELS],
        metadata={"help": "folders of fine-tuned models, or a folder that holds them"},
    )
    port: int = field(default=7860, metadata={"help": "port on this machine; 0 takes a free one"})
    examples: int = field(default=3, metadata={"help": "how many invented patients are offered"})

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _LARGEST_PORT:
            raise InputError("option --port", received=self.port, expected=f"0 to {_LARGEST_PORT}")
        if self.examples < 0:
            raise InputError("option --examples", received=self.examples, expected="0 or more")


def main(argv: Sequence[str] | None = None) -> None:
    """Load the models, make the examples, and serve until interrupted.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.

    Raises:
        InputError: if gradio is not installed, a folder holds no model, or the port is taken.
    """
    (options,) = parse_arguments(DemoArguments, argv=argv, description=DESCRIPTION)
    isolate()
    if find_spec("gradio") is None:
        raise InputError("the page needs gradio", remedy="pip install 'medm-plm[demo]'")
    serve(options)


def serve(options: DemoArguments) -> None:
    """As `main`, with options that are read already."""
    from transformers.utils.logging import disable_progress_bar

    from medm_plm.demo.examples import invented_examples
    from medm_plm.demo.page import Demonstration, build_page, launch_options
    from medm_plm.demo.predicting import Predictors

    register_auto_classes()
    disable_progress_bar()
    demonstration = Demonstration(Predictors.load(options.models))
    examples = invented_examples(demonstration.diagnoses, demonstration.medications, options.examples)
    page = build_page(demonstration, examples)
    try:
        _, url, _ = page.launch(
            server_name=server_name(),
            server_port=options.port or free_port(),
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(),
        )
    except OSError:
        raise InputError(
            "the port is taken", received=options.port, remedy="give another one: --port 0 takes a free one"
        ) from None
    sys.stdout.write(f"{', '.join(demonstration.predictors.pipelines)}: {url}\n")
    sys.stdout.flush()
    page.block_thread()


def free_port() -> int:
    """Ask the system for a port that nobody uses."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
