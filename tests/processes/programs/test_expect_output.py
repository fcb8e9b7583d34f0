"""The program that asks whether a command says what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aiprov.programs import expect_output
from tests.pythons import find

PROGRAM = Path(expect_output.__file__)
PYTHONS = [python for version in ("3.6", "3.12") if (python := find(version))] or [sys.executable]


@pytest.fixture(params=PYTHONS, ids=lambda python: Path(python).parts[-3])
def python(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(python: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [python, str(PROGRAM), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("text", "said", "status"),
    [
        ("8 GPUs found", "8 GPUs found (Active).", 0),
        ("8 GPUs found", "18 GPUs found.", 1),
        ("release 13.0,", "Cuda compilation tools, release 13.0, V13.0.88", 0),
        ("release 13.0,", "Cuda compilation tools, release 13.1, V13.1.80", 1),
        ("A (b)", "A (b)", 0),
    ],
)
def test_it_looks_for_the_text(python: str, text: str, said: str, status: int) -> None:
    assert ask(python, text, "echo", said).returncode == status


def test_it_tells_what_was_said_instead(python: str) -> None:
    done = ask(python, "8 GPUs found", "echo", "7 GPUs found.")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "echo 7 GPUs found. does not say '8 GPUs found', but:\n  7 GPUs found.\n"


def test_a_command_that_fails_says_nothing_right(python: str) -> None:
    done = ask(python, "ok", sys.executable, "-c", "print('ok'); raise SystemExit(3)")
    assert done.returncode == 1


def test_a_command_that_is_not_there_is_named(python: str) -> None:
    done = ask(python, "8 GPUs", "/nowhere/dcgmi", "discovery", "--list")
    assert done.returncode == 1
    assert "/nowhere/dcgmi: No such file or directory" in done.stderr


def test_it_waits_for_what_comes_up(python: str, tmp_path: Path) -> None:
    """The second time it is asked, it says it."""
    seen = tmp_path / "seen"
    code = (
        f"import pathlib; p = pathlib.Path({str(seen)!r}); "
        "print('up' if p.exists() else 'down'); p.write_text('')"
    )
    assert ask(python, "--within", "30", "up", sys.executable, "-c", code).returncode == 0
