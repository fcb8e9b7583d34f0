"""Simulated GPU hosts: what a host's real tools and the vendor's stand-ins say of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aiprov.errors import LabError
from aiprov.lab import HostSpec, Lab, gpus, simulated
from aiprov.lab.state import Folder
from tests.kernel_object import kernel_object
from tests.lab.conftest import LabHost

pytestmark = pytest.mark.lab

MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm")
SMI = Path(simulated.__file__).parent / "nvidia_smi.py"
Make = Callable[..., LabHost]


def install(host: LabHost, version: str = "580.95.05", license: str = "Dual MIT/GPL") -> None:
    """What the driver's packages bring: modules for the running kernel, library, nvidia-smi."""
    kernel = os.uname().release
    folder = f"/lib/modules/{kernel}/updates/dkms"
    host.run(["mkdir", "-p", folder])
    for name in MODULES:
        info = {"name": name.replace("-", "_"), "version": version, "license": license}
        content = kernel_object(**info, vermagic=f"{kernel} SMP mod_unload")
        host.run(["tee", f"{folder}/{name}.ko"], stdin=content)
    host.run(["depmod", "-a"])
    library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so"
    host.run(["ln", "-sfn", f"libnvidia-ml.so.{version}", f"{library}.1"])
    host.run(["tee", "/usr/bin/nvidia-smi"], stdin=SMI.read_bytes())
    host.run(["chmod", "755", "/usr/bin/nvidia-smi"])


def said(host: LabHost, *argv: str) -> tuple[int, str]:
    """Exit status and all that a program says."""
    done = host.run(argv, check=False)
    return done.returncode, (done.stdout + done.stderr).decode().strip()


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_gpu_host_from_bare_to_loaded_and_back(make_host: Make, suite: str) -> None:
    host = make_host(suite=suite, gpus=gpus("h200x8"))
    assert host.text("lspci", "-nn").count("H200") == 8
    assert host.text("lspci", "-nn").count("Bridge [0680]") == 4
    assert host.text("systemctl", "is-system-running") == "running"
    folder = f"/lib/modules/{os.uname().release}"
    fatal = f"modprobe: FATAL: Module nvidia not found in directory {folder}"
    assert said(host, "modprobe", "nvidia") == (1, fatal)
    assert said(host, "/usr/sbin/modprobe", "nvidia") == (1, fatal), "the real one says the same"
    assert said(host, "lsmod") == (0, "Module                  Size  Used by")

    install(host)
    status, text = said(host, "nvidia-smi")
    assert (status, "couldn't communicate with the NVIDIA driver" in text) == (9, True)
    assert host.text("modinfo", "-F", "version", "nvidia") == "580.95.05"
    host.run(["modprobe", "nvidia_uvm"])
    assert "Open Kernel Module" in host.text("cat", "/proc/driver/nvidia/version")
    assert host.text("nvidia-smi", "-L").count("NVIDIA H200 (UUID: GPU-") == 8
    assert host.text("lspci", "-ks", "11:00.0").endswith("Kernel driver in use: nvidia")
    assert host.text("stat", "-c", "%F %a", "/dev/nvidia7") == "character special file 666"

    with host.lab.hold_gpu(host.name, 3) as pid:
        assert said(host, "rmmod", "nvidia_uvm") == (0, "")
        assert said(host, "rmmod", "nvidia") == (1, "rmmod: ERROR: Module nvidia is in use")
        ask = ("nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader")
        assert host.text(*ask) == str(pid)
    assert said(host, "modprobe", "-r", "nvidia") == (0, "")
    assert said(host, "nvidia-smi")[0] == 9
    assert said(host, "ls", "/proc/driver/nvidia")[0] != 0


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_reboot_loads_what_it_should(make_host: Make, suite: str) -> None:
    host = make_host(suite=suite, gpus=gpus("a100x2"))
    install(host)
    host.run(["modprobe", "nvidia"])
    uuids = host.text("nvidia-smi", "-L")
    host.run(["nvidia-smi", "-mig", "1"])
    host.run(["nvidia-smi", "mig", "-cgi", "9,9", "-C"])
    host.run(["tee", "/etc/modules-load.d/nvidia.conf"], stdin=b"# for containers\nnvidia_uvm\n")
    host.lab.reboot(host.name)
    assert host.text("systemctl", "is-system-running") == "running"
    assert "nvidia_uvm" in host.text("lsmod")
    assert host.text("nvidia-smi", "-L") == uuids, "instances are gone, UUIDs are not"
    ask = ("nvidia-smi", "--query-gpu=mig.mode.current", "--format=csv,noheader")
    assert host.text(*ask) == "Enabled\nEnabled"
    host.run(["tee", "/etc/modprobe.d/off.conf"], stdin=b"blacklist nvidia\n")
    host.run(["rm", "/etc/modules-load.d/nvidia.conf"])
    host.lab.reboot(host.name)
    assert "nvidia" not in host.text("lsmod")


