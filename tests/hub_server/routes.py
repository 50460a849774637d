"""The routes of the hub, each a function of the store and a request."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_server.store import LARGE, Blob, Commit, Repo, Store

ID = r"(?P<id>[^/]+/[^/]+)"


@dataclass(frozen=True)
class Question:
    """A request."""

    method: str
    target: str
    body: bytes
    headers: Mapping[str, str]
    url: str

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode())


@dataclass
class Answer:
    """A reply; a content that is not bytes becomes JSON."""

    status: int
    content: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818
    """A reply that ends a route early."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        headers = {
            name: value for name, value in (("X-Error-Code", code), ("X-Error-Message", message)) if value
        }
        self.answer = Answer(status, {"error": message or code}, headers)


def answer(store: Store, question: Question) -> Answer:
    """Answer one request."""
    # A revision may hold an escaped slash, so the path is unescaped part by part.
    path = urlsplit(question.target).path
    try:
        if question.token and question.token not in store.tokens:
            raise Refusal(401, message="Invalid credentials in Authorization header")
        for method, pattern, route in ROUTES:
            if method == question.method and (found := re.fullmatch(pattern, path)):
                parts = {name: unquote(part or "") for name, part in found.groupdict().items()}
                return route(store, question, **parts)
        return Answer(404, {"error": f"no route {question.method} {path}"})
    except Refusal as refusal:
        return refusal.answer


def _readable(store: Store, question: Question, repo_id: str) -> Repo:
    repo, user = store.repos.get(repo_id), store.tokens.get(question.token)
    if repo is None or (repo.private and repo.owner != user):
        raise Refusal(404 if user else 401, "RepoNotFound", "Repository not found")
    return repo


def _writable(store: Store, question: Question, repo_id: str) -> Repo:
    repo = _readable(store, question, repo_id)
    if store.tokens.get(question.token) != repo.owner:
        raise Refusal(403, message="You don't have the required permissions")
    return repo


def _commit_of(repo: Repo, revision: str) -> Commit:
    commit = repo.find(revision or "main")
    if commit is None:
        raise Refusal(404, "RevisionNotFound", "Invalid rev id")
    return commit


def whoami(store: Store, question: Question) -> Answer:
    user = store.tokens.get(question.token)
    if user is None:
        raise Refusal(401, message="Invalid username or password.")
    return Answer(200, {"type": "user", "name": user, "orgs": [], "auth": {"type": "access_token"}})


def create(store: Store, question: Question) -> Answer:
    user, asked = store.tokens.get(question.token), question.json()
    owner = asked.get("organization") or user
    if user is None:
        raise Refusal(401, message="Invalid username or password.")
    if owner != user:
        raise Refusal(403, message="You don't have the rights to create a model under this namespace")
    repo_id = f"{owner}/{asked['name']}"
    reply = {"url": f"{question.url}/{repo_id}", "name": repo_id}
    if repo_id in store.repos:
        return Answer(409, {**reply, "error": "You already created this model repo"})
    # As the real one: public unless the request says otherwise.
    private = asked.get("visibility") == "private" or asked.get("private") is True
    store.create(repo_id, private)
    return Answer(200, reply)


def settings(store: Store, question: Question, id: str) -> Answer:
    repo, asked = _writable(store, question, id), question.json()
    if "visibility" in asked or "private" in asked:
        repo.private = asked.get("visibility") == "private" or asked.get("private") is True
    repo.gated = asked.get("gated", repo.gated)
    return Answer(200, {"private": repo.private, "gated": repo.gated})


def validate_yaml(store: Store, question: Question) -> Answer:
    if "refuse-this-header" in question.json()["content"]:
        return Answer(400, {"errors": [{"message": "refused on purpose"}], "warnings": []})
    return Answer(200, {"errors": [], "warnings": []})


def info(store: Store, question: Question, id: str, revision: str = "") -> Answer:
    repo = _readable(store, question, id)
    commit = _commit_of(repo, revision)
    siblings = [{"rfilename": path} for path in sorted(commit.files)]
    facts = {"id": repo.repo_id, "sha": commit.sha, "private": repo.private, "gated": repo.gated}
    if repo.private is None:
        del facts["private"]  # a hub that does not tell
    return Answer(200, {**facts, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})


def tree(store: Store, question: Question, id: str, revision: str, path: str = "") -> Answer:
    commit = _commit_of(_readable(store, question, id), revision)
    recursive = parse_qs(urlsplit(question.target).query).get("recursive", ["false"])[0].lower() in (
        "true",
        "1",
    )
    prefix, entries, folders = f"{path}/" if path else "", [], set()
    for name, blob in sorted(commit.files.items()):
        inner = name.removeprefix(prefix)
        if not name.startswith(prefix):
            continue
        if "/" in inner:
            folders.add(prefix + inner.split("/")[0])
        if recursive or "/" not in inner:
            entries.append(blob.describe(name))
    entries += [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)]
    if prefix and not entries:
        raise Refusal(404, "EntryNotFound", "no such folder")
    return Answer(200, entries)


def paths_info(store: Store, question: Question, id: str, revision: str) -> Answer:
    commit = _commit_of(_readable(store, question, id), revision)
    paths = question.form().get("paths", [])
    return Answer(200, [commit.files[path].describe(path) for path in paths if path in commit.files])


