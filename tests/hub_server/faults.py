"""Faults on purpose: a status, a connection cut in mid-body, a wait, or a change behind the client's back."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Fault:
    """What goes wrong when a request matches.

    Args:
        method: of the request.
        path: pattern that its path matches somewhere.
        status: answer this status instead.
        cut: read half of the body, then close the connection.
        short: send half of the answer, then close the connection.
        stall: read half of the body, then wait until the server ends.
        action: call this before the request is answered.
        after: let that many matching requests through first.
        times: how often it happens.
    """

    method: str
    path: str
    status: int | None = None
    cut: bool = False
    short: bool = False
    stall: bool = False
    action: Callable[[], None] | None = None
    after: int = 0
    times: int = 1
    hits: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, method: str, path: str) -> bool:
        """Count a matching request and say whether it is to go wrong."""
        if method != self.method or not re.search(self.path, path):
            return False
        with self.lock:
            self.hits += 1
            return self.after < self.hits <= self.after + self.times
