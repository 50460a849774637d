"""Refuse requests that are far larger than any the page makes, before anything reads them into memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from medm_plm.demo.entries import MAX_NOTE_CHARACTERS

# A character takes up to twelve bytes in JSON, as an escaped pair; codes and gradio's own fields the rest.
MAX_REQUEST_BYTES = 12 * MAX_NOTE_CHARACTERS + 100_000

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class LimitedRequests:
    """ASGI middleware: status 413 for a request that says it is too large, an end for one that turns out so.

    Args:
        app (`Application`): what serves the requests.
        limit (`int`, *optional*): most bytes of a request.
    """

    def __init__(self, app: Application, limit: int = MAX_REQUEST_BYTES) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._announced(scope) > self.limit:
            await send({"type": "http.response.start", "status": 413, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": b"the request is too large"})
        else:
            await self.app(scope, self._counted(receive), send)

    def _announced(self, scope: Message) -> int:
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        return max((int(length) for length in lengths if length.isdigit()), default=0)

    def _counted(self, receive: Receive) -> Receive:
        taken = 0

        async def counting() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= self.limit else {"type": "http.disconnect"}

        return counting
