"""Keep the page on this machine: what is set before gradio and the Hub client are imported."""

from __future__ import annotations

import os

SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # unset, gradio looks up and calls a server of its makers
    "GRADIO_RUN_HISTORY": "False",  # it would keep every note in the browser
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",  # predictions run in threads
}
LOOPBACK = "127.0.0.1"
_CONTAINER_OF_A_SPACE = "SPACE_ID"


def isolate() -> None:
    """Set the environment, whatever it was."""
    os.environ.update(SETTINGS)


def server_name() -> str:
    """Choose the interface to listen on.

    Returns:
        The loopback interface. Only inside the container of a Hugging Face Space, which the Hub reaches from
        without and names by `SPACE_ID`, every interface of that container.
    """
    return "0.0.0.0" if os.environ.get(_CONTAINER_OF_A_SPACE) else LOOPBACK
