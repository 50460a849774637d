"""Publishing a model on the Hub: only files from a list, looked through first, private unless asked twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medm_plm.publishing.folder import shareable_files
from medm_plm.publishing.pushing import Publication, publish

if TYPE_CHECKING:
    from medm_plm.publishing.runs import publish_run

__all__ = ["Publication", "publish", "publish_run", "shareable_files"]


def __getattr__(name: str) -> Any:
    if name == "publish_run":  # brings torch with it, which publishing a saved folder does not need
        from medm_plm.publishing.runs import publish_run

        return publish_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
