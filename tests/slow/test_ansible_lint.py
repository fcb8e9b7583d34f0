"""The production profile of ansible-lint, over everything of Ansible's that aiprov has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiprov import collection

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def test_ansible_lint_is_content():
    tool = BIN / "ansible-lint"
    if not tool.exists():
        assert not os.environ.get("CI"), "ansible-lint is not installed"
        pytest.skip("ansible-lint is not installed: pip install aiprov[test]")
    collection.link(ROOT)
    done = subprocess.run(
        [
            tool,
            "--offline",
            "--nocolor",
            "--profile",
            "production",
            *("playbooks", "roles", "molecule"),
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
