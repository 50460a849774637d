"""The server: one thread for each connection, every request counted with the bytes of its body."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit

from hub_server.faults import Fault
from hub_server.routes import Answer, Question, answer
from hub_server.store import Repo, Store

TOKEN = "hf_" + "loopback" * 4
USER = "hospital"
_PIECE = 1 << 16


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    body: int
    status: int


class HubServer(ThreadingHTTPServer):
    """A hub at `url`, from entering the context to leaving it.

    Args:
        tokens: the account of each token that may be used.
    """

    daemon_threads = True

    def __init__(self, tokens: dict[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = Store(tokens or {TOKEN: USER})
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []
        self.bytes_received = 0
        self.ends = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self.shutdown()
        self.server_close()

    def repo(self, repo_id: str) -> Repo | None:
        return self.store.repos.get(repo_id)

    def forget_requests(self) -> None:
        self.requests.clear()
        self.bytes_received = 0

    def count(self, method: str, path: str = "") -> int:
        """How many requests of a method had this in their path."""
        return sum(seen.method == method and path in seen.path for seen in self.requests)

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that were killed."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        """Read a request, let its fault happen or answer it, and note it."""
        path = unquote(urlsplit(self.path).path)
        fault = next((fault for fault in self.server.faults if fault.strikes(self.command, path)), None)
        if fault is not None and fault.action is not None:
            fault.action()
        body = self._read_body(halves=fault is not None and (fault.cut or fault.stall))
        if fault is not None:
            fault.reached.set()
            if fault.cut or fault.stall:
                self.server.requests.append(Seen(self.command, path, len(body), 0))
                self._break_off(waits=fault.stall)
                return
        if fault is not None and fault.status is not None:
            reply = Answer(fault.status, {"error": "a fault on purpose"})
        else:
            question = Question(self.command, self.path, body, self.headers, self.server.url)
            with self.server.store.lock:
                reply = answer(self.server.store, question)
        self.server.requests.append(Seen(self.command, path, len(body), reply.status))
        self._send(reply, halves=fault is not None and fault.short)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def _break_off(self, waits: bool) -> None:
        if waits:
            self.server.ends.wait()
        self.close_connection = True
        self.connection.close()

    def _read_body(self, halves: bool) -> bytes:
        pieces = []
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self._read(size))
                self.rfile.readline()
                if halves:
                    return b"".join(pieces)
            self.rfile.readline()
            return b"".join(pieces)
        left = int(self.headers.get("Content-Length") or 0)
        left = left // 2 if halves else left
        while left > 0 and (piece := self._read(min(left, _PIECE))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _read(self, size: int) -> bytes:
        piece = self.rfile.read(size)
        self.server.bytes_received += len(piece)
        return piece

    def _send(self, reply: Answer, halves: bool) -> None:
        content = reply.content if isinstance(reply.content, bytes) else json.dumps(reply.content).encode()
        self.send_response(reply.status)
        headers = {"Content-Length": str(len(content)), "Content-Type": "application/json", **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if halves else content)
        if halves:
            self._break_off(waits=False)

    def log_message(self, *_: object) -> None:
        """Say nothing; `HubServer.requests` knows."""
