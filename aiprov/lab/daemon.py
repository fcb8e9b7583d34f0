"""Processes that outlive ``up`` and are found again by ``down``.

A daemon holds a lock in its own folder for as long as it lives and writes there who it is. It runs
only while the lab is not closing; ``down`` closes the lab first and then looks for locks. So no
daemon can appear behind the back of ``down``, at whatever moment ``up`` was killed.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from aiprov.errors import LabError
from aiprov.lab.machine import ENDS_S, Process, environment, until
from aiprov.lab.state import Folder


def start(module: str, place: Path, arguments: Sequence[str]) -> None:
    """Start a daemon, detached from this process and its terminal, and wait until it is claimed."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "claim").touch()
    (place / "pid").unlink(missing_ok=True)
    source = str(Path(__file__).resolve().parents[2])
    wall = ["setsid", "--fork", "unshare", "--mount", "--propagation=slave"]
    with (place / "log").open("ab") as log:
        subprocess.run(
            [*wall, sys.executable, "-S", "-m", module, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**environment(), "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
        )
    try:
        until(lambda: running(place) is not None, f"{module} to start", timeout=120)
    except LabError as error:
        said = (place / "log").read_text(encoding="utf-8", errors="replace").strip()
        raise LabError(f"{error.message}: {said[-1000:]}") from None


def claim(folder: Folder, place: Path) -> IO[str] | None:
    """Called by the daemon first: its lock, or None where it may not run."""
    try:
        handle = (place / "claim").open("r+", encoding="ascii")
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return None
    if folder.closing.exists() or (place / "closing").exists():
        return None
    own = Process.of(os.getpid())
    assert own is not None  # noqa: S101 - a running process sees itself
    own.write(place / "pid")
    return handle


def running(place: Path) -> Process | None:
    """The daemon of a folder, if it lives."""
    return Process.read(place / "pid")


def stop(place: Path) -> None:
    """End the daemon of a folder and wait until it has ended. It may not be there."""
    claim_file = place / "claim"

    def ended() -> bool:
        process = running(place)
        if process is not None:
            process.signal(signal.SIGKILL)
        try:
            with claim_file.open("r+", encoding="ascii") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True

    until(ended, f"the process of {place} to end", timeout=ENDS_S)
