"""Ports of this machine that no other process of a test run takes.

They are below those that Linux hands out (from 32768 on), so nobody gets one by chance while ranks
are still on their way to it.
"""

from __future__ import annotations

import os
import socket
from itertools import count

EACH = 1000
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
FIRST_OF_PAIRS = 20000 + _PROCESS % 8 * EACH
_LAUNCHED = count(28000 + _PROCESS % 4 * EACH)


def free_port() -> int:
    """The next port of this process at which nothing listens."""
    for port in _LAUNCHED:
        with socket.socket() as tried:
            try:
                tried.bind(("", port))
            except OSError:
                continue
        return port
    raise AssertionError("numbers do not end")