def refs(store: Store, question: Question, id: str) -> Answer:
    repo = _readable(store, question, id)
    found: dict[str, list] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    for name, sha in repo.branches.items():
        is_request = name.startswith("refs/pr/")
        entry = {"name": name, "ref": name if is_request else f"refs/heads/{name}", "targetCommit": sha}
        found["pullRequests" if is_request else "branches"].append(entry)
    for name, sha in repo.tags.items():
        found["tags"].append({"name": name, "ref": f"refs/tags/{name}", "targetCommit": sha})
    if "include_prs" not in parse_qs(urlsplit(question.target).query):
        del found["pullRequests"]
    return Answer(200, found)


def commits(store: Store, question: Question, id: str, revision: str) -> Answer:
    repo = _readable(store, question, id)
    _commit_of(repo, revision)
    facts = {"authors": [], "date": "2026-01-02T03:04:05.000Z", "title": "a commit", "message": ""}
    return Answer(200, [{"id": commit.sha, **facts} for commit in repo.history(revision)])


def branch(store: Store, question: Question, id: str, revision: str) -> Answer:
    repo = _writable(store, question, id)
    if revision in repo.branches:
        raise Refusal(409, message="Reference already exists")
    repo.branches[revision] = _commit_of(repo, question.json().get("startingPoint", "main")).sha
    return Answer(200)


def preupload(store: Store, question: Question, id: str, revision: str) -> Answer:
    commit = _commit_of(_writable(store, question, id), revision)
    files = []
    for file in question.json()["files"]:
        is_large = file["path"].endswith(".safetensors") or file["size"] > LARGE
        present = commit.files.get(file["path"])
        oid = present.oid if present is not None and present.is_large == is_large else None
        mode = "lfs" if is_large else "regular"
        files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return Answer(200, {"files": files})


def lfs_batch(store: Store, question: Question, id: str) -> Answer:
    _writable(store, question, id)
    objects = []
    for wanted in question.json()["objects"]:
        entry = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in store.large_files:
            entry["actions"] = {"upload": {"href": f"{question.url}/lfs/{wanted['oid']}", "header": {}}}
        objects.append(entry)
    return Answer(200, {"transfer": "basic", "objects": objects})


def lfs_put(store: Store, question: Question, oid: str) -> Answer:
    blob = Blob(question.body, True)
    if blob.oid != oid:
        raise Refusal(400, message="the content is not what was announced")
    store.large_files[oid] = question.body
    return Answer(200)


def commit(store: Store, question: Question, id: str, revision: str) -> Answer:
    repo = _writable(store, question, id)
    if revision not in repo.branches:
        raise Refusal(404, "RevisionNotFound", "Invalid rev id")
    files = dict(repo.head(revision).files)
    for line in question.body.splitlines():
        operation = json.loads(line)
        key, value = operation["key"], operation["value"]
        if key == "header" and value.get("parentCommit") not in (None, repo.branches[revision]):
            raise Refusal(412, message="A commit has happened since. Please refresh and try again.")
        if key == "file":
            files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
        elif key == "lfsFile":
            if value["oid"] not in store.large_files:
                raise Refusal(400, message="a large file has not arrived")
            files[value["path"]] = Blob(store.large_files[value["oid"]], True)
        elif key == "deletedFile":
            del files[value["path"]]
    made = repo.commit(revision, files)
    url = f"{question.url}/{repo.repo_id}/commit/{made.sha}"
    return Answer(200, {"success": True, "commitOid": made.sha, "commitUrl": url})


def resolve(store: Store, question: Question, id: str, revision: str, path: str) -> Answer:
    repo = _readable(store, question, id)
    if repo.gated and store.tokens.get(question.token) != repo.owner:
        raise Refusal(403, "GatedRepo", "Access to this model is restricted")
    found = _commit_of(repo, revision)
    headers = {
        "X-Repo-Commit": found.sha,
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
    }
    if path not in found.files:
        refusal = Refusal(404, "EntryNotFound", "Entry not found")
        refusal.answer.headers.update(headers)
        raise refusal
    blob = found.files[path]
    headers["ETag"] = f'"{blob.oid}"'
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", question.headers.get("Range") or "")
    if wanted is None:
        return Answer(200, blob.content, headers)
    first, last = int(wanted[1]), min(int(wanted[2] or len(blob.content)), len(blob.content) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(blob.content)}"
    return Answer(206, blob.content[first : last + 1], headers)


_REVISION = r"(?P<revision>[^/]+)"
_MODEL = rf"/api/models/{ID}"
ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/repos/create", create),
    ("PUT", f"{_MODEL}/settings", settings),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("GET", _MODEL, info),
    ("GET", f"{_MODEL}/revision/{_REVISION}", info),
    ("GET", rf"{_MODEL}/tree/{_REVISION}(?:/(?P<path>.+))?", tree),
    ("POST", f"{_MODEL}/paths-info/{_REVISION}", paths_info),
    ("GET", f"{_MODEL}/refs", refs),
    ("GET", f"{_MODEL}/commits/{_REVISION}", commits),
    ("POST", f"{_MODEL}/branch/{_REVISION}", branch),
    ("POST", f"{_MODEL}/preupload/{_REVISION}", preupload),
    ("POST", rf"/{ID}\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", lfs_put),
    ("POST", f"{_MODEL}/commit/{_REVISION}", commit),
    ("GET", rf"/{ID}/resolve/{_REVISION}/(?P<path>.+)", resolve),
    ("HEAD", rf"/{ID}/resolve/{_REVISION}/(?P<path>.+)", resolve),
)
