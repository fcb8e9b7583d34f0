"""The program that speaks with CUDA's multi-process service, with a daemon of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiprov.programs import mps
from tests.processes.called import called
from tests.pythons import needed


@pytest.fixture(params=["3.6", "3.12"])
def python(request: pytest.FixtureRequest) -> str:
    return needed(request.param)


def control(folder: Path, answer: str, rc: int = 0) -> None:
    """A control program that keeps its orders and gives one answer."""
    program = folder / "nvidia-cuda-mps-control"
    program.write_text(f"#!/bin/sh\ncat >> {folder}/orders\necho '{answer}'\nexit {rc}\n")
    program.chmod(0o755)


def run(python: str, folder: Path, *words: str) -> tuple[int, str]:
    return called([python, mps.__file__, *words], {"PATH": f"{folder}:/usr/bin:/bin"})


def orders(folder: Path) -> list[str]:
    return (folder / "orders").read_text().splitlines()


def test_limits_are_given_one_by_one(tmp_path: Path, python: str):
    control(tmp_path, "")
    words = ("limit", "--threads", "50", "--memory", "0=20G", "--memory", "1=20G")
    assert run(python, tmp_path, *words) == (0, "")
    assert orders(tmp_path) == [
        "set_default_active_thread_percentage 50",
        "set_default_device_pinned_mem_limit 0 20G",
        "set_default_device_pinned_mem_limit 1 20G",
    ]


def test_the_daemon_is_asked_for_its_limit(tmp_path: Path, python: str):
    control(tmp_path, "50.0")
    assert run(python, tmp_path, "check") == (0, "")
    assert run(python, tmp_path, "check", "--threads", "50") == (0, "")
    said = "mps: clients get 50 % of the threads, not 25 %\n"
    assert run(python, tmp_path, "check", "--threads", "25") == (1, said)


def test_a_daemon_that_is_not_there_is_told(tmp_path: Path, python: str):
    status, said = run(python, tmp_path, "check")
    assert status == 1
    assert said.startswith("mps: nvidia-cuda-mps-control: No such file or directory")
    control(tmp_path, "Cannot find MPS control daemon process")
    for words in (("check",), ("stop",), ("limit", "--threads", "5")):
        status, said = run(python, tmp_path, *words)
        assert status == 1
        assert "Cannot find MPS control daemon process" in said


def test_servers_get_time_to_end(tmp_path: Path, python: str):
    control(tmp_path, "")
    assert run(python, tmp_path, "stop") == (0, "")
    assert orders(tmp_path) == ["quit -t 30"]


def test_an_answer_that_is_no_number_is_told(tmp_path: Path, python: str):
    control(tmp_path, "what?")
    assert run(python, tmp_path, "check")[0] == 1
