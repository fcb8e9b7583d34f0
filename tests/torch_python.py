"""A Python that has PyTorch: what the payload's workers need, and the controller does not have."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "AIPROV_TORCH_PYTHON"


@cache
def found() -> str | None:
    """That Python, or ``None``."""
    candidates = (os.environ.get(VARIABLE), str(ROOT / ".venv-torch/bin/python"), sys.executable)
    for one in candidates:
        if one and Path(one).exists():
            asked = [one, "-c", "import importlib.util as u; print(bool(u.find_spec('torch')))"]
            if (
                subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
                == "True"
            ):
                return one
    return None


def torch_python() -> str:
    """That Python. Skips the test where there is none; in CI that is a failure."""
    python = found()
    if python is None:
        why = f"no Python with PyTorch: install it into .venv-torch, or name one in {VARIABLE}"
        (pytest.fail if "CI" in os.environ else pytest.skip)(why)
    return python
