"""The programs of simulated GPU hosts, run as on a host, below a root of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiprov.lab import pci, simulated
from aiprov.lab.gpus import gpus
from tests.pythons import find

HOME = Path(simulated.__file__).parent
OPEN, CLOSED = "Dual MIT/GPL", "NVIDIA"
MODINFO = """#!/bin/sh
# modinfo NAME, of a host without kmod
file="$(dirname "$0")/../../lib/modules/$(echo "$1" | tr - _)"
[ -f "$file" ] || exit 1
cat "$file"
"""
REAL = '#!/bin/sh\necho "real $(basename "$0") $*"\n'


@dataclass(frozen=True)
class Machine:
    """A root with simulated GPUs."""

    root: Path
    python: str = sys.executable

    def run(self, program: str, *words: str) -> tuple[int, str]:
        """Exit status, and all that a program says."""
        called = self.root / "called" / program
        if not called.exists():
            called.parent.mkdir(exist_ok=True)
            name = {"nvidia-smi": "nvidia_smi", "fault": "fault"}.get(program, "modules")
            called.symlink_to(HOME / f"{name}.py")
        done = subprocess.run(
            [self.python, called, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={"AIPROV_LAB_ROOT": str(self.root), "AIPROV_LAB_HOME": str(HOME), "PATH": "/bin"},
        )
        return done.returncode, done.stdout

    def smi(self, *words: str) -> str:
        """What nvidia-smi says when it succeeds."""
        status, said = self.run("nvidia-smi", *words)
        assert status == 0, said
        return said

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def install(self, version: str = "580.95.05", license: str = OPEN, kernel: str = "") -> None:
        """The driver's modules and library."""
        (self.root / "lib/modules").mkdir(parents=True, exist_ok=True)
        for name in ("nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm", "nvidia_peermem"):
            kernel = kernel or os.uname().release
            text = f"filename: /lib/modules/{name}.ko\nversion: {version}\nlicense: {license}\n"
            (self.root / "lib/modules" / name).write_text(f"{text}vermagic: {kernel} SMP\n")
        self.library(version)

    def library(self, version: str) -> None:
        folder = self.root / "usr/lib/x86_64-linux-gnu"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "libnvidia-ml.so.1").unlink(missing_ok=True)
        (folder / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{version}")

    def loaded(self, *words: str, **driver: str) -> Machine:
        """The same machine with the driver installed and loaded."""
        self.install(**driver)
        assert self.run("modprobe", "nvidia", *words) == (0, "")
        return self

    def hold(self, node: str, pid: str = "4242", name: str = "train") -> None:
        """A process that has a device open."""
        handles = self.root / "proc" / pid / "fd"
        handles.mkdir(parents=True, exist_ok=True)
        (handles / "3").symlink_to(f"/dev/{node}")
        (self.root / "proc" / pid / "comm").write_text(f"{name}\n")
        (self.root / "proc" / pid / "cmdline").write_text(f"{name}\0--all\0")

    def let_go(self, pid: str = "4242") -> None:
        (self.root / "proc" / pid / "fd/3").unlink()

    def reboot(self) -> None:
        """What a boot leaves of the host."""
        for word in ("run", "proc/driver", "sys", "dev"):
            subprocess.run(["rm", "-r", "-f", self.root / word], check=True)
        boot(self.root)


def boot(root: Path) -> None:
    """The kernel's side of a booted host."""
    for place in ("proc", "sys/module", "sys/bus/pci/drivers", "dev", "run"):
        (root / place).mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["cp", "-r", root / simulated.HOME / "pci", root / "sys/bus/pci/devices"], check=True
    )


def machine(root: Path, text: str, python: str = sys.executable) -> Machine:
    """A host as ``aiprov lab up --gpus TEXT`` makes it, without a driver."""
    has = gpus(text)
    home = root / simulated.HOME
    home.mkdir(parents=True)
    (home / "gpus.json").write_text(json.dumps(simulated.document(has, "the-machine")))
    pci.write(has.devices, home / "pci")
    (root / "usr/sbin").mkdir(parents=True)
    for name in ("modinfo", "modprobe", "rmmod", "lsmod", "insmod", "dmesg"):
        (root / "usr/sbin" / name).write_text(MODINFO if name == "modinfo" else REAL)
        (root / "usr/sbin" / name).chmod(0o755)
    boot(root)
    return Machine(root, python)


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
    found = find(request.param)
    if found is None:
        pytest.skip(f"this machine has no Python {request.param}")
    return found


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


