"""Stand-in of aiprov's lab: what a loaded NVIDIA driver shows of itself on a lab host.

Runs on the host: Python 3.6 and its standard library only. Texts and layout are those of the open
kernel modules, kernel-open/nvidia/{nv-procfs.c,nv.c,nv-pci.c}, 595.45.04 (read 2026-11-21).
"""

# For the host's Python 3.6, and small.
# ruff: noqa: PTH101, PTH103, PTH108, PTH110, PTH112, PTH120, PTH123, PTH211, S103, UP006, UP031, UP035, UP045
import os
import shutil
import stat
import subprocess
from typing import Dict, List, Optional

import simulated_gpus as lab  # type: ignore[import-not-found]

DRIVERS = "/sys/bus/pci/drivers"
SWITCHES = "/proc/driver/nvidia-nvswitch"
OPEN_LICENSE = "Dual MIT/GPL"
_TWIN = os.makedev(1, 3)  # /dev/null: opened by anyone, allowed in every container
_PARAMETERS = {
    "ModifyDeviceFiles": "1",
    "DeviceFileUID": "0",
    "DeviceFileGID": "0",
    "DeviceFileMode": "438",
    "PreserveVideoMemoryAllocations": "0",
    "RestrictProfilingToAdminUsers": "1",
    "EnableResizableBar": "0",
    "CreateImexChannel0": "0",
    "CoherentGPUMemoryMode": '""',
}


def modinfo() -> str:
    """The real modinfo."""
    for folder in ("/usr/sbin", "/sbin", "/usr/bin", "/bin"):
        if os.access(lab.at(folder + "/modinfo"), os.X_OK):
            return str(lab.at(folder + "/modinfo"))
    return "modinfo"


