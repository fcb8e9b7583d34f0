"""Linters, types and import layers are tests, so that there is one gate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

COMMANDS = {
    "lint": ["ruff", "check", "aiprov", "plugins", "tests", ".ci"],
    "format": ["ruff", "format", "--check", "aiprov", "plugins", "tests", ".ci"],
    "types": ["mypy"],
    "layers": ["lint-imports", "--no-cache"],
    "yaml": ["yamllint", "--strict", "playbooks", "roles", "molecule", "inventory"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_tool_is_content(name: str):
    tool, *arguments = COMMANDS[name]
    done = subprocess.run(
        [BIN / tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
