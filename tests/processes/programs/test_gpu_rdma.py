"""The program that looks after RDMA, on hosts that are folders, with tools that stand in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiprov.programs import gpu_rdma
from tests.pythons import find

PROGRAM = Path(gpu_rdma.__file__)
PYTHONS = [python for version in ("3.6", "3.12") if (python := find(version))] or [sys.executable]
KERNEL = "6.8.0-90-generic"


class Host:
    """A root folder with what the program reads, and a folder of tools that stand in."""

    def __init__(self, folder: Path, python: str) -> None:
        self.root, self.tools, self.python = folder / "root", folder / "tools", python
        self.root.mkdir()
        self.tools.mkdir()

    def write(self, path: str, text: str = "") -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def tool(self, name: str, code: str) -> None:
        """A tool in Python: ``words`` are its arguments, ``log`` is a file beside it."""
        file = self.tools / name
        log = self.tools / "log"
        file.write_text(
            f"#!{sys.executable}\nimport sys\nwords = sys.argv[1:]\nlog = {str(log)!r}\n{code}\n"
        )
        file.chmod(0o755)

    def log(self) -> list[str]:
        file = self.tools / "log"
        return file.read_text().splitlines() if file.exists() else []

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {"AIPROV_TEST_ROOT": str(self.root), "PATH": str(self.tools)}
        return subprocess.run(
            [self.python, str(PROGRAM), *words],
            capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, **environment},
        )  # fmt: skip

    def port(self, name: str, state: str) -> None:
        device, port = name.split("/")
        self.write("/sys/module/ib_core/refcnt", "1\n")
        self.write(f"/sys/class/infiniband/{device}/ports/{port}/state", f"{state}\n")


@pytest.fixture(params=PYTHONS, ids=lambda python: Path(python).parts[-3])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, str(request.param))


def test_ports_that_are_active_are_enough(host: Host) -> None:
    host.port("mlx5_0/1", "4: ACTIVE")
    host.port("mlx5_1/1", "1: DOWN")
    assert host.run("ports", "1").returncode == 0


def test_each_port_is_told_where_too_few_are_active(host: Host) -> None:
    host.port("mlx5_0/1", "4: ACTIVE")
    host.port("mlx5_1/1", "2: INIT")
    host.port("mlx5_2/1", "5: ACTIVE_DEFER")
    done = host.run("ports", "2")
    assert done.returncode == 1
    assert "1 of 2 RDMA ports" in done.stderr
    assert "mlx5_1/1 is INIT, mlx5_2/1 is ACTIVE_DEFER" in done.stderr


@pytest.mark.parametrize("words", [("ports", "1"), ("stack",)])
def test_without_a_stack_it_says_so(host: Host, words: tuple[str, ...]) -> None:
    done = host.run(*words)
    assert done.returncode == 1
    assert "no RDMA stack is loaded" in done.stderr
    assert "gpu_rdma_stack" in done.stderr


def test_a_stack_without_a_device_is_told(host: Host) -> None:
    host.write("/sys/module/ib_core/refcnt", "1\n")
    done = host.run("stack")
    assert done.returncode == 1
    assert "mlx5_ib" in done.stderr


def test_a_device_that_is_not_there(host: Host) -> None:
    done = host.run("device", "/dev/gdrdrv")
    assert done.returncode == 1
    assert "/dev/gdrdrv is not there" in done.stderr
    host.write("/dev/gdrdrv")
    assert host.run("device", "/dev/gdrdrv").returncode == 0


MODINFO = """
answers = {'srcversion': SRCVERSION}
print(FILE if '-n' in words else answers[words[words.index('-F') + 1]])
"""


@pytest.mark.parametrize(
    ("loaded", "installed", "file", "compat", "status"),
    [
        ("A1", "A1", "kernel/drivers/infiniband/core/ib_core.ko", False, 0),
        ("A1", "B2", "updates/dkms/ib_core.ko", False, 1),
        ("B2", "B2", "updates/dkms/ib_core.ko", True, 0),
        ("", "", "updates/dkms/ib_core.ko.xz", False, 1),
        ("", "", "kernel/drivers/infiniband/core/ib_core.ko", False, 0),
    ],
)
def test_another_stack_is_noticed(
    host: Host, loaded: str, installed: str, file: str, compat: bool, status: int
) -> None:
    host.write("/sys/module/ib_core/srcversion", loaded)
    if compat:
        host.write("/sys/module/mlx_compat/refcnt", "0\n")
    path = repr(f"/lib/modules/{KERNEL}/{file}")
    host.tool("modinfo", MODINFO.replace("SRCVERSION", repr(installed)).replace("FILE", path))
    done = host.run("current")
    assert done.returncode == status
    assert ("reboot the host" in done.stderr) is bool(status)


def test_nothing_loaded_is_no_other_stack(host: Host) -> None:
    assert host.run("current").returncode == 0


def with_modules(host: Host, symbols: str) -> None:
    host.tool("modinfo", "print('/lib/modules/x/nvidia-peermem.ko')")
    host.tool("modprobe", f"print({symbols!r})")


@pytest.mark.parametrize(
    ("symbols", "status"),
    [("0x1\tib_register_peer_memory_client\n0x2\tnvidia_p2p_get_pages", 0),
     ("0x2\tnvidia_p2p_get_pages", 1)],
)  # fmt: skip
def test_a_module_without_the_interface_is_noticed(host: Host, symbols: str, status: int) -> None:
    with_modules(host, symbols)
    assert host.run("built", KERNEL).returncode == status


def test_a_kernel_without_the_module_is_named(host: Host) -> None:
    host.tool("modinfo", "raise SystemExit(1)")
    done = host.run("built", KERNEL)
    assert done.returncode == 1
    assert f"kernel {KERNEL} has no nvidia_peermem" in done.stderr


def test_it_builds_the_driver_for_each_kernel(host: Host) -> None:
    with_modules(host, "ib_register_peer_memory_client")
    for name in ("nvidia/580.95.05", "nvidia-fs/2.27", "gdrdrv/2.6"):
        (host.root / "var/lib/dkms" / name / "source").mkdir(parents=True)
    host.tool("dkms", "open(log, 'a').write(' '.join(words) + '\\n')")
    assert host.run("build", KERNEL, "6.8.0-91-generic").returncode == 0
    which = "-m nvidia -v 580.95.05 -k"
    assert host.log() == [
        f"{step} {which} {kernel} --force"
        for kernel in (KERNEL, "6.8.0-91-generic")
        for step in ("build", "install")
    ]


def test_what_the_compiler_said_is_told(host: Host) -> None:
    (host.root / "var/lib/dkms/nvidia/580.95.05/source").mkdir(parents=True)
    host.tool("dkms", "print('Error! Bad return status'); raise SystemExit(10)")
    done = host.run("build", KERNEL)
    assert done.returncode == 1
    assert f"dkms build nvidia/580.95.05 for {KERNEL} failed: Error! Bad return" in done.stderr
