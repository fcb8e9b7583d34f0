"""The Pythons of this machine, of whichever version a test asks for."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path


@cache
def find(version: str) -> str | None:
    """A Python of that version (``3.6``), under pyenv or on PATH, that really starts."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
    candidates += [path] if (path := shutil.which(f"python{version}")) else []
    return next((path for path in candidates if _starts(path)), None)


def needed(version: str) -> str:
    """A Python of that version, without which a test has failed."""
    python = find(version)
    assert python, f"this machine has no Python {version}"
    return python


def offered(version: str) -> str:
    """A Python of that version, without which a test is skipped."""
    import pytest  # whoever starts the other controller has none

    python = find(version)
    if python is None:
        pytest.skip(f"this machine has no Python {version}")
    return python


def _starts(python: str) -> bool:
    """Whether it runs: a pyenv shim exists for versions that are not selected, and then fails."""
    done = subprocess.run([python, "-c", "import sys"], check=False, capture_output=True)
    return done.returncode == 0
