"""Many hosts at once: each goes its own way, none waits for another.

A worker thread a host, at most ``forks`` at a time. What a host needs is time on the network, so
threads do. Interrupted (Ctrl-C), hosts that have not begun are left alone, and those under way
finish the change they are at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
Item = TypeVar("Item")

LOOK_S = 1.0
"""How long is waited at once: a Ctrl-C that comes just before a wait does not end it."""

stopping = threading.Event()
"""Set once the run is to end: whoever works on a host stops before its next stage."""


def each(
    work: Callable[[Item], T],
    items: Sequence[Item],
    *,
    forks: int,
    interrupted: Callable[[], object] = lambda: None,
) -> Iterator[T]:
    """Do the work for each item, ``forks`` at a time; yield results as they come.

    ``work`` must not raise for what goes wrong with one item. On ``KeyboardInterrupt`` items that
    have not begun are dropped and ``interrupted`` is called; the others' results are still
    yielded, then it is raised again.
    """
    if not items:
        return
    stopping.clear()
    executor = ThreadPoolExecutor(max_workers=min(forks, len(items)), thread_name_prefix="host")
    try:
        yield from _finished((executor.submit(work, item) for item in items), interrupted)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _finished(begun: Iterator[Future[T]], interrupted: Callable[[], object]) -> Iterator[T]:
    futures: list[Future[T]] = []
    ended: SimpleQueue[Future[T]] = SimpleQueue()
    given: set[Future[T]] = set()
    try:
        for future in begun:
            futures.append(future)
            future.add_done_callback(ended.put)
        for _ in futures:
            future = _next(ended)
            given.add(future)
            yield future.result()
    except KeyboardInterrupt:
        stopping.set()
        interrupted()
        for future in futures:
            future.cancel()
        for future in futures:
            if future not in given and not future.cancelled():
                while not future.done():
                    wait([future], timeout=LOOK_S)
                yield future.result()
        raise


def _next(ended: SimpleQueue[Future[T]]) -> Future[T]:
    while True:
        with suppress(Empty):
            return ended.get(timeout=LOOK_S)
