"""The Hub as `publish` needs it: who we are, what a repository is like, one line for whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from medm_plm.errors import InputError
from medm_plm.publishing.names import is_shareable

MAIN = "main"
_TRANSPORT_ERROR = HfHubHTTPError.__bases__[0]
"""What the library under the Hub's client raises when a connection breaks; its name has changed with time."""
_LOG_IN = "log in by `hf auth login` with a token that may write"
_AGAIN = "start the same command again; what has arrived is not sent twice"
_REMEDIES = {
    401: ("the Hub does not accept the token", _LOG_IN),
    402: ("the account may not do this", "see its plan and its billing on the Hub"),
    403: ("the token may not write there", "check the owner's name and the rights of the token"),
    404: ("the Hub knows no such repository or branch", "check the name and the rights of the token"),
    409: ("the repository exists already, or is being changed", "check the name and the rights of the token"),
    412: ("somebody else changed the repository meanwhile; nothing was published", "start again"),
    413: ("the Hub refuses files of this size", "see the limits of the account"),
    429: ("the Hub asks to wait", "start the same command again in a few minutes"),
}


@dataclass(frozen=True)
class Repository:
    """A repository as the Hub describes it at one moment.

    Args:
        is_private (`bool`): whether only its owners see it.
        is_gated (`bool`): whether readers have to ask for access.
        commit (`str`, *optional*): its last commit on the branch.
        files (`tuple[str, ...]`): names of its files.
    """

    is_private: bool
    is_gated: bool
    commit: str | None
    files: tuple[str, ...]

    def holds_models(self) -> bool:
        """Tell whether files that this project writes are in it already."""
        return any(is_shareable(name) for name in self.files)


def require_repo_id(repo_id: str) -> None:
    """Refuse what is no name of a repository.

    Args:
        repo_id (`str`): `OWNER/NAME`.

    Raises:
        InputError: if it is anything else.
    """
    try:
        validate_repo_id(repo_id)
        is_whole = isinstance(repo_id, str) and repo_id.count("/") == 1
    except HFValidationError:
        is_whole = False
    if not is_whole:
        raise InputError("the name of the repository", received=repr(repo_id)[:80], expected="OWNER/NAME")


def require_account(api: HfApi) -> None:
    """Refuse to go on without a token that the Hub accepts."""
    with one_line_hub_errors("reading the account"):
        api.whoami()


def read_repository(api: HfApi, repo_id: str, revision: str = MAIN) -> Repository | None:
    """Ask the Hub what a repository is like now.

    Args:
        api (`HfApi`): client.
        repo_id (`str`): `OWNER/NAME`.
        revision (`str`, defaults to `"main"`): branch whose commit and files are asked for.

    Returns:
        The description; None if there is no such repository, or none that the token may see.

    Raises:
        InputError: if the Hub cannot be asked, or tells of another repository.
    """
    with one_line_hub_errors(f"reading {repo_id}"):
        try:
            info = api.model_info(repo_id, revision=revision)
        except RevisionNotFoundError:
            info = api.model_info(repo_id)
        except RepositoryNotFoundError:
            return None
    if info.id != repo_id:
        raise InputError("the repository has been moved", received=repo_id, remedy="use its new name")
    # What the Hub leaves unsaid counts as public.
    return Repository(
        is_private=info.private is True,
        is_gated=bool(info.gated),
        commit=info.sha,
        files=tuple(sibling.rfilename for sibling in info.siblings or ()),
    )


@contextmanager
def one_line_hub_errors(what: str) -> Iterator[None]:
    """Turn what the Hub's client raises into one of our errors, without the words of client or server.

    Args:
        what (`str`): what was tried.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, _TRANSPORT_ERROR) as error:
        reason, remedy = _explain(error)
        raise InputError(f"{what}: {reason}", remedy=remedy) from None


def _explain(error: BaseException) -> tuple[str, str]:
    cause = error.__cause__
    if isinstance(error, RuntimeError) and cause is not None:  # around what happened to one file
        return _explain(cause)
    if isinstance(error, LocalTokenNotFoundError):
        return "there is no token", _LOG_IN
    if isinstance(error, OfflineModeIsEnabled):
        return "the Hub is switched off", "unset HF_HUB_OFFLINE"
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error.response.status_code)
    if isinstance(error, _TRANSPORT_ERROR | ConnectionError | TimeoutError):
        return "the Hub cannot be reached, or the connection broke", _AGAIN
    if isinstance(error, ValueError) and isinstance(cause, HfHubHTTPError):
        return "the Hub does not accept the header of README.md", "write the card again by run_card.py"
    return f"the client of the Hub gave up ({type(error).__name__})", _AGAIN


def _explain_status(status: int) -> tuple[str, str]:
    if status >= 500:
        return f"the Hub has a fault of its own (status {status})", _AGAIN
    reason, remedy = _REMEDIES.get(status, ("the Hub refuses", "check the name and the rights of the token"))
    return f"{reason} (status {status})", remedy
