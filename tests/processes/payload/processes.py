"""Whether processes are gone."""

from __future__ import annotations

import time
from pathlib import Path


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