def built(source: str) -> Optional[Dict[str, str]]:
    """A module's file for the running kernel as modinfo shows it; None where there is none.

    ``source`` is the module's name or its file. ``kernel`` is the kernel that it is built for.
    """
    names = [source]
    if source.startswith("nvidia") and "current" not in source:
        names.append(source.replace("nvidia", "nvidia-current", 1))  # Debian's names
    for name in names:
        done = subprocess.run(
            [modinfo(), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode == 0:
            found: Dict[str, str] = {}
            for line in done.stdout.decode(errors="replace").splitlines():
                key, _, value = line.partition(":")
                found.setdefault(key.strip(), value.strip())
            found["kernel"] = (found.get("vermagic", "").split() or [""])[0]
            return found
    return None


def insert(module: Dict[str, str], options: List[str]) -> str:
    """Load the driver: the error with which modprobe fails, or an empty text."""
    if module["kernel"] not in ("", os.uname().release):
        lab.kernel_log(
            "nvidia: version magic '{}' should be for this kernel".format(module["vermagic"])
        )
        return "Exec format error"
    gpus = lab.on_bus()
    if not gpus:
        lab.kernel_log("NVRM: No NVIDIA GPU found.")
        return "No such device"
    served = []
    for address, gpu in gpus.items():
        against = refusal(address, gpu, module)
        if against:
            lab.kernel_log(*against)
        else:
            served.append(address)
    if not served:
        lab.kernel_log("NVRM: No NVIDIA devices probed.")
        return "No such device"
    show(module, options, {address: gpus[address] for address in served})
    lab.kernel_log(f"NVRM: loading {version_line(module)}")
    return ""


def refusal(address: str, gpu: lab.Fields, module: Dict[str, str]) -> List[str]:
    """What the driver says of a GPU that it does not take; nothing where it takes it."""
    holder = lab.driver_of(address)
    if holder:
        return [
            f"NVRM: GPU {address} is already bound to {holder}.",
            "NVRM: The NVIDIA probe routine was not called for 1 device(s).",
            "NVRM: This can occur when another driver was loaded and",
            "NVRM: obtained ownership of the NVIDIA device(s).",
            "NVRM: Try unloading the conflicting kernel module (and/or",
            "NVRM: reconfigure your kernel without the conflicting",
            "NVRM: driver(s)), then try loading the NVIDIA kernel module",
            "NVRM: again.",
        ]
    first = "NVRM: The NVIDIA GPU {} (PCI ID: {})".format(address, gpu["pci_id"])
    flavour = "open" if module.get("license") == OPEN_LICENSE else "proprietary"
    branch = int((module.get("version") or "0").partition(".")[0])
    newest, oldest = gpu.get("newest_branch"), gpu.get("oldest_branch")
    if (newest and branch > int(newest)) or (oldest and branch < int(oldest)):
        said = "NVRM: installed in this system is not supported by the"
        return [first, said, "NVRM: NVIDIA {} driver release.".format(module.get("version"))]
    if flavour in gpu["modules"]:
        return []
    if flavour == "open":
        return [
            first,
            "NVRM: installed in this system is not supported by open",
            "NVRM: nvidia.ko because it does not include the required GPU",
            "NVRM: System Processor (GSP).",
        ]
    said = "NVRM: installed in this system requires use of the NVIDIA open kernel modules."
    return [first, said]


def version_line(module: Dict[str, str]) -> str:
    """The driver's name for itself."""
    machine, version = os.uname().machine, module.get("version", "")
    if module.get("license") == OPEN_LICENSE:
        return (
            f"NVIDIA UNIX Open Kernel Module for {machine}  {version}  Release Build  (aiprov-lab)"
        )
    return f"NVIDIA UNIX {machine} Kernel Module  {version}  (aiprov-lab)"


def show(module: Dict[str, str], options: List[str], gpus: Dict[str, lab.Fields]) -> None:
    """Make everything by which the loaded driver is seen."""
    gcc = "GCC version:  (no compiler: a stand-in of aiprov's lab)"
    lab.write(lab.DRIVER + "/version", f"NVRM version: {version_line(module)}\n{gcc}\n")
    values = dict(_PARAMETERS)
    for option in options:
        key, _, value = option.partition("=")
        if key.startswith("NVreg_"):
            values[key[len("NVreg_") :]] = value
    told = "".join("{}: {}\n".format(*pair) for pair in values.items())
    lab.write(lab.DRIVER + "/params", told)
    for minor, (address, gpu) in enumerate(gpus.items()):
        place = f"{lab.DRIVER}/gpus/{address}/information"
        lab.write(place, information(minor, address, gpu, module))
        bind(address, "nvidia")
        make_node("nvidia%d" % minor)
    for node in ("nvidiactl", "nvidia-caps/nvidia-cap1", "nvidia-caps/nvidia-cap2"):
        make_node(node)
    switches = [name for name in lab.names_in(lab.DEVICES) if name in lab.hardware()["switches"]]
    for minor, address in enumerate(switches):
        lab.write(f"{SWITCHES}/devices/{address}/information", "BIOS Version: 96.10\n")
        bind(address, "nvidia-nvswitch")
        make_node("nvidia-nvswitch%d" % minor)
    if switches:
        lab.write(SWITCHES + "/permissions", "DeviceFileMode: 438\n")
        make_node("nvidia-nvswitchctl")


def information(minor: int, address: str, gpu: lab.Fields, module: Dict[str, str]) -> str:
    """/proc/driver/nvidia/gpus/ADDRESS/information."""
    irq = lab.text_of(f"{lab.DEVICES}/{address}/irq").strip()
    firmware = module.get("version", "") if "open" in gpu["modules"] else "N/A"
    return (
        "Model: \t\t %s\nIRQ:   \t\t %s\nGPU UUID: \t %s\nVideo BIOS: \t %s\nBus Type: \t PCIe\n"
        "DMA Size: \t 52 bits\nDMA Mask: \t 0xfffffffffffff\nBus Location: \t %s\n"
        "Device Minor: \t %d\nGPU Firmware: \t %s\nGPU Excluded:\t No\n"
    ) % (gpu["name"], irq, gpu["uuid"], gpu["vbios"], address, minor, firmware)


def remove(nodes: List[str]) -> None:
    """Unload the driver: nothing of it is seen any more, and the GPUs forget their settings."""
    for place in (lab.DRIVER, SWITCHES, "/dev/nvidia-caps", "/run/aiprov-lab/gpus"):
        if os.path.isdir(lab.at(place)):
            shutil.rmtree(lab.at(place))
    for node in nodes:
        drop_node(node)
    unbind("nvidia")
    unbind("nvidia-nvswitch")


def bind_nouveau() -> None:
    """nouveau takes every GPU that no driver has."""
    for address in lab.on_bus():
        if not lab.driver_of(address):
            bind(address, "nouveau")
            lab.kernel_log(f"nouveau {address}: NVIDIA (aiprov-lab)")


def bind(address: str, driver: str) -> None:
    """Give a device to a driver."""
    os.makedirs(lab.at(f"{DRIVERS}/{driver}"), exist_ok=True)
    device = lab.at(f"{lab.DEVICES}/{address}")
    os.symlink("../../drivers/" + driver, device + "/driver")
    os.symlink("../../devices/" + address, lab.at(f"{DRIVERS}/{driver}/{address}"))


def unbind(driver: str) -> None:
    """Take every device from a driver."""
    for address in lab.names_in(lab.DEVICES):
        if lab.driver_of(address) == driver:
            os.unlink(lab.at(f"{lab.DEVICES}/{address}/driver"))
    if os.path.isdir(lab.at(f"{DRIVERS}/{driver}")):
        shutil.rmtree(lab.at(f"{DRIVERS}/{driver}"))


def show_module(name: str, module: Dict[str, str], options: List[str]) -> None:
    """Make a module's folder in /sys/module."""
    folder = "/sys/module/" + name
    values = {"version": module.get("version", ""), "refcnt": "0", "initstate": "live"}
    for key in ("version", "refcnt", "initstate"):
        if values[key]:
            lab.write(f"{folder}/{key}", values[key] + "\n")
    for option in options:
        key, _, value = option.partition("=")
        lab.write(f"{folder}/parameters/{key}", value + "\n")
    os.makedirs(lab.at(folder), exist_ok=True)


def hide_module(name: str) -> None:
    """Remove a module's folder from /sys/module."""
    shutil.rmtree(lab.at("/sys/module/" + name))


def make_node(name: str) -> None:
    """Make a device node: a twin of /dev/null, so that it can be opened and given to containers."""
    place = lab.at("/dev/" + name)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.exists(place):
        return
    if lab.ROOT == "/":
        os.mknod(place, 0o666 | stat.S_IFCHR, _TWIN)
        os.chmod(place, 0o666)
    else:
        open(place, "w", encoding="ascii").close()


def drop_node(name: str) -> None:
    """Remove a device node."""
    if os.path.exists(lab.at("/dev/" + name)):
        os.unlink(lab.at("/dev/" + name))