def test_library_and_driver_must_agree(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    host.library("595.45.04")
    said = "Failed to initialize NVML: Driver/library version mismatch\n"
    assert host.run("nvidia-smi") == (18, f"{said}NVML library version: 595.45\n")


QUERIES = {
    "index,name,memory.total": "index, name, memory.total [MiB]\n0, NVIDIA H200, 143771 MiB\n",
    "pcie.link.gen.current,pcie.link.width.current": (
        "pcie.link.gen.current, pcie.link.width.current\n5, 4\n"
    ),
    "gpu_bus_id,mig.mode.current": "pci.bus_id, mig.mode.current\n00000000:11:00.0, Disabled\n",
    "driver_version,compute_cap": "driver_version, compute_cap\n580.95.05, 9.0\n",
    "persistence_mode,compute_mode": "persistence_mode, compute_mode\nDisabled, Default\n",
}


@pytest.mark.parametrize("fields", QUERIES)
def test_queries(tmp_path: Path, fields: str) -> None:
    host = machine(tmp_path, "h200x1,narrow=0").loaded()
    assert host.smi(f"--query-gpu={fields}", "--format=csv") == QUERIES[fields]


def test_forms_of_a_query(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    ask = ("--query-gpu=memory.total", "-i", "1")
    assert host.smi(*ask, "--format=csv,noheader") == "143771 MiB\n"
    assert host.smi(*ask, "--format=csv,noheader,nounits") == "143771\n"
    status, said = host.run("nvidia-smi", "--query-gpu=bogus.field", "--format=csv")
    assert (status, said) == (2, 'Field "bogus.field" is not a valid field to query.\n\n')
    assert host.run("nvidia-smi", "-i", "7", "-L") == (6, "No devices were found\n")


def test_the_table_is_straight(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    host.smi("-mig", "1", "-i", "0")
    host.smi("mig", "-cgi", "3g.71gb", "-C")
    host.smi("-pm", "1", "-i", "1")
    host.hold("nvidia1")
    drawn = [line for line in host.smi().splitlines()[1:] if line]
    assert {len(line) for line in drawn} == {91}
    for words in ("-lgip", "-lgi", "-lci"):
        assert len({len(line) for line in host.smi("mig", words).splitlines()}) == 1


def test_processes_are_those_that_work(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    host.hold("nvidia0")
    host.hold("nvidia0", pid="77", name="nvidia-persiste")
    ask = ("--query-compute-apps=pid,process_name,used_memory", "--format=csv")
    assert host.smi(*ask) == "pid, process_name, used_memory [MiB]\n4242, train, 512 MiB\n"


def test_settings(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    done = "Set compute mode to EXCLUSIVE_PROCESS for GPU 00000000:1E:00.0.\nAll done.\n"
    assert host.smi("-c", "EXCLUSIVE_PROCESS", "-i", "1") == done
    assert host.smi("-pm", "1", "-i", "0").startswith("Enabled persistence mode for GPU")
    assert "already Enabled" in host.smi("-pm", "1", "-i", "0")
    asked = host.smi("--query-gpu=persistence_mode,compute_mode", "--format=csv,noheader")
    assert asked == "Enabled, Default\nDisabled, Exclusive_Process\n"
    assert host.run("modprobe", "-r", "nvidia") == (0, "")
    assert host.run("modprobe", "nvidia") == (0, "")
    asked = host.smi("--query-gpu=persistence_mode,compute_mode", "--format=csv,noheader")
    assert asked == "Disabled, Default\nDisabled, Default\n", "settings end with the driver"


def mig_modes(host: Machine) -> str:
    ask = "--query-gpu=mig.mode.current,mig.mode.pending"
    return host.smi(ask, "--format=csv,noheader").strip()


MIG_LIFE = {"a100-80gb": "Enabled, Enabled", "h200": "Disabled, Disabled"}


@pytest.mark.parametrize("model", MIG_LIFE)
def test_mig_mode_survives_a_reboot_on_ampere_only(tmp_path: Path, model: str) -> None:
    host = machine(tmp_path, model).loaded()
    uuid = host.smi("--query-gpu=uuid", "--format=csv,noheader")
    host.smi("-mig", "1")
    host.smi("mig", "-cgi", "9", "-C")
    assert host.smi("-L").count("  MIG 3g.") == 1
    host.reboot()
    assert host.run("modprobe", "nvidia") == (0, "")
    assert mig_modes(host) == MIG_LIFE[model]
    assert "MIG" not in host.smi("-L"), "instances end with the boot"
    assert host.smi("--query-gpu=uuid", "--format=csv,noheader") == uuid


def test_mig_mode_of_a_gpu_in_use(tmp_path: Path) -> None:
    hopper = machine(tmp_path / "hopper", "h200").loaded()
    hopper.hold("nvidia0")
    status, said = hopper.run("nvidia-smi", "-mig", "1")
    refused = "Unable to enable MIG Mode for GPU 00000000:11:00.0: In use by another client\n"
    assert (status, said.startswith(refused)) == (19, True)
    ampere = machine(tmp_path / "ampere", "a100").loaded()
    ampere.hold("nvidia0")
    assert "MIG mode is in pending enable state for GPU 00000000:11:00.0:In" in ampere.smi(
        "-mig", "1"
    )
    assert mig_modes(ampere) == "Disabled, Enabled"
    assert ampere.run("nvidia-smi", "-r")[0] == 255
    ampere.let_go()
    assert ampere.smi("-r") == "GPU 00000000:11:00.0 was successfully reset.\nAll done.\n"
    assert mig_modes(ampere) == "Enabled, Enabled"


def test_gpus_without_mig(tmp_path: Path) -> None:
    host = machine(tmp_path, "l40s").loaded()
    assert "Unable to enable MIG Mode for GPU 00000000:11:00.0: Not Supported" in host.smi(
        "-mig", "1"
    )
    assert host.run("nvidia-smi", "mig", "-lgip") == (6, "No MIG-supported devices found.\n")
    assert mig_modes(host) == "[N/A], [N/A]"


def test_mig_instances(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200").loaded()
    assert host.run("nvidia-smi", "mig", "-lgi") == (6, "No MIG-enabled devices found.\n")
    host.smi("-mig", "1")
    assert host.run("nvidia-smi", "mig", "-lgi") == (6, "No GPU instances found: Not Found\n")
    said = host.smi("mig", "-cgi", "3g.71gb,19,2g.35gb,1g.18gb", "-C")
    assert said.splitlines()[:2] == [
        "Successfully created GPU instance ID  2 on GPU  0 using profile MIG 3g.71gb (ID  9)",
        "Successfully created compute instance ID  0 on GPU  0 GPU instance ID  2 using profile "
        "MIG 3g.71gb (ID  2)",
    ]
    assert host.smi("mig", "-lgi").count("MIG ") == 4
    assert host.smi("-L").count("  MIG ") == 4
    status, said = host.run("nvidia-smi", "mig", "-cgi", "9")
    assert status == 23
    assert said.endswith("Failed to create GPU instances: Insufficient Resources\n")
    status, said = host.run("nvidia-smi", "mig", "-dgi")
    assert status == 19
    assert said.endswith("Failed to destroy GPU instances: In use by another client\n")
    assert host.smi("mig", "-dci").count("Successfully destroyed compute instance ID  0") == 4
    assert host.smi("mig", "-dgi").count("Successfully destroyed GPU instance") == 4
    assert host.run("nvidia-smi", "mig", "-dgi") == (6, "No GPU instances found: Not Found\n")
    assert host.run("nvidia-smi", "mig", "-cgi", "1g.5gb")[0] == 2


def test_the_order_of_instances_matters(tmp_path: Path) -> None:
    """As NVIDIA's MIG guide shows: 19,19,14,9 does not fit where 9,19,14,19 does."""
    host = machine(tmp_path, "a100").loaded()
    host.smi("-mig", "1")
    status, said = host.run("nvidia-smi", "mig", "-cgi", "19,19,14,9")
    assert (status, said.count("Successfully")) == (23, 3)


def test_fabric_is_complete_when_its_manager_runs(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x8").loaded()
    ask = ("--query-gpu=fabric.state,fabric.status", "--format=csv,noheader", "-i", "0")
    assert host.smi(*ask) == "In Progress, N/A\n"
    host.hold("null", pid="55", name="nv-fabricmanag")
    pid = host.root / "run/nvidia-fabricmanager/nv-fabricmanager.pid"
    pid.parent.mkdir()
    pid.write_text("55\n")
    assert host.smi(*ask) == "Completed, Success\n"
    assert "Status                                         : Success" in host.smi("-q", "-i", "0")


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
