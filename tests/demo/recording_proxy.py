"""A proxy that refuses everything and remembers what it was asked for."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Refusal(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self) -> None:
        first_line = self.rfile.readline(4096).decode("latin-1").strip()
        self.server.asked.append(first_line)
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class RecordingProxy(socketserver.ThreadingTCPServer):
    """Listens on the loopback interface; `asked` holds the first line of each request."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusal)
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def recording_proxy() -> Iterator[RecordingProxy]:
    """Run the proxy for a while."""
    with RecordingProxy() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
