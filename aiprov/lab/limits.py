"""The one limit of the machine that a few hosts use up: inotify instances per user.

Every host's systemd holds about ten, all as root, and most machines allow root 128. While a lab
is up the limit is higher; the last ``down`` puts back what was there, also after a crash, because
the old value is on disk before the new one is set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiprov.lab.machine import replace
from aiprov.lab.state import cache_directory, locked

_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
_NEEDED = 8192


@contextmanager
def _record() -> Iterator[Path]:
    """Where the machine's own value is kept, held against other labs."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    with locked(cache_directory() / ".limits.lock"):
        yield cache_directory() / "max_user_instances"


def raise_for_labs() -> None:
    """Allow what many hosts need; call it when the lab's own bridge is there."""
    with _record() as before:
        now = int(_LIMIT.read_text(encoding="ascii"))
        if now < _NEEDED:
            replace(before, f"{now}\n")
            _LIMIT.write_text(f"{_NEEDED}\n", encoding="ascii")


def restore_after_labs(prefix: str) -> None:
    """Put the machine's own limit back, if no lab's bridge is left."""
    with _record() as before:
        if before.exists() and not any(Path("/sys/class/net").glob(f"{prefix}[0-9]*")):
            _LIMIT.write_text(before.read_text(encoding="ascii"), encoding="ascii")
            before.unlink()
