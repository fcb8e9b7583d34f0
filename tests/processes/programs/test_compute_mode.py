"""Compute modes, set and looked at on simulated GPUs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from aiprov.lab import simulated
from aiprov.programs import compute_mode
from tests.processes.lab.simulated_machine import machine
from tests.pythons import needed

HOME = Path(simulated.__file__).parent


@pytest.mark.parametrize("version", ["3.6", "3.12"])
def test_the_mode_of_all_gpus_is_set(tmp_path: Path, version: str):
    python = needed(version)
    host = machine(tmp_path / "root", "h200x2", python).loaded()
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f'#!/bin/sh\nexec {python} {HOME}/nvidia_smi.py "$@"\n')
    smi.chmod(0o755)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, compute_mode.__file__, *words],
            capture_output=True,
            text=True,
            check=False,
            env={
                "AIPROV_LAB_ROOT": str(host.root),
                "AIPROV_LAB_HOME": str(HOME),
                "PATH": f"{tmp_path}:/usr/bin:/bin",
            },
        )

    assert run("check", "default").returncode == 0
    host.smi("-i", "0", "-c", "3")
    done = run("check", "exclusive_process")
    assert done.returncode == 1
    assert done.stderr == "compute-mode: not exclusive_process: GPU 1: Default\n"
    for mode in ("exclusive_process", "prohibited", "default"):
        assert run("apply", mode).returncode == 0
        assert run("check", mode).returncode == 0
    assert run("apply", "default").stdout == ""
    host.reboot()
    done = run("check", "default")
    assert done.returncode == 2
    assert "nvidia-smi" in done.stderr


@pytest.mark.parametrize("said", ["", "No devices were found", "Unable to determine, 0"])
def test_no_gpus_are_no_gpus_with_that_mode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str
):
    monkeypatch.setattr(compute_mode, "smi", lambda *_: said)
    assert compute_mode.main(["check", "default"]) == 2
    assert f"lists no GPUs with their modes: {said or 'nothing'}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["check"], ["set", "default"], ["apply", "shared"]])
def test_what_it_does_not_know_it_does_not_do(words: list[str]):
    assert compute_mode.main(words) == 2
