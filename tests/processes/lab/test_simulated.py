"""The kernel side of simulated GPU hosts: modprobe and its kin, faults, what a driver shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.processes.lab.simulated_machine import CLOSED, HOME, OPEN, machine
from tests.pythons import offered

NO_DRIVER = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."


def test_nothing_answers_before_there_is_a_driver(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x8")
    assert host.run("nvidia-smi")[0] == 12
    host.library("580.95.05")
    status, said = host.run("nvidia-smi", "-L")
    assert (status, said.startswith(NO_DRIVER)) == (9, True)
    status, said = host.run("modprobe", "nvidia")
    folder = f"/lib/modules/{os.uname().release}"
    assert (status, said) == (
        1,
        f"modprobe: FATAL: Module nvidia not found in directory {folder}\n",
    )
    assert host.run("modprobe", "-q", "nvidia") == (1, "")


def test_other_modules_are_the_real_programs_business(tmp_path: Path) -> None:
    host = machine(tmp_path, "t4")
    assert host.run("modprobe", "overlay") == (0, "real modprobe overlay\n")
    assert host.run("modprobe", "-n", "nvidia") == (0, "real modprobe -n nvidia\n")
    assert host.run("rmmod", "overlay") == (0, "real rmmod overlay\n")


@pytest.fixture(params=["3.6", "3.9", "3.11", "3.13"])
def python(request: pytest.FixtureRequest) -> str:
    """A Python that a host of the lab may have."""
    return offered(request.param)


def test_a_loaded_driver_is_seen(tmp_path: Path, python: str) -> None:
    host = machine(tmp_path, "h200x8", python).loaded()
    version = host.text("proc/driver/nvidia/version")
    assert version.startswith("NVRM version: NVIDIA UNIX Open Kernel Module for ")
    assert "  580.95.05  Release Build" in version
    told = host.text("proc/driver/nvidia/gpus/0000:11:00.0/information")
    assert told.startswith("Model: \t\t NVIDIA H200\n")
    assert "Device Minor: \t 0\n" in told
    assert len(list((host.root / "proc/driver/nvidia-nvswitch/devices").iterdir())) == 4
    driver = host.root / "sys/bus/pci/devices/0000:11:00.0/driver"
    assert driver.resolve() == host.root / "sys/bus/pci/drivers/nvidia"
    assert {"nvidia0", "nvidia7", "nvidiactl"} <= {
        one.name for one in (host.root / "dev").iterdir()
    }
    assert host.text("sys/module/nvidia/version") == "580.95.05\n"
    assert "NVIDIA-SMI 580.95.05 " in host.smi()
    assert host.smi("-L").count("NVIDIA H200 (UUID: GPU-") == 8
    assert "In Progress" in host.smi("-q", "-i", "0")


def test_proprietary_modules_say_so(tmp_path: Path) -> None:
    host = machine(tmp_path, "v100x2").loaded(license=CLOSED)
    assert "NVIDIA UNIX x86_64 Kernel Module  580.95.05" in host.text("proc/driver/nvidia/version")


UNSERVED = {
    "open modules on Volta": ("v100x2", "580.95.05", OPEN, "is not supported by open"),
    "proprietary ones on Blackwell": ("b200x8", "580.95.05", CLOSED, "requires use of the NVIDIA"),
    "a branch after Volta's last": ("v100x2", "595.45.04", CLOSED, "NVIDIA 595.45.04 driver rel"),
    "a branch before Blackwell": ("b200x2", "535.183.01", OPEN, "NVIDIA 535.183.01 driver rel"),
    "no GPU": ("h200x1,missing=1", "580.95.05", OPEN, "No NVIDIA GPU found."),
    "nouveau": ("h200x2,nouveau", "580.95.05", OPEN, "is already bound to nouveau."),
}


@pytest.mark.parametrize("case", UNSERVED)
def test_the_driver_refuses_what_it_cannot_serve(tmp_path: Path, case: str) -> None:
    text, version, flavour, reason = UNSERVED[case]
    host = machine(tmp_path, text)
    host.install(version, flavour)
    if "nouveau" in text:
        assert host.run("modprobe", "nouveau") == (0, "")
    said = "modprobe: ERROR: could not insert 'nvidia': No such device\n"
    assert host.run("modprobe", "nvidia") == (1, said)
    assert reason in host.text("run/aiprov-lab/kernel.log")
    assert reason in host.run("dmesg")[1]
    assert not (host.root / "dev/nvidia0").exists()


def test_a_module_for_another_kernel_is_not_loaded(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2")
    host.install(kernel="5.0.0-other")
    said = "modprobe: ERROR: could not insert 'nvidia': Exec format error\n"
    assert host.run("modprobe", "nvidia") == (1, said)


def test_mixed_hosts_load_for_those_that_are_served(tmp_path: Path) -> None:
    host = machine(tmp_path, "h100x2+v100x2").loaded()
    assert host.smi("-L").count("GPU ") == 2


def test_modprobe_obeys_its_configuration(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2")
    host.install()
    folder = host.root / "etc/modprobe.d"
    folder.mkdir(parents=True)
    (folder / "a.conf").write_text("options nvidia NVreg_RestrictProfilingToAdminUsers=0\n")
    (folder / "b.conf").write_text("blacklist nvidia\n")
    assert host.run("modprobe", "-b", "nvidia") == (0, "")
    assert not (host.root / "sys/module/nvidia").exists()
    assert host.run("modprobe", "nvidia", "NVreg_CreateImexChannel0=1") == (0, "")
    told = host.text("proc/driver/nvidia/params")
    assert "RestrictProfilingToAdminUsers: 0\n" in told
    assert "CreateImexChannel0: 1\n" in told
    (folder / "c.conf").write_text("install nvidia_uvm /bin/false\n")
    assert host.run("modprobe", "nvidia_uvm")[0] == 1


def test_peermem_needs_the_rdma_stack(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    said = "modprobe: ERROR: could not insert 'nvidia_peermem': Invalid argument\n"
    assert host.run("modprobe", "nvidia-peermem") == (1, said)


def test_what_is_used_is_not_unloaded(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    assert host.run("modprobe", "nvidia_uvm") == (0, "")
    assert "nvidia              14381056  1 nvidia_uvm" in host.run("lsmod")[1]
    in_use = "rmmod: ERROR: Module nvidia is in use by: nvidia_uvm\n"
    assert host.run("rmmod", "nvidia") == (1, in_use)
    assert host.run("rmmod", "nvidia_uvm") == (0, "")
    host.hold("nvidia1")
    assert host.run("rmmod", "nvidia") == (1, "rmmod: ERROR: Module nvidia is in use\n")
    said = "modprobe: FATAL: Module nvidia is in use.\n"
    assert host.run("modprobe", "-r", "nvidia") == (1, said)
    host.let_go()
    assert host.run("modprobe", "-r", "nvidia_uvm", "nvidia") == (0, "")
    assert list((host.root / "dev").iterdir()) == []
    assert list((host.root / "sys/module").iterdir()) == []
    assert not (host.root / "proc/driver/nvidia").exists()
    assert host.run("rmmod", "nvidia")[1] == "rmmod: ERROR: Module nvidia is not currently loaded\n"


def test_removing_the_last_user_removes_what_it_needed(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2")
    host.install()
    assert host.run("modprobe", "nvidia-drm") == (0, "")
    assert host.run("modprobe", "-r", "nvidia-drm") == (0, "")
    assert list((host.root / "sys/module").iterdir()) == []


def test_faults_of_a_running_host(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    assert host.run("fault", "narrow", "0") == (0, "")
    ask = ("--query-gpu=pcie.link.width.current", "--format=csv,noheader")
    assert host.smi(*ask) == "4\n16\n"
    assert host.run("fault", "xid", "48", "1") == (0, "")
    assert "NVRM: Xid (PCI:0000:1e:00): 48," in host.text("run/aiprov-lab/kernel.log")
    assert host.run("fault", "missing", "1") == (0, "")
    status, said = host.run("nvidia-smi")
    assert (status, "GPU1: 0000:1e:00.0: GPU is lost." in said) == (15, True)
    host.reboot()
    assert host.run("modprobe", "nvidia") == (0, "")
    assert host.smi("-L").count("GPU ") == 1
    assert host.smi(*ask) == "4\n"
    assert host.run("fault", "narrow", "5")[0] == 1


def test_stand_ins_say_what_they_are(tmp_path: Path) -> None:
    host = machine(tmp_path, "t4")
    assert "stand-in of aiprov's lab" in host.smi("--help")
    for program in HOME.glob("[!_]*.py"):
        assert (
            program.read_text()
            .splitlines()[1 - (program.read_text()[0] == '"')]
            .startswith('"""Stand-in of aiprov\'s lab')
        )
