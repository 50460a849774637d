"""Signals around the training: what comes too late to be served has its usual effect after it."""

import signal

import pytest

from medm_plm.training.interruption import Interruption


@pytest.fixture
def received():
    """Signals that reach the handler that was there before a run listened."""
    numbers = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("saved_step", "expected"), [(None, [signal.SIGUSR1]), (5, [])], ids=["too late", "served"]
)
def test_a_signal_that_nothing_was_saved_for_has_its_usual_effect_afterwards(saved_step, expected, received):
    interruption = Interruption()
    with interruption.listening():
        signal.raise_signal(signal.SIGUSR1)
        assert received == []
        interruption.saved_step = saved_step
    assert received == expected


def test_without_a_signal_nothing_is_raised(received):
    with Interruption().listening():
        pass
    assert received == []
