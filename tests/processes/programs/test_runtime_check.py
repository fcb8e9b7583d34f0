"""The program that asks daemons for their runtimes, with daemons that answer what a test says."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiprov.programs import runtime_check
from tests.pythons import find

PROGRAM = Path(runtime_check.__file__)
PYTHONS = [python for version in ("3.6", "3.12") if (python := find(version))] or [sys.executable]
INFO = {
    "Runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}, "runc": {"path": "runc"}},
    "DefaultRuntime": "runc",
    "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
}
CRIO = """
[crio]
  [crio.runtime]
    default_runtime = "nvidia"
    conmon_env = ["PATH=/usr/bin"]
    [crio.runtime.runtimes]
      [crio.runtime.runtimes.nvidia]
        runtime_path = "/usr/bin/nvidia-container-runtime"
"""
DUMP = """
version = 3
disabled_plugins = []

[plugins]
  [plugins.'io.containerd.cri.v1.runtime']
    enable_cdi = true
    cdi_spec_dirs = ['/etc/cdi', '/var/run/cdi']

    [plugins.'io.containerd.cri.v1.runtime'.containerd]
      default_runtime_name = 'runc'

      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes]
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
          runtime_type = 'io.containerd.runc.v2'
          sandboxer = 'podsandbox'

          [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia.options]
            BinaryName = '/usr/bin/nvidia-container-runtime'
            SystemdCgroup = true

        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
          runtime_type = 'io.containerd.runc.v2'
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder for a host's programs, with the runtime in it."""
    (tmp_path / "bin").mkdir()
    executable(tmp_path / "bin" / "nvidia-container-runtime", "#!/bin/sh\n")
    return tmp_path


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def answers(host: Path, program: str, text: str, rc: int = 0) -> None:
    """The program prints a text whatever it is asked, and on failing does so as an error."""
    (host / f"{program}.txt").write_text(text)
    to = ">&2" if rc else ""
    executable(host / "bin" / program, f"#!/bin/sh\ncat {host}/{program}.txt {to}\nexit {rc}\n")


def run(python: str, host: Path, *words: str) -> subprocess.CompletedProcess[str]:
    runtime = f"nvidia={host}/bin/nvidia-container-runtime"
    return subprocess.run(
        [python, str(PROGRAM), "--runtime", runtime, *words],
        env={"PATH": f"{host}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def docker_info(host: Path, **changes: Any) -> None:
    text = json.dumps({**INFO, **changes}).replace("/usr/bin/", f"{host}/bin/")
    answers(host, "docker", text)


@pytest.mark.parametrize("python", PYTHONS)
def test_nothing_is_missing(host: Path, python: str):
    docker_info(host, DefaultRuntime="nvidia")
    answers(host, "crio", CRIO.replace("/usr/bin/nvidia", f"{host}/bin/nvidia"))
    (host / "nvidia.yaml").write_text('---\ncdiVersion: 0.5.0\nkind: "nvidia.com/gpu"\n')
    done = run(python, host, "--default", "--cdi", f"{host}/nvidia.yaml", "docker", "crio")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "docker, crio have nvidia\n"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("changes", "words", "lacks"),
    [
        ({"Runtimes": {"runc": {}}}, (), "docker has no runtime nvidia"),
        ({"Runtimes": {"nvidia": {"path": "runc"}}}, (), "docker has another runtime nvidia: runc"),
        ({}, ("--default",), "docker has runc as its default runtime"),
        ({"CDISpecDirs": []}, ("--cdi", "/none"), "docker has CDI switched off"),
        ({"ServerErrors": ["no daemon"]}, (), "docker does not answer: no daemon"),
        ({}, ("--cdi", "/none"), "/none is not there"),
    ],
)
def test_what_docker_lacks_is_named(
    host: Path, python: str, changes: dict[str, Any], words: tuple[str, ...], lacks: str
):
    docker_info(host, **changes)
    done = run(python, host, *words, "docker")
    assert done.returncode == 1
    assert f"runtime-check: {lacks}" in done.stderr


def test_a_docker_without_cdi_is_not_asked_for_it(host: Path):
    without = {key: value for key, value in INFO.items() if key != "CDISpecDirs"}
    answers(host, "docker", json.dumps(without).replace("/usr/bin/", f"{host}/bin/"))
    (host / "nvidia.yaml").write_text("kind: nvidia.com/gpu\n")
    assert run(sys.executable, host, "--cdi", f"{host}/nvidia.yaml", "docker").returncode == 0


def test_a_daemon_that_fails_is_told_with_its_last_words(host: Path):
    answers(host, "docker", "usage\nCannot connect to the Docker daemon\n", rc=1)
    answers(host, "systemctl", "MainPID=0\n")
    done = run(sys.executable, host, "docker", "containerd")
    assert "docker does not answer" in done.stderr
    assert "Cannot connect to the Docker daemon" in done.stderr
    assert "containerd does not answer: containerd.service does not run" in done.stderr


def test_a_runtime_that_is_not_there_is_told(host: Path):
    docker_info(host)
    (host / "bin" / "nvidia-container-runtime").unlink()
    done = run(sys.executable, host, "docker")
    assert "nvidia-container-runtime is not there, or cannot be run" in done.stderr


def asked(**more: Any) -> argparse.Namespace:
    return runtime_check.arguments(
        ["--runtime", "nvidia=/usr/bin/nvidia-container-runtime", *more.get("words", ()), "docker"]
    )


@pytest.mark.parametrize(
    ("dump", "words", "lacks"),
    [
        (DUMP, ("--cgroup", "systemd", "--cdi", "/x"), []),
        (DUMP.replace("nvidia", "amd"), (), ["has no runtime nvidia"]),
        (DUMP, ("--cgroup", "cgroupfs"), ["has SystemdCgroup = true for nvidia"]),
        (DUMP, ("--default",), ["has runc as its default runtime"]),
        (
            DUMP.replace("enable_cdi = true", "enable_cdi = false"),
            ("--cdi", "/x"),
            ["has CDI switched off (enable_cdi)"],
        ),
        (
            DUMP.replace(
                "runtime_type = 'io.containerd.runc.v2'\n          sandboxer", "sandboxer"
            ),
            (),
            ["has runtime nvidia of type None, not io.containerd.runc.v2"],
        ),
        ("version = 2\n", (), ["has no runtimes at all in its CRI plugin; disabled_plugins may"]),
    ],
)
def test_what_containerd_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, dump: str, words: tuple[str, ...], lacks: list[str]
):
    monkeypatch.setattr(runtime_check, "running_containerd", lambda: ["containerd"])
    monkeypatch.setattr(runtime_check, "said", lambda argv: dump)
    found = runtime_check.containerd(asked(words=words))
    assert len(found) == len(lacks)
    assert all(one.startswith(lack) for one, lack in zip(found, lacks, strict=True))
