"""Work done ahead: a thread fills a short queue while the caller uses what came before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_DEPTH = 2  # items ready; more would only cost memory
_POLL_SECONDS = 0.2


def prefetched(items: Iterable[Item]) -> Iterator[Item]:
    """Take items from an iterable in another thread, a few ahead of the caller.

    Worth it where making an item releases the interpreter, as decompression does.

    Args:
        items (`Iterable`): where the items come from.

    Yields:
        The items in order.

    Raises:
        Exception: what the iterable raises, at its place in the order.
    """
    ahead = _Ahead(items)
    try:
        yield from ahead.take()
    finally:
        ahead.stop()


class _Ahead(Generic[Item]):
    """A thread at work, what it has ready, and how it ended."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self._ready: queue.Queue[Item | _End] = queue.Queue(_DEPTH)
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def take(self) -> Iterator[Item]:
        while not isinstance(item := self._ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        self._is_stopped.set()
        self._thread.join()

    def _work(self) -> None:
        end = _End(None)
        try:
            for item in self._items:
                self._offer(item)
                if self._is_stopped.is_set():
                    break
        except BaseException as error:
            end = _End(error)
        self._offer(end)

    def _offer(self, item: Item | _End) -> None:
        """Wait for a free place, unless the caller has gone."""
        while not self._is_stopped.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return


class _End:
    """Stands behind the last item."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
