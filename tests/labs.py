"""Where a test run keeps its labs.

The folder is named by the process that owns it. What a killed test run left behind is taken down
when the next one starts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aiprov.lab import down, missing_tools
from aiprov.lab.machine import Process

_ROOT = Path(tempfile.gettempdir()) / "aiprov-test-labs"


def _sweep() -> None:
    """Take down the labs of test runs that are no more."""
    with (_ROOT / ".sweeping").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes of one run begin together
        for owner in _ROOT.glob("[0-9]*"):
            pid, _, start = owner.name.partition("-")
            if not Process(int(pid), int(start)).alive():
                # A scenario of molecule has its lab in its own folder.
                _down_all((*owner.iterdir(), *owner.glob("*/lab")))
                shutil.rmtree(owner)


@pytest.fixture(scope="session")
def lab_root() -> Iterator[Path]:
    """Where this test run keeps its labs; skips where the machine cannot hold one."""
    missing = missing_tools()
    if os.geteuid() != 0 or missing:
        reason = f"no lab here: {'needs root' if os.geteuid() else ' '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    _ROOT.mkdir(exist_ok=True)
    _sweep()
    own = Process.of(os.getpid())
    assert own is not None
    root = _ROOT / f"{own.pid}-{own.start}"
    root.mkdir(exist_ok=True)
    yield root
    _down_all(root.iterdir())
    root.rmdir()


def _down_all(places: Iterable[Path]) -> None:
    """Take labs down, also those after one that cannot be."""
    with ExitStack() as stack:
        for place in places:
            stack.callback(down, place)
