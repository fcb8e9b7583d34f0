"""The environment with PyTorch, made by the real venv and pip, of a small stand-in for PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from aiprov.programs import gpu_validation
from tests.pythons import needed

PYTHONS = ["3.6", "3.12"]
"""Of the program; the environment's is this one."""


@pytest.fixture(scope="module")
def copying(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that makes environments by copying one, since to make one takes seconds."""
    folder = tmp_path_factory.mktemp("template")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    stand_in = folder / "python"
    stand_in.write_text(f'#!/bin/sh\n[ "$1 $2" = "-m venv" ] && cp -a {folder}/venv "$3"\n')
    stand_in.chmod(0o755)
    return str(stand_in)


class Host:
    """A folder with wheels, an environment beside it, and systemctl that knows of no validation."""

    def __init__(self, folder: Path, python: str, made_with: str = sys.executable) -> None:
        self.python, self.folder, self.made_with = python, folder, made_with
        self.venv, self.wheels, self.bin = folder / "venv", folder / "wheels", folder / "bin"
        for made in (self.wheels, self.bin):
            made.mkdir()
        self.validation_runs(False)

    def validation_runs(self, runs: bool) -> None:
        stand_in = self.bin / "systemctl"
        stand_in.write_text(f"#!/bin/sh\nexit {0 if runs else 3}\n")
        stand_in.chmod(0o755)

    def wheel(self, version: str, cuda: str | None = None, works: bool = True) -> None:
        """A wheel that looks like PyTorch."""
        source = "from . import version\n__version__ = version.__version__\n"
        source += (
            "class ones:\n    def __init__(self, n): self.n = n\n"
            "    sum = lambda self: self\n    item = lambda self: self.n\n"
            if works
            else "import libcudart\n"
        )
        of = f"from typing import Optional\n__version__ = {version!r}\n"
        of += f"cuda: Optional[str] = {cuda!r}\n"
        about = f"torch-{version}.dist-info"
        files = {
            "torch/__init__.py": source,
            "torch/version.py": of,
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        sizes = [f"{name},,{len(text)}\n" for name, text in files.items()]
        files[f"{about}/RECORD"] = "".join([*sizes, f"{about}/RECORD,,\n"])
        with zipfile.ZipFile(self.wheels / f"torch-{version}-py3-none-any.whl", "w") as out:
            for name, text in files.items():
                out.writestr(name, text)

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, gpu_validation.__file__, *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            # This machine's pip may know of wheels of the real PyTorch.
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            },
        )

    def torch(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("torch", str(self.venv), *words)

    def install(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        own = ("--python", self.made_with, "--no-index")
        own += () if stdin else ("--find-links", str(self.wheels))
        return self.run("install", str(self.venv), *words, *own, stdin=stdin)

    def find(self, name: str) -> Path:
        (found,) = self.venv.glob(f"lib/python3*/site-packages/{name}")
        return found


@pytest.fixture(params=PYTHONS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    python = needed(request.param)
    return Host(tmp_path, python)


def test_an_environment_from_nothing_to_another_version(tmp_path: Path):
    oldest = needed("3.6")
    host = Host(tmp_path, oldest)
    wanted = ("--version", "2.13.0")
    assert host.torch(*wanted).stdout == f"{host.venv} has no Python that runs\n"
    host.wheel("2.13.0+cu126", "12.6")
    done = host.install(*wanted)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "PyTorch 2.13.0+cu126 with CUDA 12.6\n"
    for named in (wanted, ("--version", "2.13.0+cu126"), (*wanted, "--cuda", "12.6")):
        assert (host.torch(*named).returncode, host.torch(*named).stdout) == (0, "")
    assert sorted(path.name for path in host.folder.iterdir()) == ["bin", "venv", "wheels"]

    (host.venv / "kept").touch()
    assert host.install(*wanted).returncode == 0
    assert (host.venv / "kept").exists(), "what is as it should be is left alone"
    for other, said in (
        (("--version", "2.13.1"), "PyTorch is 2.13.0+cu126, not 2.13.1\n"),
        (("--version", "2.13.0+cpu"), "PyTorch is 2.13.0+cu126, not 2.13.0+cpu\n"),
        (
            (*wanted, "--cuda", "13.0"),
            "PyTorch 2.13.0+cu126 is built with CUDA 12.6, not 13.0\n",
        ),
    ):
        assert (host.torch(*other).returncode, host.torch(*other).stdout) == (1, said)

    host.wheel("2.14.0+cpu")
    assert host.install("--version", "2.14.0", "--cuda", "none").returncode == 0
    assert host.torch("--version", "2.14.0+cpu", "--cuda", "none").returncode == 0
    assert not (host.venv / "kept").exists(), "nothing of another version is left"


def test_what_was_cut_off_or_broken_is_told_and_repaired(tmp_path: Path, copying: str):
    host = Host(tmp_path, sys.executable, copying)
    wanted = ("--version", "2.13.0")
    host.wheel("2.13.0")
    assert host.install(*wanted).returncode == 0
    away = host.folder / "away"
    for lost, said in (
        ("torch/version.py", "torch-2.13.0 is not whole: torch/version.py is not there"),
        ("torch-2.13.0.dist-info", "PyTorch is not installed"),
        ("../../../aiprov-imported", "PyTorch 2.13.0 has not been imported yet"),
        ("../../../bin/python", f"{host.venv} has no Python that runs"),
        ("torch-2.13.0.dist-info/RECORD", "torch-2.13.0 is not whole: pip was cut off"),
    ):
        path = host.find(lost)
        path.rename(away)
        done = host.torch(*wanted)
        assert (done.returncode, done.stdout) == (1, f"{said}\n")
        away.rename(path)
    host.find("torch/version.py").write_text("#\n")
    assert "torch/version.py has 2 bytes, not" in host.torch(*wanted).stdout
    host.find("torch-2.13.0.dist-info/RECORD").unlink()
    assert host.install(*wanted).returncode == 0
    assert host.torch(*wanted).returncode == 0


def test_a_pytorch_that_cannot_be_imported_is_never_taken_for_good(tmp_path: Path, copying: str):
    host = Host(tmp_path, sys.executable, copying)
    host.wheel("2.13.0", works=False)
    for _ in range(2):
        done = host.install("--version", "2.13.0")
        assert done.returncode == 2
        assert "No module named 'libcudart'" in done.stderr
        assert "has not been imported yet" in host.torch("--version", "2.13.0").stdout


def test_another_build_than_the_one_that_was_named_is_an_error(tmp_path: Path, copying: str):
    host = Host(tmp_path, sys.executable, copying)
    host.wheel("2.13.0+cpu")
    done = host.install("--version", "2.13.0", "--cuda", "13.0")
    assert done.returncode == 2
    assert done.stderr == ("gpu-validation: PyTorch 2.13.0+cpu is built with CUDA none, not 13.0\n")


def test_what_pip_says_is_told_and_nothing_is_left(tmp_path: Path, copying: str):
    host = Host(tmp_path, sys.executable, copying)
    done = host.install("--version", "2.13.0")
    assert done.returncode == 2
    assert "No matching distribution found for torch==2.13.0" in done.stderr
    assert not (host.folder / "venv.tmp").exists()


def test_pip_gets_its_settings_on_standard_input(tmp_path: Path, copying: str):
    host = Host(tmp_path, sys.executable, copying)
    host.wheel("2.13.0")
    given = f"PIP_FIND_LINKS={host.wheels}\nHTTPS_PROXY=http://me:a=b@proxy:3128\n"
    done = host.install("--version", "2.13.0", "--environment", stdin=given)
    assert done.returncode == 0, done.stderr


def test_an_index_is_asked_that_is_named(tmp_path: Path, copying: str):
    host = Host(tmp_path, sys.executable, copying)
    host.wheel("2.13.0")
    page = host.folder / "simple/torch/index.html"
    page.parent.mkdir(parents=True)
    (wheel,) = host.wheels.iterdir()
    page.write_text(f'<a href="{wheel.as_uri()}">{wheel.name}</a>')
    index = ("--index-url", page.parent.parent.as_uri())
    own = ("--version", "2.13.0", "--python", copying)
    done = host.run("install", str(host.venv), *own, *index)
    assert done.returncode == 0, done.stderr


def test_a_validation_that_runs_keeps_its_environment(tmp_path: Path, copying: str):
    host = Host(tmp_path, sys.executable, copying)
    host.wheel("2.13.0")
    host.validation_runs(True)
    done = host.install("--version", "2.13.0")
    assert done.returncode == 2
    assert "a validation runs with it: wait, or end it (systemctl stop aiprov" in done.stderr
    assert not host.venv.exists()


def test_files_of_other_versions_go_and_compiled_ones_stay_with_their_source(host: Host):
    package = host.folder / "package"
    named = ("worker.py", "readers/links.py")
    stray = ("gone.py", "readers/__pycache__/gone.cpython-311.pyc")
    compiled = ("__pycache__/worker.cpython-311.pyc", "readers/__pycache__/links.cpython-39.pyc")
    for name in (*named, *compiled):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    assert host.run("only", str(package), *named).returncode == 0
    for name in stray:
        (package / name).touch()
    done = host.run("only", str(package), *named)
    assert (done.returncode, done.stdout.split()) == (1, list(stray))
    assert host.run("prune", str(package), *named).returncode == 0
    assert host.run("only", str(package), *named).returncode == 0
    left = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert left == {*named, *compiled}
    assert host.run("only", str(host.folder / "absent"), *named).returncode == 0
