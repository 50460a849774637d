"""Signals that ask a run to stop: it saves at the end of its step and exits as the signal wants it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from transformers.utils import logging

logger = logging.get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_STATUS_OF_SIGNAL = 128  # a shell reports a process that a signal ended by this plus its number


class Interruption:
    """Takes note of signals while a run trains.

    Args:
        signal_number (`int`): the last signal received, 0 if there was none.
        saved_step (`int`, *optional*): step of the checkpoint that was saved because of it.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self.saved_step: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals within this block; one that came too late to be served has its usual effect after it.

        Outside the main thread, where Python allows no handlers, signals keep their usual effect.
        """
        self.signal_number, self.saved_step = 0, None
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.signal_number and self.saved_step is None:
            signal.raise_signal(self.signal_number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == self.signal_number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice at the keyboard: now
        self.signal_number = number

    def leave(self, speaks: bool) -> None:
        """End the process with the status of the signal if a checkpoint was saved because of one.

        Args:
            speaks (`bool`): say so in the log.

        Raises:
            SystemExit: with status 143, 130 or 138.
        """
        if self.saved_step is None:
            return
        if speaks:
            name = signal.Signals(self.signal_number).name
            logger.warning(
                f"stopped by {name}: checkpoint-{self.saved_step} is saved, the same command goes on from it"
            )
        raise SystemExit(_STATUS_OF_SIGNAL + self.signal_number)


def outlive_signals() -> None:
    """Let a worker of a data loader live on when its whole process group is asked to stop.

    Its parent still needs batches to finish the step. A SIGTERM from the parent itself ends the worker.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN if number != signal.SIGTERM else signal.SIG_DFL)
    # Only a waiting thread learns who sent a signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()


class OutlivingWorker:
    """`worker_init_fn` of a data loader whose workers outlive signals to their process group.

    Args:
        then (`Callable`, *optional*): the `worker_init_fn` that the loader had before.
    """

    def __init__(self, then: Callable[[int], Any] | None = None) -> None:
        self.then = then

    def __call__(self, worker_id: int) -> None:
        """Prepare a worker before it loads anything."""
        outlive_signals()
        if self.then is not None:
            self.then(worker_id)


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
