"""Run the tests that depend on the controller's ansible-core with the other supported Python.

Python 3.11 goes with ansible-core 2.19, 3.12 and 3.13 with 2.21. ``make test`` runs everything on
the Python it was started with; this runs what needs no host, and Ansible's face, on the
other line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.deadline import DEADLINE, NO_TIME
from tests.pythons import find

ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    "tests/unit", "tests/processes", "tests/lab/test_engine_ansible.py",
    "tests/lab/test_engines.py", "tests/lab/test_playbooks.py",
)  # fmt: skip
ON_HOSTS = ("tests/processes/programs", "tests/processes/payload", "tests/unit/payload")
"""What runs on hosts is tested with their Pythons, whatever the controller's."""


def main() -> int:
    if time.time() > DEADLINE:
        print(f"the other controller: {NO_TIME}", flush=True)
        return 0
    others = ("3.12", "3.13") if sys.version_info[:2] == (3, 11) else ("3.11",)
    python = next((path for version in others if (path := find(version))), None)
    if python is None:
        print(f"could not run on Python {' or '.join(others)}: none is installed here", flush=True)
        return 1 if os.environ.get("CI") else 0
    venv = ROOT / sys.argv[1]
    prepare = [sys.executable, ".ci/prepare.py", str(venv), "--extra", "test"]
    subprocess.run([*prepare, "--python", python], check=True, cwd=ROOT)
    tests = [test for test in TESTS if (ROOT / test).exists()]
    beside = sys.argv[2:]  # how tests are spread over processes
    beside += [f"--ignore={path}" for path in ON_HOSTS if (ROOT / path).exists()]
    command = [str(venv / "bin" / "python"), "-m", "pytest", *beside, *tests]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
