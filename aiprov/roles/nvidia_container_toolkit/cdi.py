"""CDI specifications, and the symlinks that the legacy mode needs.

A CDI specification lists device nodes and libraries of the driver, so it is stale as soon as the
driver, the toolkit or the MIG layout changes. The toolkit's nvidia-cdi-refresh looks at the first
two, at boot and when the module is loaded, and never at the third.

Units: deployments/systemd of NVIDIA/nvidia-container-toolkit d34b3046 (1.20.0, 2026-08-21).
"""

from __future__ import annotations

from aiprov.resources import (
    Absent,
    Command,
    File,
    PathExists,
    Resource,
    Service,
    UpToDate,
)
from aiprov.roles.nvidia_container_toolkit.settings import Vars
from aiprov.survey.facts import Facts

SPECIFICATION = "/run/cdi/nvidia.yaml"
REFRESH = "nvidia-cdi-refresh"
MIG_LAYOUT = "/etc/aiprov/mig.json"
"""Where the role gpu_sharing writes how GPUs are cut up."""
SYMLINK_RULE = "/etc/udev/rules.d/71-aiprov-nvidia-dev-char.rules"
CTK = "/usr/bin/nvidia-ctk"

_WANTED = f"/etc/systemd/system/multi-user.target.wants/{REFRESH}.path"
"""The link that an enabled nvidia-cdi-refresh.path leaves."""


def resources(vars: Vars, host: Facts) -> list[Resource]:
    """The units that keep the specification, and a refresh where it is older than what it tells."""
    if vars.nvidia_container_toolkit_state == "absent":
        return [Absent(path=SPECIFICATION), Absent(path=SYMLINK_RULE)]
    return [*_specification(vars, host), *_symlinks(vars)]


def _specification(vars: Vars, host: Facts) -> list[Resource]:
    if not vars.nvidia_container_toolkit_cdi:
        return [
            Command(
                name=f"stop {REFRESH}",
                argv=("systemctl", "disable", "--now", f"{REFRESH}.path", f"{REFRESH}.service"),
                # A toolkit before 1.18 has no such units, and nothing to stop.
                unless=PathExists(path=_WANTED, absent=True),
            ),
            Absent(path=SPECIFICATION),
        ]
    return [
        Service(name=f"{REFRESH}.path", enabled=True, running=True),
        Service(name=f"{REFRESH}.service", enabled=True),
        Command(
            name="refresh CDI specification",
            argv=("systemctl", "restart", f"{REFRESH}.service"),
            unless=UpToDate(output=SPECIFICATION, inputs=_told_of(host)),
        ),
    ]


def _told_of(host: Facts) -> tuple[str, ...]:
    """What the specification depends on: driver libraries, modules, the toolkit, the MIG layout."""
    folder = "/usr/lib64" if host.family == "redhat" else f"/usr/lib/{host.architecture}-linux-gnu"
    return (
        f"{folder}/libnvidia-ml.so.1",
        f"/lib/modules/{host.kernel}/modules.dep",
        CTK,
        MIG_LAYOUT,
    )


def _symlinks(vars: Vars) -> list[Resource]:
    """Links from /dev/char to the GPUs' device nodes, where systemd looks for them.

    The driver's nodes have none, so what the legacy mode let a container use systemd forgets at its
    next daemon-reload, and NVML fails with "Unknown Error" (nvidia-container-toolkit #48). With CDI
    the runtime itself knows of the devices, and nothing is forgotten.
    """
    if vars.nvidia_container_toolkit_mode != "legacy":
        return [Absent(path=SYMLINK_RULE)]
    make = (CTK, "system", "create-dev-char-symlinks", "--create-all")
    rule = f'ACTION=="add", DEVPATH=="/bus/pci/drivers/nvidia", RUN+="{" ".join(make)}"\n'
    return [
        File(path=SYMLINK_RULE, content=rule),
        Command(
            name="link GPU device nodes in /dev/char",
            argv=make,
            unless=PathExists(path="/dev/char/195:255"),  # /dev/nvidiactl
        ),
    ]
