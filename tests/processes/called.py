"""Programs that a test starts, and what they say."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def called(
    argv: Sequence[str | Path], env: Mapping[str, str], given: str | None = None
) -> tuple[int, str]:
    """Exit status, and all that a program says. ``given``: what it reads."""
    done = subprocess.run(
        argv,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=env,
    )
    return done.returncode, done.stdout
