"""What the hub keeps: repositories as chains of commits over files kept by their digest."""

import hashlib
import threading
from dataclasses import dataclass, field

LARGE = 10 << 20
EMPTY = ".gitattributes"


def git_oid(content: bytes) -> str:
    """The name git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A file of a commit: its content and whether it came through the large file storage."""

    content: bytes
    is_large: bool

    @property
    def oid(self) -> str:
        """The digest by which the client recognises an unchanged file."""
        return hashlib.sha256(self.content).hexdigest() if self.is_large else git_oid(self.content)

    def describe(self, path: str) -> dict:
        """The file as the tree of a repository lists it."""
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": git_oid(self.content)}
        if self.is_large:
            entry["lfs"] = {"oid": self.oid, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass
class Commit:
    """The files of a repository at one moment."""

    sha: str
    parent: str | None
    files: dict[str, Blob]


@dataclass
class Repo:
    """A repository: its visibility, branches (`refs/pr/1` is a pull request), tags and commits."""

    repo_id: str
    private: bool
    gated: str | bool = False
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.commits:
            self.commit("main", {EMPTY: Blob(b"*.safetensors filter=lfs\n", False)})

    @property
    def owner(self) -> str:
        return self.repo_id.split("/")[0]

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch or a digest names."""
        return self.commits.get(self.branches.get(revision, self.tags.get(revision, revision)))

    def history(self, revision: str) -> list[Commit]:
        """The commits that a branch or a digest leads to, the last one first."""
        found, commit = [], self.find(revision)
        while commit is not None:
            found.append(commit)
            commit = self.commits.get(commit.parent or "")
        return found

    def commit(self, branch: str, files: dict[str, Blob]) -> Commit:
        """Add a commit with these files to a branch."""
        parent = self.branches.get(branch)
        listing = "".join(f"{path} {blob.oid}\n" for path, blob in sorted(files.items()))
        sha = hashlib.sha1(f"{self.repo_id} {parent} {len(self.commits)}\n{listing}".encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, files)
        self.branches[branch] = sha
        return self.commits[sha]

    def head(self, branch: str = "main") -> Commit:
        return self.commits[self.branches[branch]]


class Store:
    """All repositories, the large files that have arrived, and who may write."""

    def __init__(self, tokens: dict[str, str]) -> None:
        self.tokens = tokens
        self.repos: dict[str, Repo] = {}
        self.large_files: dict[str, bytes] = {}
        self.lock = threading.RLock()

    def create(self, repo_id: str, private: bool) -> Repo:
        """Make an empty repository."""
        self.repos[repo_id] = Repo(repo_id, private)
        return self.repos[repo_id]
