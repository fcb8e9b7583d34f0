"""The program initramfs on a made-up host, with old Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pythons import find

PROGRAM = Path("aiprov/programs/initramfs.py").resolve()
PYTHONS = [sys.executable, *filter(None, [find("3.6")])]
OPTIONS = "/etc/modprobe.d/aiprov-nvidia.conf"


@pytest.fixture(params=PYTHONS, ids=["now", "3.6"][: len(PYTHONS)])
def run(request, tmp_path):
    """Run it; a kernel with an initrd, one with an initramfs, one with neither."""
    for kernel in ("6.1", "6.2", "6.3"):
        (tmp_path / "lib/modules" / kernel).mkdir(parents=True)
    for path in (OPTIONS, "/boot/initrd.img-6.1", "/boot/initramfs-6.2.img"):
        (tmp_path / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.lstrip("/")).write_text("")
    (tmp_path / "tools").mkdir()

    def start(*arguments: str, later: float = 100) -> subprocess.CompletedProcess[str]:
        for image in (tmp_path / "boot").iterdir():
            changed = (tmp_path / OPTIONS.lstrip("/")).stat().st_ctime
            os.utime(image, (changed + later, changed + later))
        return subprocess.run(
            [request.param, "-B", str(PROGRAM), *arguments],
            env={"PATH": f"{tmp_path}/tools:/usr/bin:/bin", "AIPROV_TEST_ROOT": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return start


def tool(root: Path, name: str, text: str) -> None:
    path = root / "tools" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_newer_ones_are_left_alone(run):
    assert run(OPTIONS, "/etc/modprobe.d/is-not-there.conf").returncode == 0
    assert run(OPTIONS, "--rebuild").stdout == ""


def test_older_ones_are_made_anew_each_with_its_tool(run, tmp_path):
    asked = run(OPTIONS, later=-100)
    assert asked.returncode == 1
    assert "/boot/initrd.img-6.1 is older" in asked.stderr
    for name in ("update-initramfs", "dracut"):
        tool(tmp_path, name, f"echo {name} $* >> {tmp_path}/log")
    assert run(OPTIONS, "--rebuild", later=-100).returncode == 0
    assert (tmp_path / "log").read_text().splitlines() == [
        "update-initramfs -u -k 6.1",
        "dracut --force /boot/initramfs-6.2.img 6.2",
    ]


def test_one_that_cannot_be_made_is_a_failure(run, tmp_path):
    tool(tmp_path, "update-initramfs", "exit 3")
    done = run(OPTIONS, "--rebuild", later=-100)
    assert done.returncode == 3
    assert "/boot/initrd.img-6.1 was not made anew by update-initramfs" in done.stderr


def test_a_missing_tool_is_named(run):
    done = run(OPTIONS, "--rebuild", later=-100)
    assert done.returncode == 1
    assert "update-initramfs is not installed" in done.stderr
