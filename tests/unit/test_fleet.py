"""Many at once: none waits for another, and an interrupt loses no result."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import Future
from queue import SimpleQueue

import pytest

from aiprov import fleet


def test_results_come_as_they_are_ready():
    first_may_end = threading.Event()

    def work(item: str) -> str:
        if item == "slow":
            assert first_may_end.wait(10)
        return item

    results = []
    for result in fleet.each(work, ["slow", "fast"], forks=2):
        results.append(result)
        first_may_end.set()
    assert results == ["fast", "slow"]


def test_no_more_than_forks_at_a_time():
    lock, now, most = threading.Lock(), [0], [0]
    together = threading.Barrier(3, timeout=10)

    def work(item: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait()
        with lock:
            now[0] -= 1
        return item

    assert sorted(fleet.each(work, list(range(9)), forks=3)) == list(range(9))
    assert most[0] == 3


def test_nothing_to_do():
    assert list(fleet.each(lambda item: item, [], forks=4)) == []


def test_an_interrupt_keeps_what_is_under_way_and_begins_nothing_more():
    begun, told = [], []
    go_on = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            return item
        assert go_on.wait(10)
        assert fleet.stopping.is_set()
        return item

    def told_so() -> None:
        told.append(True)
        go_on.set()

    results = fleet.each(work, list(range(50)), forks=2, interrupted=told_so)
    got = [next(results)]
    with pytest.raises(KeyboardInterrupt):
        got.append(results.throw(KeyboardInterrupt))
        got.extend(results)
    assert told == [True]
    assert sorted(got) == sorted(begun)
    assert len(begun) < 6


def test_an_interrupt_that_wakes_nobody_is_seen(monkeypatch: pytest.MonkeyPatch):
    """One that comes between a look for it and the wait: here another thread takes it."""
    waits = threading.Event()

    def work(item: str) -> bool:
        if item == "first":
            return True
        assert waits.wait(10)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        return fleet.stopping.wait(30)

    results = []
    real = fleet._next

    def next_one(ended: SimpleQueue[Future[bool]]) -> Future[bool]:
        if results:
            waits.set()  # the first was given: whoever waits now, waits for the second
        return real(ended)

    monkeypatch.setattr(fleet, "_next", next_one)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            for result in fleet.each(work, ["first", "second"], forks=2):
                results.append(result)
    finally:
        signal.signal(signal.SIGINT, before)
    assert results == [True, True]
