"""``molecule test``: every scenario, from creating its hosts to destroying them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiprov.lab import down

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LONGEST_S = {"kubernetes": 2400}
"""The lab builds a real Kubernetes first, where no test has yet."""
RESERVE_S = 300
"""For the lab that a failed scenario leaves, and so that its own limit is the one that counts."""
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(max(LONGEST_S.values()) + RESERVE_S),
    pytest.mark.takes(minutes=11),
]


@pytest.fixture
def ephemeral(lab_root: Path) -> Iterator[Path]:
    """A folder for molecule's own files; its lab is below it, and goes if a scenario fails."""
    folder = lab_root / "molecule"
    folder.mkdir()
    yield folder
    down(folder / "lab")
    shutil.rmtree(folder)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, ephemeral: Path):
    if shutil.which("molecule", path=str(BIN)) is None:
        pytest.fail("molecule is not installed: pip install aiprov[test]")
    done = subprocess.run(
        [BIN / "molecule", "test", "--scenario-name", scenario],
        cwd=ROOT,
        # molecule looks for ansible's programs on PATH.
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "NO_COLOR": "1",
            "ANSIBLE_TIMEOUT": "60",  # to log in: other scenarios' hosts may keep this machine busy
            "MOLECULE_EPHEMERAL_DIRECTORY": str(ephemeral),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S.get(scenario, 1800),
    )
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    assert done.returncode == 0, said
    for action in ("create", "check", "converge", "idempotence", "verify", "destroy"):
        assert re.search(rf"{action}.{{0,4}}: .*Executed: Successful", said), f"{action}\n{said}"
