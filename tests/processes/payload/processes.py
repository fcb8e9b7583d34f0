"""Processes that tests wait for: whether they are gone, and one that waits for no limit."""

from __future__ import annotations

import time
from pathlib import Path

from aiprov.payload.supervisor import Lane, Supervisor


class Hurried(Supervisor):
    """One for whom a cell's time is over as soon as its worker has said a word, and not before.

    So its limit may be as long as a slow machine needs.
    """

    WORD = b""

    def _event(self, lane: Lane, line: bytes) -> None:
        super()._event(lane, line)
        if self.WORD in line:
            lane.deadline = time.monotonic()


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends, or is only waited for, within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False
