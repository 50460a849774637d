"""Items made ahead come in order, errors at their place, and nothing runs on when nobody takes them."""

import threading
import time

import pytest

from medm_plm.data.prefetching import prefetched


def num_threads():
    return threading.active_count()


@pytest.mark.parametrize("length", [0, 1, 2, 3, 500])
def test_items_come_in_order(length):
    assert list(prefetched(range(length))) == list(range(length))


def test_items_that_are_none_or_errors_are_items():
    items = [None, ValueError("an item"), None]
    assert list(prefetched(iter(items))) == items


@pytest.mark.parametrize("place", [0, 1, 7])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_comes_behind_the_items_before_it(place, kind):
    def items():
        yield from range(place)
        raise kind("at its place")

    taken = []
    before = num_threads()
    with pytest.raises(kind, match="at its place"):
        taken.extend(prefetched(items()))
    assert taken == list(range(place))
    assert num_threads() == before


def test_items_are_made_in_another_thread_and_only_a_few_ahead():
    made, threads = [], set()

    def items():
        for number in range(100):
            made.append(number)
            threads.add(threading.get_ident())
            yield number

    ahead = prefetched(items())
    assert next(ahead) == 0
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert 3 <= len(made) <= 5, "some items ahead of the caller, and not all"
    assert threading.get_ident() not in threads
    assert list(ahead) == list(range(1, 100))


def test_whoever_stops_early_leaves_no_thread_behind():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield b"more"
        finally:
            closed.set()

    source = items()
    before = num_threads()
    ahead = prefetched(source)
    next(ahead)
    assert num_threads() == before + 1
    ahead.close()
    assert num_threads() == before
    source.close()
    assert closed.is_set()
