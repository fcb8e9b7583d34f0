"""``aiprov doctor`` against real hosts, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from aiprov.lab import HostSpec, Lab, PciDevice, gpus
from aiprov.lab.vendor import served
from aiprov.lab.vendor.packages import kernel
from tests.lab.commands import Said, snapshot
from tests.lab.conftest import LabHost

pytestmark = pytest.mark.lab

_SET = ("dkms", "gcc", "make", f"linux-headers-{kernel.running()}", "nvidia-driver-cuda",
        "nvidia-kernel-open-dkms", "nvidia-persistenced", "nvidia-fabricmanager")  # fmt: skip

H200 = PciDevice(address="0000:1b:00.0", vendor=0x10DE, device=0x2335)
NARROW = PciDevice(
    address="0000:2b:00.0", vendor=0x10DE, device=0x2335, current_link_width=4
)  # fmt: skip


def doctor(inventory: Path, *arguments: str) -> Said:
    done = subprocess.run(
        [sys.executable, "-m", "aiprov", "doctor", "-i", str(inventory), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"},
    )
    return Said(done.returncode, done.stdout, done.stderr)


def test_a_host_without_gpus_has_nothing_wrong(lab: Lab) -> None:
    before = snapshot(lab, "deb12a")
    said = doctor(lab.inventory, "deb12a", "deb13a")
    assert said.code == 0, said.out + said.err
    for name in ("deb12a", "deb13a"):
        assert f"{name}  nothing is wrong, 1 note" in said.out
    assert "note  the host has no NVIDIA GPU" in said.out
    assert "looked at: GPUs on the PCI bus" in said.out or "remedy:" in said.out
    assert snapshot(lab, "deb12a") == before


def test_gpus_without_a_driver(make_host: Callable[..., LabHost]) -> None:
    host = make_host(gpus=[H200, NARROW])
    said = doctor(host.inventory, host.name)
    assert said.code == 3, said.out + said.err
    assert "problem  no NVIDIA driver is installed, and the host has 2 GPUs" in said.out
    assert "/sys/bus/pci/devices/0000:1b:00.0: 10de:2335 (H200" in said.out
    assert "problem  the PCIe link of 1 GPU is narrower" in said.out
    assert "0000:2b:00.0: current_link_width 4, max_link_width 16" in said.out
    assert "not looked at  the kernel log" in said.out
    assert said.out.index("  problem  ") < said.out.index("    remedy:")

    document = doctor(host.inventory, "--limit", host.name, "--json").document
    assert (document["format_version"], list(document["hosts"])) == ("1.0", [host.name])
    found = document["hosts"][host.name]
    assert found["status"] == "problems" and found["error"] is None
    assert all(item["evidence"] and item["remedy"] for item in found["findings"])


def test_a_driver_that_is_half_there(make_host: Callable[..., LabHost]) -> None:
    """A blacklist and the log of a failed build, as an interrupted installation leaves them."""
    host = make_host(gpus=[H200])
    place = "/var/lib/dkms/nvidia/580.95.05/build"
    host.run(["mkdir", "-p", place])
    log = b"DKMS make.log for nvidia-580.95.05 for kernel 6.1.0-99-amd64 (x86_64)\n"
    log += (
        b"nv-dma.c:907:13: error: implicit declaration of function\nmake: *** [modules] Error 2\n"
    )
    host.run(["tee", f"{place}/make.log"], stdin=log)
    said = doctor(host.inventory, host.name)
    assert said.code == 3, said.out + said.err
    assert "DKMS could not build NVIDIA's module 580.95.05 for kernel 6.1.0-99-amd64" in said.out
    assert f"{place}/make.log: nv-dma.c:907:13: error: implicit declaration" in said.out


def test_one_host_that_is_not_reached_stops_no_other(
    make_host: Callable[..., LabHost], tmp_path: Path
) -> None:
    host = make_host(gpus=[H200])
    plain = make_host()
    gone = tmp_path / "gone.yml"
    nobody = "ansible_host: 192.0.2.1, ansible_user: root, ansible_ssh_timeout: 2"
    gone.write_text(f"all: {{hosts: {{gone: {{{nobody}}}}}}}\n")
    both = ("-i", str(gone), "-T", "60")
    said = doctor(host.inventory, *both, plain.name, "gone")
    assert said.code == 4, said.out + said.err
    assert "error: gone: " in said.err
    assert f"{plain.name}  nothing is wrong" in said.out
    said = doctor(host.inventory, *both, host.name, "gone", "--json")
    assert said.code == 3, said.out + said.err
    hosts = said.document["hosts"]
    assert hosts["gone"]["status"] == "unreachable" and hosts["gone"]["error"]["message"]
    assert hosts[host.name]["status"] == "problems"


def test_a_name_that_is_not_there(lab: Lab) -> None:
    for arguments in (("deb12a", "deb13aa"), ("deb13aa",)):
        said = doctor(lab.inventory, *arguments)
        assert said.code == 1
        assert "deb13aa" in said.err and "did you mean deb13a?" in said.err
        assert said.out == ""
    said = doctor(lab.inventory, "deb12a", "--limit", "deb13a")
    assert said.code == 1 and "--limit is given too" in said.err


# ---------------------------------------------------------------- a driver, and what breaks


def install(host: LabHost, *packages: str) -> None:
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-qq", "--allow-downgrades"]
    host.run([*quiet, "install", *packages], timeout=600)


@pytest.fixture
def driven(lab_root: Path) -> Iterator[LabHost]:
    """A host with eight simulated H200s, and the stand-in driver 580.95.05 on it and loaded."""
    own = Lab(lab_root / "doctor")
    own.up([HostSpec(name="gpu", suite="trixie", gpus=gpus("h200x8"))])
    host = LabHost(own, "gpu")
    groups = yaml.safe_load(own.inventory.read_text())["all"]["children"]
    told = groups[served.GROUP]["vars"]
    key = "/etc/apt/keyrings/vendor.asc"
    sources = "".join(
        f"Types: deb\nURIs: {uri}\nSuites: /\nSigned-By: {key}\n\n"
        for uri in (
            f"{told['nvidia_driver_repository_url']}/debian13/x86_64/",
            f"{told['nvidia_container_toolkit_repository_url']}/stable/deb/amd64/",
        )
    )
    host.run(["tee", key], stdin=told["nvidia_driver_repository_key"].encode())
    host.run(["tee", "/etc/apt/sources.list.d/vendor.sources"], stdin=sources.encode())
    host.run(["apt-get", "update", "-qq"])
    install(host, "nvidia-driver-pinning-580.95.05")
    install(host, *_SET)
    for module in ("nvidia", "nvidia-uvm"):
        host.run(["modprobe", module])
    host.run(["systemctl", "restart", "nvidia-persistenced", "nvidia-fabricmanager"])
    yield host
    own.down()


def test_a_healthy_host_and_what_breaks_on_it(driven: LabHost) -> None:
    """One fault after the other: each is told, and those before it stay told."""
    said = doctor(driven.inventory, "gpu")
    assert said.code == 0, said.out + said.err
    assert said.out.startswith("gpu  nothing is wrong\n")
    for area in ("Xids", "PCIe links", "nvidia-smi", "services", "versions", "kernels"):
        assert any(area in line for line in said.out.splitlines() if "looked at: " in line), area

    driven.lab.gpu_fault("gpu", "xid", gpu=3, code=79)
    driven.lab.gpu_fault("gpu", "narrow", gpu=2)
    said = doctor(driven.inventory, "gpu")
    assert said.code == 3, said.out + said.err
    assert "gpu  2 problems" in said.out
    assert "problem  Xid 79 on " in said.out and "GPU has fallen off the bus" in said.out
    assert "current_link_width 4, max_link_width 16" in said.out

    driven.run(["systemctl", "stop", "nvidia-fabricmanager"])
    install(driven, "nvidia-fabricmanager=580.178.04-1")
    said = doctor(driven.inventory, "gpu")
    assert "580.95.05 (loaded module, installed module, library); 580.178.04 (fabric manager)" in (
        said.out
    )
    assert "the fabric manager does not run: it is 580.178.04 and the driver 580.95.05" in said.out
    assert "8 of 8 GPUs have not joined the NVLink fabric" in said.out

    install(driven, "nvidia-container-toolkit", "docker.io")
    said = doctor(driven.inventory, "gpu")
    assert "the toolkit is installed and Docker does not know the nvidia runtime" in said.out
    told = b'{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}'
    driven.run(["tee", "/etc/docker/daemon.json"], stdin=told)
    said = doctor(driven.inventory, "gpu")
    assert "Docker was started before the nvidia runtime was configured" in said.out
    driven.run(["systemctl", "restart", "docker"])
    said = doctor(driven.inventory, "gpu")
    assert "Docker" not in said.out

    driven.run(["tee", "/etc/docker/daemon.json"], stdin=b'{"runtimes": ')
    said = doctor(driven.inventory, "gpu")
    assert "/etc/docker/daemon.json is not valid JSON" in said.out
