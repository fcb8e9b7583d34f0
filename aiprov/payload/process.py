"""A worker's process: started in a group of its own, told lines, ended with all it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import time
from typing import Dict, Mapping, Optional, Sequence

MOST_SAID = 2000
"""Bytes of standard error that are told, the last ones."""
_PIPE_READ = 1 << 16
_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.02


class WorkerProcess:
    """A worker that runs. ``stdout`` is the handle to wait on."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], without: Sequence[str] = ()
    ) -> None:
        """Start it. Raises ``OSError`` where that cannot be done.

        ``without``: variables of this process that it does not get.
        """
        own = {name: value for name, value in os.environ.items() if name not in without}
        # A file that is gone with its last handle: nothing is left behind.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the worker has ended
        to_read, to_write = os.pipe()
        self.stdout, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=to_read,
                stdout=theirs,
                stderr=self._said,
                env={**own, **environment},
                start_new_session=True,
            )
        finally:
            os.close(to_read)
            os.close(theirs)
        self._stdin = to_write
        os.set_blocking(self.stdout, False)

    def tell(self, line: bytes) -> None:
        """Give it a line. One that has ended does not hear it, which its output tells."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._stdin, line)

    def hear(self) -> Optional[bytes]:
        """What it said since; ``None``: nothing; empty: it has closed its output or ended."""
        try:
            return os.read(self.stdout, _PIPE_READ)
        except BlockingIOError:
            return None

    def end(self, patience_s: float) -> Optional[str]:
        """Kill it and all that it started; how it ended, in words.

        ``None``: it cannot be killed, and goes on.
        """
        until = time.monotonic() + patience_s
        # Launchers start ranks in sessions of their own.
        others = descendants(self._process.pid)
        status = self._process.poll()
        kill_group(self._process.pid)
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            status = self._process.wait(patience_s) if status is None else status
        except subprocess.TimeoutExpired:
            return None
        while any(_is_there(pid, began) for pid, began in others.items()):
            if time.monotonic() >= until:
                return None
            time.sleep(_LOOK_S)
        os.close(self.stdout)
        os.close(self._stdin)
        said = self._ending()
        self._said.close()
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        return f"{how}: {said}" if said else how

    def _ending(self) -> str:
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - MOST_SAID))
        return self._said.read().decode("utf-8", "replace").strip()


def kill_group(pid: int) -> None:
    """Kill a process that leads a group, and the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def descendants(pid: int) -> Dict[int, str]:
    """All that a process started, directly or not, with the time when each began."""
    parents: Dict[int, int] = {}
    began: Dict[int, str] = {}
    for name in os.listdir("/proc"):
        told = _stat(int(name)) if name.isdigit() else None
        if told:
            parents[int(name)], began[int(name)] = int(told[1]), told[19]
    found: Dict[int, str] = {}
    left = [pid]
    while left:
        parent = left.pop()
        children = [one for one, its in parents.items() if its == parent and one not in found]
        found.update({one: began[one] for one in children})
        left += children
    return found


def _is_there(pid: int, began: str) -> bool:
    """Whether a process runs, and is no other one that got its number."""
    told = _stat(pid)
    return told is not None and told[19] == began and told[0] not in "ZX"


def _stat(pid: int) -> Optional[Sequence[str]]:
    """What proc(5) tells of a process from its state on: 1 is its parent, 19 when it began."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            return source.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def end_with_parent() -> None:
    """In a worker, before it begins: the kernel is to kill it when its supervisor is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