def test_nouveau_keeps_the_gpus_until_it_is_blacklisted(make_host: Make) -> None:
    host = make_host(suite="trixie", gpus=gpus("h200x2,nouveau"))
    assert "nouveau" in host.text("lsmod")
    install(host)
    failed = "modprobe: ERROR: could not insert 'nvidia': No such device"
    assert said(host, "modprobe", "nvidia") == (1, failed)
    reason = "NVRM: GPU 0000:11:00.0 is already bound to nouveau."
    host.run(["journalctl", "--sync"])
    assert reason in host.text("journalctl", "-b", "-t", "kernel")
    assert reason in host.text("dmesg")
    host.run(["tee", "/etc/modprobe.d/nouveau.conf"], stdin=b"blacklist nouveau\n")
    host.lab.reboot(host.name)
    assert host.text("nvidia-smi", "-L").count("H200") == 2


def test_faults_at_boot_and_later(make_host: Make) -> None:
    host = make_host(gpus=gpus("h200x8,missing=1,narrow=0,xid=79@2"))
    assert host.text("lspci", "-nn").count("H200") == 7
    xid = "NVRM: Xid (PCI:0000:2b:00): 79,"
    host.run(["journalctl", "--sync"])
    assert xid in host.text("journalctl", "-b", "-t", "kernel")
    assert xid not in subprocess.check_output(["dmesg"], text=True), "the machine's own log"
    install(host)
    host.run(["modprobe", "nvidia"])
    host.lab.gpu_fault(host.name, "narrow", gpu=1)
    host.lab.gpu_fault(host.name, "xid", gpu=6, code=48)
    ask = ("nvidia-smi", "--query-gpu=pcie.link.width.current", "--format=csv,noheader")
    assert host.text(*ask).split() == ["4", "4", "16", "16", "16", "16", "16"]
    assert "NVRM: Xid (PCI:0000:5f:00): 48," in host.text("dmesg")
    host.lab.gpu_fault(host.name, "missing", gpu=6)
    assert said(host, "nvidia-smi")[0] == 15
    host.lab.reboot(host.name)
    assert host.text("lspci", "-nn").count("H200") == 6
    assert host.text("nvidia-smi", "-L").count("H200") == 6
    with pytest.raises(LabError, match="no such GPU on the bus"):
        host.lab.gpu_fault(host.name, "missing", gpu=6)
    with (
        pytest.raises(LabError, match="/dev/nvidia6 cannot be opened"),
        host.lab.hold_gpu(host.name, 6),
    ):
        pass


def test_aiprov_sees_the_gpus(make_host: Make) -> None:
    host = make_host(gpus=gpus("h100x2+l40s"))
    install(host)
    host.run(["modprobe", "nvidia"])
    argv = [sys.executable, "-m", "aiprov", "facts", "-i", str(host.inventory), "--json"]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=300)
    devices = json.loads(done.stdout)["hosts"][host.name]["pci_devices"]
    assert [(one["device"], one["driver"]) for one in devices] == [
        ("2330", "nvidia"),
        ("2330", "nvidia"),
        ("26b9", "nvidia"),
    ]


@pytest.mark.alone
def test_gpu_hosts_leave_nothing_on_the_machine(lab_root: Path) -> None:
    modules = sorted(Path("/sys/module").iterdir())
    mounts = Path("/proc/self/mounts").read_text()
    nodes = list(Path("/dev").glob("nvidia*"))
    own = Lab(lab_root / "gpus-traces")
    own.up([HostSpec(name="gone", gpus=gpus("h200x8,nouveau"))])
    intents = Folder(own.directory).journal.intents()
    assert intents
    own.down()
    assert sorted(Path("/sys/module").iterdir()) == modules
    assert Path("/proc/self/mounts").read_text() == mounts
    assert list(Path("/dev").glob("nvidia*")) == nodes
    assert not own.directory.exists()


def test_a_gpu_host_needs_python(lab_root: Path) -> None:
    own = Lab(lab_root / "gpus-no-python")
    with pytest.raises(LabError, match="need a host with Python"):
        own.up([HostSpec(name="bare", python=False, gpus=gpus("t4"))])
