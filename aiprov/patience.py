"""Questions to a cluster's API, put again while it is away for a moment.

While etcd is given a member or loses one it has no leader, and no API server has an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 60.0
PAUSE_S = 2.0

Answer = TypeVar("Answer")


def patiently(question: Callable[[], Answer], away: type[Exception]) -> Answer:
    """Ask again while that is raised by which the API is away.

    Raises what the last try raised when the time is over, and everything else at once.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return question()
        except away:
            if time.monotonic() >= end:
                raise
        time.sleep(PAUSE_S)
