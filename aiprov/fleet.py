"""Many hosts at once: each goes its own way, none waits for another.

A worker thread a host, at most ``forks`` at a time. What a host needs is time on the network, so
threads do. Interrupted (Ctrl-C), hosts that have not begun are left alone, and those under way
finish the change they are at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")
Item = TypeVar("Item")

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
    futures: list[Future[T]] = [executor.submit(work, item) for item in items]
    try:
        yield from _finished(futures, interrupted)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _finished(futures: Sequence[Future[T]], interrupted: Callable[[], object]) -> Iterator[T]:
    given: set[Future[T]] = set()
    try:
        for future in as_completed(futures):
            given.add(future)
            yield future.result()
    except KeyboardInterrupt:
        stopping.set()
        interrupted()
        for future in futures:
            future.cancel()
        for future in futures:
            if future not in given and not future.cancelled():
                yield future.result()
        raise
