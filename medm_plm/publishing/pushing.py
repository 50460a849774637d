"""Sending a model to the Hub: private by default, and never a file that was not looked through."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from medm_plm.command_line import print_table
from medm_plm.errors import InputError
from medm_plm.publishing import names
from medm_plm.publishing.card import is_gated, read_metadata, require_public_card
from medm_plm.publishing.contents import CheckedFile
from medm_plm.publishing.folder import check_folder
from medm_plm.publishing.hub import (
    MAIN,
    History,
    Repository,
    one_line_hub_errors,
    read_history,
    read_repository,
    require_account,
    require_endpoint,
    require_repo_id,
)
from medm_plm.publishing.leaks import KnownSecrets
from medm_plm.publishing.provenance import has_read_closed_data


@dataclass(frozen=True)
class Publication:
    """What was sent, or would be.

    Args:
        repo_id (`str`): `OWNER/NAME`.
        files (`dict[str, int]`): bytes of each file.
        left_out (`list[str]`): what of the folder stays.
        is_public (`bool`): whether everybody can see it.
        is_gated (`bool`): whether readers have to ask for access.
        commit (`str`, *optional*): the commit; None after `dry_run`.
        other_files (`list[str]`): files of the repository that this project never sends.
        endpoint (`str`, *optional*): address of the Hub, if it is another one than huggingface.co.
    """

    repo_id: str
    files: dict[str, int]
    left_out: list[str]
    is_public: bool
    is_gated: bool
    commit: str | None = None
    other_files: list[str] = field(default_factory=list)
    endpoint: str | None = None


def publish(
    model_folder: str | Path,
    repo_id: str,
    *,
    public: bool = False,
    confirm_public: str | None = None,
    dry_run: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> Publication:
    """Look through a model folder, print what would be sent, and send it to a repository of the Hub.

    The repository is created private, and read again before the first byte and before the commit: one that
    has become public meanwhile gets nothing. A public one is made public by the last step, after the commit.

    Args:
        model_folder (`str` or `Path`): folder of a saved model, with its card in `README.md`.
        repo_id (`str`): `OWNER/NAME`.
        public (`bool`, defaults to False): let everybody see it. The header of the card must then name the
            data, and gate the repository if the data are under an agreement.
        confirm_public (`str`, *optional*): the name of the repository once more, needed with `public`.
        dry_run (`bool`, defaults to False): look and print only; nothing is sent, not even a question.
        revision (`str`, *optional*): branch, made if it does not exist; the main one by default.
        token (`str`, *optional*): token of the Hub; the one of `hf auth login` or `HF_TOKEN` by default.

    Returns:
        What was sent.

    Raises:
        InputError: naming in one line what forbids it, or what went wrong on the way.
    """
    folder = Path(model_folder)
    require_repo_id(repo_id)
    api = HfApi(token=token)
    endpoint = require_endpoint(api.endpoint)
    _require_consent(repo_id, public, confirm_public)
    files, left_out = check_folder(folder, KnownSecrets.of_this_machine(folder, token))
    card = next((file.content for file in files if file.name == names.CARD_FILE), None)
    metadata = read_metadata(card, folder / names.CARD_FILE)
    if public:
        require_public_card(metadata, folder / names.CARD_FILE, has_read_closed_data(folder))
    sizes = {file.name: file.size for file in files}
    is_guarded = public and is_gated(metadata)
    plan = Publication(repo_id, sizes, left_out, public, is_guarded, endpoint=endpoint)
    print_plan(plan)
    if dry_run:
        return plan
    return _Sender(api, plan, files, revision or MAIN).send()


def print_plan(plan: Publication) -> None:
    """Print what leaves the machine and what stays, before anything does.

    Args:
        plan (`Publication`): what would be sent.
    """
    kind = "public" if plan.is_public else "private"
    where = f" on {plan.endpoint}" if plan.endpoint else ""
    title = f"To {plan.repo_id}{where}, {kind}{', gated' if plan.is_gated else ''}"
    rows: list[list[Any]] = [[name, size] for name, size in plan.files.items()]
    print_table(title, ["file", "bytes"], [*rows, ["in all", sum(plan.files.values())]])
    if plan.left_out:
        print_table("Stays here", ["file or folder"], [[name] for name in plan.left_out])


def _require_consent(repo_id: str, public: bool, confirm_public: str | None) -> None:
    if public and confirm_public != repo_id:
        raise InputError(
            "a public repository needs its name once more",
            received="another name" if confirm_public else "no confirmation",
            expected=f"--confirm_public {repo_id}",
            remedy="the data must allow that everybody gets the model",
        )
    if confirm_public is not None and not public:
        raise InputError("option --confirm_public means something with --public only")


class _Sender:
    """One upload, which reads the visibility of the repository before each step that gives something away."""

    def __init__(self, api: HfApi, plan: Publication, files: list[CheckedFile], revision: str) -> None:
        self.api = api
        self.plan = plan
        self.files = files
        self.revision = revision
        self.goes_to_public = False  # whether it was public before, and may be
        self.opened_from: History | None = None  # what it was like, if it is private and to become public

    def send(self) -> Publication:
        """Send the files.

        Returns:
            What was sent.

        Raises:
            InputError: if the repository is or becomes visible to others than it may, or the Hub refuses.
        """
        require_account(self.api)
        repo_id = self.plan.repo_id
        repository = read_repository(self.api, repo_id, self.revision)
        if repository is None:
            with one_line_hub_errors(f"making {repo_id}"):
                self.api.create_repo(repo_id, private=True, exist_ok=False)
        else:
            self._require_fitting(repository)
        before = self._require_visibility()
        if self.plan.is_public and not self.goes_to_public:
            self.opened_from = self._require_new(before)
        if self.revision != MAIN:
            with one_line_hub_errors(f"making the branch {self.revision}"):
                self.api.create_branch(repo_id, branch=self.revision, exist_ok=True)
            before = self._require_visibility()
        commit = self._commit(before)
        self._open_up(commit)
        others = [
            name for name in before.files if name not in self.plan.files and not name.startswith(".git")
        ]
        stale = set(self._stale(before))
        others = [name for name in others if name not in stale and not names.is_shareable(name)]
        return Publication(**{**vars(self.plan), "commit": commit, "other_files": others})

    def _require_fitting(self, repository: Repository) -> None:
        """Refuse an existing repository that others see, or whose history they would see."""
        if not repository.is_private and not self.plan.is_public:
            raise InputError(
                f"the repository {self.plan.repo_id} is public; nothing was sent",
                remedy="take another name, or make it private in its settings on the Hub",
            )
        if not repository.is_private and self.plan.is_gated and not repository.is_gated:
            raise InputError(
                f"the repository {self.plan.repo_id} is public without the gate that the card asks for; "
                "nothing was sent",
                remedy="switch on access requests in its settings on the Hub first",
            )
        self.goes_to_public = not repository.is_private

    def _require_new(self, repository: Repository) -> History:
        """Refuse to open a repository in which there is anything yet: files, branches, tags, commits."""
        history = read_history(self.api, self.plan.repo_id)
        if repository.holds_files() or not history.is_new():
            raise InputError(
                f"the repository {self.plan.repo_id} is private and not empty, and its files, branches and "
                "earlier versions would become public too; nothing was sent",
                remedy="take another name, or look through it and make it public in its settings on the Hub",
            )
        return history

    def _require_visibility(self) -> Repository:
        """Read the repository anew; it must still be as private as it was, and as gated."""
        now = read_repository(self.api, self.plan.repo_id, self.revision)
        if now is None:
            raise InputError(f"the repository {self.plan.repo_id} is gone; nothing was published")
        is_open = not now.is_private
        if (is_open and not self.goes_to_public) or (is_open and self.plan.is_gated and not now.is_gated):
            raise InputError(
                f"the repository {self.plan.repo_id} has become public meanwhile; nothing was published",
                remedy="make it private in its settings on the Hub and start again",
            )
        return now

    def _stale(self, repository: Repository) -> list[str]:
        """Weights of an earlier version, which would be taken for parts of this one."""
        return [
            name
            for name in repository.files
            if (names.is_weights(name) or name == names.INDEX_FILE) and name not in self.plan.files
        ]

    def _commit(self, before: Repository) -> str:
        repo_id, revision = self.plan.repo_id, self.revision
        additions = [
            CommitOperationAdd(file.name, str(file.path) if file.content is None else file.content)
            for file in self.files
        ]
        deletions = [CommitOperationDelete(name, is_folder=False) for name in self._stale(before)]
        with one_line_hub_errors(f"sending to {repo_id}"):
            self.api.preupload_lfs_files(repo_id, additions, revision=revision, free_memory=False)
        self._require_visibility()
        changed = next(
            (file for file in self.files if file.content is None and not file.is_unchanged()), None
        )
        if changed is not None:
            raise InputError(
                "the file was changed while it was sent", file=changed.path, remedy="start again"
            )
        with one_line_hub_errors(f"publishing in {repo_id}"):
            made = self.api.create_commit(
                repo_id,
                [*additions, *deletions],
                commit_message="Model, processor, code and card",
                revision=revision,
                # Two at once must not mix their files: the second is refused.
                parent_commit=before.commit,
            )
        return made.oid

    def _open_up(self, commit: str) -> None:
        """Make the repository as visible as was asked for; look whether it is no more than that."""
        repo_id = self.plan.repo_id
        if self.opened_from is not None:
            history = read_history(self.api, repo_id, self.revision)
            if not self.opened_from.is_followed_only_by(commit, self.revision, history):
                raise InputError(
                    f"somebody else put something into {repo_id} meanwhile, so it stays private; the model "
                    "has arrived",
                    remedy="look at its branches and versions, and make it public in its settings on the Hub",
                )
            gate = {"gated": "manual"} if self.plan.is_gated else {}
            with one_line_hub_errors(
                f"making {repo_id} public (its files have arrived; it is still private)"
            ):
                self.api.update_repo_settings(repo_id, private=False, **gate)
        now = read_repository(self.api, repo_id, self.revision)
        is_open = now is not None and not now.is_private
        lacks_gate = self.plan.is_gated and now is not None and not now.is_gated
        if is_open and (not self.plan.is_public or lacks_gate):
            with one_line_hub_errors(f"{repo_id} IS PUBLIC although it must not be: make it private now"):
                self.api.update_repo_settings(repo_id, private=True)
            raise InputError(
                f"the repository {repo_id} was made public by somebody else while the model arrived; it has "
                "been made private again",
                remedy="look at its settings and at who has downloaded it",
            )
