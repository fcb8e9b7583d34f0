"""The program nvidia-modules on a made-up host: files below a root, tools on PATH, old Python."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.pythons import find

PROGRAM = Path("aiprov/programs/nvidia_modules.py").resolve()
PYTHONS = [sys.executable, *filter(None, [find("3.6")])]
KERNEL = os.uname().release
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (x)\n"
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Sep  2 2025\n"
SMI = """
GPU 00000000:11:00.0
    Fabric
        State                             : {}
        Status                            : {}
    Processes                             : None
"""


@dataclass(kw_only=True)
class Host:
    """A made-up host; its tools write what they are asked to do into ``log``."""

    root: Path
    python: str = sys.executable
    modules: dict[str, str] = field(default_factory=dict)

    def write(self, path: str, text: str = "") -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def link(self, path: str, target: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    def tool(self, name: str, text: str) -> None:
        self.write(f"/tools/{name}", f"#!/bin/sh\necho {name} $* >> {self.log}\n{text}\n")
        (self.root / "tools" / name).chmod(0o755)

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def done(self) -> list[str]:
        asks = ("modinfo", "systemctl is-active", "nvidia-smi")
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if not line.startswith(asks)]

    def on_disk(self, version: str, kernel: str = KERNEL, *, name: str = "nvidia",
                license: str = "Dual MIT/GPL", signer: str = "") -> None:  # fmt: skip
        self.modules[f"{kernel} {name}"] = (
            f"filename: x.ko\\nversion: {version}\\nlicense: {license}"
            + (f"\\nsigner: {signer}" if signer else "")
        )
        cases = "\n".join(f"'-k {key}') printf '{text}\\n';;" for key, text in self.modules.items())
        self.tool("modinfo", f'case "$*" in\n{cases}\n*) exit 1;;\nesac')

    def load(self, version: str, kind: str = OPEN) -> None:
        self.write("/proc/driver/nvidia/version", kind.format(version))
        for name in ("nvidia", "nvidia_uvm"):
            self.write(f"/sys/module/{name}/refcnt", "0\n")

    def library(self, version: str) -> None:
        folder = "/usr/lib/x86_64-linux-gnu"
        self.write(f"{folder}/libnvidia-ml.so.{version}")
        self.link(f"{folder}/libnvidia-ml.so.1", f"libnvidia-ml.so.{version}")

    def gpu(self, address: str, driver: str = "nvidia", *, driven: bool = True) -> None:
        folder = f"/sys/bus/pci/devices/{address}"
        self.write(f"{folder}/vendor", "0x10de\n")
        self.write(f"{folder}/class", "0x030200\n")
        if driver:
            self.link(f"{folder}/driver", f"../../drivers/{driver}")
        if driven:
            self.write(f"/proc/driver/nvidia/gpus/{address}/information")

    def process(self, pid: int, comm: str, unit: str = "session-1.scope") -> None:
        self.write(f"/proc/{pid}/comm", f"{comm}\n")
        self.write(f"/proc/{pid}/cgroup", f"0::/system.slice/{unit}\n")
        self.link(f"/proc/{pid}/fd/3", "/dev/nvidia0")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.root}/tools:/usr/bin:/bin"
        return subprocess.run(
            [self.python, "-B", str(PROGRAM), *arguments],
            env={"PATH": path, "AIPROV_TEST_ROOT": str(self.root)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(params=PYTHONS, ids=["now", "3.6"][: len(PYTHONS)])
def host(request, tmp_path):
    """Two GPUs, driver 580.95.05 installed and loaded, nothing else on them."""
    made = Host(root=tmp_path, python=request.param)
    made.on_disk("580.95.05")
    made.load("580.95.05")
    made.library("580.95.05")
    made.gpu("0000:11:00.0")
    made.gpu("0000:12:00.0")
    made.write("/etc/modules-load.d/aiprov-nvidia.conf", "nvidia\nnvidia_uvm\n")
    made.write("/etc/modprobe.d/aiprov-nvidia.conf", "# none\n")
    made.tool("modprobe", f'[ "$1" != --remove ] || rm -r {tmp_path}/sys/module/$2')
    made.tool("systemctl", '[ "$1" != is-active ] || [ "$3" = nvidia-persistenced.service ]')
    return made


def test_a_healthy_host_passes_without_nvidia_smi(host):
    host.tool("nvidia-smi", "exit 1")
    for question in (("settled",), ("settled", "--tried"), ("verify", "--gpus", "2")):
        done = host.run(*question)
        assert (done.returncode, done.stderr) == (0, "")
    assert "nvidia-smi" not in host.log.read_text()


DIFFERENT = {
    "another version": (
        lambda host: host.on_disk("595.71.05"),
        "driver 580.95.05 is loaded, 595.71.05 is installed",
    ),
    "the other kind": (
        lambda host: host.on_disk("580.95.05", license="NVIDIA"),
        "open modules are loaded, proprietary ones are installed",
    ),
    "nothing loaded": (
        lambda host: (host.root / "proc/driver/nvidia/version").unlink(),
        "no NVIDIA driver is loaded",
    ),
    "another kernel": (
        lambda host: (host.modules.clear(), host.on_disk("580.95.05", "1.2.3-other")),
        f"the running kernel {KERNEL} has no NVIDIA modules",
    ),
    "nouveau": (
        lambda host: host.gpu("0000:12:00.0", "nouveau"),
        "nouveau has GPU 0000:12:00.0",
    ),
    "nova": (lambda host: host.gpu("0000:12:00.0", "nova_core"), "nova_core has GPU"),
    "a module": (
        lambda host: host.write("/etc/modules-load.d/aiprov-nvidia.conf", "nvidia\nnvidia_peermem"),
        "module nvidia_peermem is not loaded",
    ),
    "an option": (
        lambda host: (
            host.write("/proc/driver/nvidia/params", "RestrictProfilingToAdminUsers: 1\n"),
            host.write(
                "/etc/modprobe.d/aiprov-nvidia.conf",
                "options nvidia NVreg_RestrictProfilingToAdminUsers=0\n",
            ),
        ),
        "option NVreg_RestrictProfilingToAdminUsers is 1, wanted 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_is_loaded_is_not_what_is_installed(host, name):
    change, why = DIFFERENT[name]
    change(host)
    for question in (("settled",), ("settled", "--tried"), ("verify",)):
        done = host.run(*question)
        assert done.returncode == 1
        assert why in done.stderr


def test_options_are_the_same_however_they_are_written(host):
    host.write(
        "/proc/driver/nvidia/params",
        'CoherentGPUMemoryMode: "driver"\nDeviceFileMode: 438\nCreateImexChannel0: 1\n',
    )
    host.write("/etc/modprobe.d/aiprov-nvidia.conf",
               "options nvidia NVreg_CoherentGPUMemoryMode=driver NVreg_DeviceFileMode=0x1b6 "
               "NVreg_CreateImexChannel0=1 NVreg_NotShown=3\n")  # fmt: skip
    assert host.run("settled").returncode == 0


@pytest.mark.parametrize(
    ("shown", "option"),
    [("DeviceFileMode: 432", "DeviceFileMode=0660"),
     ("RegistryLimit: 4294967295", "RegistryLimit=-1"),
     ("RmProfilingAdminOnly: 0", "RestrictProfilingToAdminUsers=0")],
)  # fmt: skip
def test_an_option_as_the_kernel_reads_it(host, shown: str, option: str):
    host.write("/proc/driver/nvidia/params", f"{shown}\n")
    host.write("/etc/modprobe.d/aiprov-nvidia.conf", f"options nvidia NVreg_{option}\n")
    done = host.run("settled")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_option_that_is_shown_by_another_name_has_another_value(host):
    host.write("/proc/driver/nvidia/params", "RmProfilingAdminOnly: 1\n")
    host.write("/etc/modprobe.d/aiprov-nvidia.conf",
               "options nvidia NVreg_RestrictProfilingToAdminUsers=0\n")  # fmt: skip
    done = host.run("settled")
    assert done.returncode == 1
    assert "option NVreg_RestrictProfilingToAdminUsers is 1, wanted 0" in done.stderr


def test_debian_has_the_module_in_a_file_of_another_name(host):
    host.modules.clear()
    host.on_disk("580.95.05", name="nvidia-current")
    assert host.run("settled").returncode == 0


WRONG = {
    "libraries moved": (
        lambda host: host.library("580.178.04"), [],
        "driver 580.95.05 is loaded, the libraries are 580.178.04",
    ),
    "a GPU that the driver left": (
        lambda host: host.gpu("0000:13:00.0", "", driven=False), [],
        "the driver does not drive GPU 0000:13:00.0: the kernel says why (dmesg",
    ),
    "a GPU that fell off": (
        lambda host: None, ["--gpus", "8"],
        "2 GPUs are on the PCI bus, not 8: see the BMC's log",
    ),
    "not signed": (
        lambda host: None, ["--signed"],
        "Secure Boot is on and the modules of",
    ),
    "fabric": (
        lambda host: host.tool("nvidia-smi", f"printf '{SMI.format('In Progress', 'N/A')}'"),
        ["--fabric"],
        "the NVLink fabric is 'In Progress', not completed: see systemctl status",
    ),
    "no nvidia-smi": (
        lambda host: host.tool("nvidia-smi", "echo Failed to initialize NVML; exit 9"),
        ["--fabric"], "Failed to initialize NVML",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_verification_says_what_is_wrong_and_the_way_out(host, name):
    change, flags, why = WRONG[name]
    change(host)
    done = host.run("verify", *flags)
    assert done.returncode == 1
    assert why in done.stderr
    assert host.run("settled").returncode == 0  # loading anew would not help


def test_fabric_and_signer_pass(host):
    host.tool("nvidia-smi", f"printf '{SMI.format('Completed', 'Success')}'")
    host.on_disk("580.95.05", signer="DKMS module signing key")
    done = host.run("verify", "--fabric", "--signed", "--gpus", "2")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_fabric_is_waited_for(host):
    up = SMI.format("Completed", "Success")
    coming = SMI.format("In Progress", "N/A")
    marker = host.root / "asked"
    host.tool("nvidia-smi", f"if [ -e {marker} ]; then printf '{up}'; "
                            f"else touch {marker}; printf '{coming}'; fi")  # fmt: skip
    assert host.run("verify", "--fabric", "--wait", "30").returncode == 0


def test_gpus_of_virtual_machines_do_not_count(host):
    host.gpu("0000:13:00.0", "vfio-pci", driven=False)
    assert host.run("verify", "--gpus", "2").returncode == 0


def test_who_uses_the_gpus(host):
    assert host.run("busy").returncode == 1
    host.process(100, "nvidia-persiste", "nvidia-persistenced.service")
    assert host.run("busy").returncode == 1
    host.process(4711, "python3")
    done = host.run("busy")
    assert (done.returncode, done.stdout) == (0, "python3 (4711)\n")


def test_a_process_whose_other_files_come_and_go_is_seen(host):
    host.process(4711, "python3")
    host.write("/proc/4711/fd/4", "no link: it cannot be read, as one that was closed meanwhile")
    assert host.run("busy").stdout == "python3 (4711)\n"


def test_reload_stops_services_unloads_loads_and_starts_them(host):
    host.on_disk("595.71.05")
    host.process(100, "nvidia-persiste", "nvidia-persistenced.service")
    done = host.run("reload", "--or-reboot")
    assert (done.returncode, done.stderr) == (0, "")
    assert host.done == [
        "systemctl stop nvidia-persistenced.service",
        "modprobe --remove nvidia_uvm",
        "modprobe --remove nvidia",
        "modprobe nvidia",
        "modprobe nvidia_uvm",
        "systemctl start nvidia-persistenced.service",
    ]


def test_a_service_that_does_not_start_again_is_told(host):
    host.on_disk("595.71.05")
    host.tool(
        "systemctl",
        '[ "$1" = start ] && echo "Job for $2 failed." >&2 && exit 1\n'
        '[ "$1" != is-active ] || [ "$3" = nvidia-persistenced.service ]',
    )
    done = host.run("reload")
    assert done.returncode == 1
    assert "nvidia-persistenced.service cannot be started again (Job for" in done.stderr
    assert "modprobe nvidia_uvm" in host.done


def test_what_was_loaded_beside_the_driver_is_loaded_again(host):
    host.on_disk("595.71.05")
    host.write("/sys/module/nvidia_peermem/refcnt", "0\n")
    host.write("/sys/module/gdrdrv/refcnt", "0\n")
    host.tool(
        "modinfo", "[ $1 != gdrdrv ] && printf 'version: 595.71.05\\nlicense: Dual MIT/GPL\\n'"
    )
    assert host.run("reload").returncode == 0
    assert "modprobe --remove gdrdrv" in host.done
    assert "modprobe gdrdrv" not in host.done  # it is no longer on the host
    assert host.done.index("modprobe nvidia_peermem") > host.done.index("modprobe nvidia_uvm")


def test_what_went_comes_back_where_another_module_stays(host):
    host.on_disk("595.71.05")
    host.write("/sys/module/nvidia_peermem/refcnt", "0\n")
    host.tool("modinfo", "printf 'version: 595.71.05\\nlicense: Dual MIT/GPL\\n'")
    host.tool(
        "modprobe",
        f'[ "$2" = nvidia_uvm ] && echo in use >&2 && exit 1\n'
        f'[ "$1" != --remove ] || rm -r {host.root}/sys/module/$2',
    )
    assert "nvidia_uvm cannot be unloaded" in host.run("reload").stderr
    assert host.done[-2:] == [
        "modprobe nvidia_peermem", "systemctl start nvidia-persistenced.service",
    ]  # fmt: skip


def test_reload_takes_the_gpus_from_nouveau(host):
    for name in ("nvidia", "nvidia_uvm"):
        (host.root / f"sys/module/{name}/refcnt").unlink()
        (host.root / f"sys/module/{name}").rmdir()
    host.write("/sys/module/nouveau/refcnt", "1\n")
    host.gpu("0000:12:00.0", "nouveau")
    assert host.run("reload").returncode == 0
    assert "modprobe --remove nouveau" in host.done


def test_what_is_only_missing_is_loaded_while_the_gpus_are_used(host):
    host.process(4711, "python3")
    (host.root / "sys/module/nvidia_uvm/refcnt").unlink()
    (host.root / "sys/module/nvidia_uvm").rmdir()
    assert host.run("settled", "--tried").returncode == 1
    assert host.run("reload").returncode == 0
    assert host.done == ["modprobe nvidia", "modprobe nvidia_uvm"]


def test_used_gpus_are_left_alone(host):
    host.on_disk("595.71.05")
    host.process(4711, "python3")
    done = host.run("reload")
    assert done.returncode == 1
    assert "the GPUs are used by python3 (4711); end them or reboot the host" in done.stderr
    assert host.done == []
    assert host.run("settled", "--tried").returncode == 0  # a reload is of no use, a reboot is
    assert host.run("settled").returncode == 1


def test_modules_that_stay_ask_for_a_reboot_and_the_services_run_again(host):
    host.on_disk("595.71.05")
    host.tool("modprobe", 'echo "FATAL: Module nvidia_uvm is in use." >&2; exit 1')
    done = host.run("reload", "--or-reboot")
    assert done.returncode == 0
    assert "nvidia_uvm cannot be unloaded (FATAL: Module nvidia_uvm is in use.)" in done.stdout
    assert host.done[-1] == "systemctl start nvidia-persistenced.service"
    assert host.run("settled", "--tried").returncode == 0
    assert host.run("settled").returncode == 1
    failed = host.run("reload")
    assert failed.returncode == 1
    assert "nvidia_uvm cannot be unloaded" in failed.stderr


def test_modules_that_cannot_be_loaded_are_a_failure_with_the_reason(host):
    host.on_disk("595.71.05")
    host.tool(
        "modprobe",
        f'[ "$1" = --remove ] && rm -r {host.root}/sys/module/$2 && exit 0\n'
        'echo "modprobe: ERROR: Key was rejected by service" >&2; exit 1',
    )
    done = host.run("reload", "--or-reboot")
    assert done.returncode == 1
    assert "nvidia cannot be loaded (modprobe: ERROR: Key was rejected" in done.stderr
    assert host.done[-1] == "systemctl start nvidia-persistenced.service"


def test_modules_of_each_kernel(host):
    assert host.run("built", KERNEL).returncode == 0
    assert host.run("built", KERNEL, "6.12.1-next").returncode == 1
    host.on_disk("580.95.05", "6.12.1-next")
    assert host.run("built", KERNEL, "6.12.1-next").returncode == 0
    unsigned = host.run("built", KERNEL, "--signed")
    assert (unsigned.returncode, unsigned.stderr) == (
        1, f"kernel {KERNEL} has no signed modules 580.95.05\n",
    )  # fmt: skip
    host.library("595.71.05")
    assert "has no modules 595.71.05" in host.run("built", KERNEL).stderr


def test_a_build_that_fails_says_what_the_compiler_said(host):
    host.tool("dkms", "echo building; exit 10")
    host.tool("depmod", "")
    host.write(
        "/var/lib/dkms/nvidia/580.95.05/build/make.log",
        "CC nv.o\nnv.c:7: error: implicit declaration of function 'x'\nmake: *** [a]\n",
    )
    done = host.run("build", "6.12.1-next")
    assert done.returncode == 1
    assert "no modules 580.95.05 were built for kernel 6.12.1-next" in done.stderr
    assert "nv.c:7: error: implicit declaration" in done.stderr
    assert host.done == ["dkms autoinstall -k 6.12.1-next", "depmod -a 6.12.1-next"]


def test_a_build_counts_by_what_came_of_it(host):
    host.tool("dkms", "exit 1")  # another module's failure
    host.tool("depmod", "")
    assert host.run("build", KERNEL).returncode == 0
