"""Files that the kernel's modules are loaded by: which, with what options, and which never."""

from __future__ import annotations

from aiprov.catalog.resolution import Resolution
from aiprov.programs import path, program
from aiprov.resources import Command, File, Resource, Succeeds
from aiprov.roles.nvidia_driver.settings import Vars
from aiprov.survey.facts import Facts

OTHERS = "/etc/modprobe.d/aiprov-nouveau.conf"
OPTIONS = "/etc/modprobe.d/aiprov-nvidia.conf"
TO_LOAD = "/etc/modules-load.d/aiprov-nvidia.conf"
INITRAMFS = "initramfs"


def files(vars: Vars, resolution: Resolution) -> list[File]:
    """The files of modprobe and modules-load."""
    return [
        File(path=OTHERS, content=_others()),
        File(path=OPTIONS, content=_options(vars, resolution)),
        File(path=TO_LOAD, content="".join(f"{name}\n" for name in to_load(vars, resolution))),
    ]


def initramfs(host: Facts) -> list[Resource]:
    """Initial RAM disks that know who must not have the GPUs, of every kernel that has one."""
    argv = (path(INITRAMFS), OTHERS, OPTIONS)
    return [
        *program(INITRAMFS, host),
        Command(
            name="rebuild initial RAM disks",
            argv=(*argv, "--rebuild"),
            unless=Succeeds(argv=argv),
            after=(f"File[{OTHERS}]", f"File[{OPTIONS}]"),
        ),
    ]


def to_load(vars: Vars, resolution: Resolution) -> list[str]:
    """The modules that are loaded, in this order. uvm is there before the first container is."""
    names = ["nvidia", "nvidia_uvm"]
    if resolution.nvlink5 and vars.nvidia_driver_fabric_manager is not False:
        names.append("ib_umad")  # by which nvlsm speaks with the switches
    if vars.nvidia_driver_peermem:
        names.append("nvidia_peermem")
    if vars.nvidia_driver_gds:
        names.append("nvidia_fs")
    return names


def _others() -> str:
    """nouveau, and Nova, which takes GPUs from Turing on in kernels from 6.15 on."""
    names = ("nouveau", "nova", "nova_core", "nova_drm")
    lines = "".join(f"blacklist {name}\n" for name in names)
    return f"{lines}options nouveau modeset=0\n"


def _options(vars: Vars, resolution: Resolution) -> str:
    values: dict[str, str] = {}
    if vars.nvidia_driver_profiling_for_all:
        values["NVreg_RestrictProfilingToAdminUsers"] = "0"
    if resolution.coherent and int(_branch(resolution)) >= 580:
        values["NVreg_CoherentGPUMemoryMode"] = "driver"
    if resolution.imex and vars.nvidia_driver_imex is not False:
        values["NVreg_CreateImexChannel0"] = "1"
    values |= vars.nvidia_driver_module_options
    words = " ".join(f"{name}={value}" for name, value in sorted(values.items()))
    # Debian's archive has the module nvidia in a file of another name, by which modprobe reads.
    names = ["nvidia"]
    if resolution.driver is not None and resolution.driver.source == "distribution":
        names += ["nvidia-current", "nvidia-current-open"]
    if not words:
        return "# No options are set.\n"
    return "".join(f"options {name} {words}\n" for name in names)


def _branch(resolution: Resolution) -> str:
    return resolution.driver.branch if resolution.driver is not None else "0"
