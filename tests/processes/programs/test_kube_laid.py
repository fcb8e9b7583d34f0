"""The kube programs as they are laid on hosts: they start, with any Python that hosts have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aiprov import programs
from aiprov.resources import Directory, File
from aiprov.survey.facts import Facts
from tests.pythons import find
from tests.unit.kubernetes.nodes import node


def laid(folder: Path, python: str, host: Facts) -> None:
    """As an engine would, below a folder, and with this machine's Python."""
    every = [item for name in programs.KUBERNETES for item in programs.program(name, host)]
    for resource in (*programs.kubernetes_programs(host), *every):
        path = folder / str(resource.path).lstrip("/")
        if isinstance(resource, Directory):
            path.mkdir(parents=True, exist_ok=True)
        if isinstance(resource, File):
            text = str(resource.content).replace(programs.interpreter(host), python)
            path.write_text(text)
            path.chmod(resource.mode)


@pytest.mark.parametrize("version", ["3.6", "now"])
def test_the_programs_start(tmp_path, version):
    python = sys.executable if version == "now" else find(version)
    assert python
    laid(tmp_path, python, node())
    for name in ("kube-node", "kube-life", "kube-reset"):
        done = subprocess.run(
            [tmp_path / programs.path(name).lstrip("/"), "nothing"],
            capture_output=True, text=True, check=False, env={"AIPROV_TEST_ROOT": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith(f"{name}: usage: {name} ")
    for name in ("kube-admin", "kube-cluster", "kube-chart", "kube-manifest"):
        done = subprocess.run(
            [tmp_path / programs.path(name).lstrip("/"), "nothing"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith(f"usage: {name} ")
    left = [path.name for path in tmp_path.rglob("__pycache__")]
    assert not left, "compiled files lie beside them"


def test_a_defect_is_no_answer(tmp_path):
    """Python's own exit status for it is 1, which of a question is a plain no."""
    laid(tmp_path, sys.executable, node())
    (tmp_path / programs.FOLDER.lstrip("/") / "kube/life.py").write_text(
        "def run(words):\n    return words.nothing\n"
    )
    program = tmp_path / programs.path("kube-life").lstrip("/")
    done = subprocess.run([program, "upgraded"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "AttributeError" in done.stderr
