"""The Hub as `publish` needs it: who we are, what a repository is like, one line for whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

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

MAIN = "main"
_HUB = "https://huggingface.co"
_FILES_OF_THE_HUB = frozenset({".gitattributes"})
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
        files (`tuple[str, ...]`): names of its files on the branch.
    """

    is_private: bool
    is_gated: bool
    commit: str | None
    files: tuple[str, ...]

    def holds_files(self) -> bool:
        """Tell whether anything is in it beside what the Hub puts into every new repository."""
        return not _FILES_OF_THE_HUB.issuperset(self.files)


@dataclass(frozen=True)
class History:
    """Everything of a repository that becomes visible when it is made public.

    Args:
        branches (`frozenset[str]`): names of its branches.
        other_refs (`int`): tags, conversions and requests to change something.
        commits (`dict[str, tuple[str, ...]]`): commits of each branch that was asked for, the last one first.
    """

    branches: frozenset[str]
    other_refs: int
    commits: dict[str, tuple[str, ...]]

    def is_new(self) -> bool:
        """Tell whether nothing has happened in the repository since the Hub made it."""
        return self.branches == {MAIN} and not self.other_refs and len(self.commits[MAIN]) <= 1

    def is_followed_only_by(self, commit: str, revision: str, now: History) -> bool:
        """Tell whether one commit is all that has been added since.

        Args:
            commit (`str`): the commit.
            revision (`str`): its branch, which may be new.
            now (`History`): the history as it is now, with the commits of that branch.

        Returns:
            Whether nothing else has.
        """
        before = self.commits[MAIN]
        return (
            now.branches == {MAIN, revision}
            and not now.other_refs
            and now.commits[revision] == (commit, *before)
            and (revision == MAIN or now.commits[MAIN] == before)
        )


def require_endpoint(endpoint: str) -> str | None:
    """Refuse a Hub to which the token would go in clear.

    Args:
        endpoint (`str`): address of the Hub, as `HF_ENDPOINT` gives it.

    Returns:
        Scheme, host and port; None for the one that everybody knows.

    Raises:
        InputError: if the address is not encrypted and not on this machine.
    """
    try:
        address = urlsplit(endpoint)
        host, port = address.hostname or "", address.port
        is_here = host == "localhost" or (host != "" and _is_loopback(host))
    except ValueError:
        raise InputError("the address of the Hub in HF_ENDPOINT is none", expected=_HUB) from None
    if not host or not (address.scheme == "https" or (address.scheme == "http" and is_here)):
        raise InputError(
            "token and model would go to the Hub of HF_ENDPOINT without encryption",
            expected="an address that begins with https:",
            remedy="unset HF_ENDPOINT, or give such an address",
        )
    shown = f"{address.scheme}://{host if ':' not in host else f'[{host}]'}{f':{port}' if port else ''}"
    return None if shown == _HUB else shown


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


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


def read_history(api: HfApi, repo_id: str, revision: str = MAIN) -> History:
    """Ask the Hub for the branches, tags and commits of a repository.

    Args:
        api (`HfApi`): client.
        repo_id (`str`): `OWNER/NAME`.
        revision (`str`, defaults to `"main"`): a branch whose commits are asked for, beside the main one.

    Returns:
        The history.

    Raises:
        InputError: if the Hub cannot be asked.
    """
    with one_line_hub_errors(f"reading the history of {repo_id}"):
        refs = api.list_repo_refs(repo_id, include_pull_requests=True)
        branches = frozenset(branch.name for branch in refs.branches)
        commits = {
            name: tuple(commit.commit_id for commit in api.list_repo_commits(repo_id, revision=name))
            for name in sorted({MAIN, revision} & (branches | {MAIN}))
        }
    return History(branches, len(refs.tags) + len(refs.converts) + len(refs.pull_requests or ()), commits)


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
