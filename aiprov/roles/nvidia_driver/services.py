"""Services of the driver: persistence, the fabric between GPUs, memory shared between hosts."""

from __future__ import annotations

from aiprov import stack
from aiprov.catalog.resolution import Resolution
from aiprov.resources import Absent, Directory, File, Resource, Service
from aiprov.roles.nvidia_driver.settings import Vars
from aiprov.survey.facts import Facts

PERSISTENCED = "nvidia-persistenced.service"
FABRIC_MANAGER = "nvidia-fabricmanager.service"
IMEX = "nvidia-imex.service"
IMEX_NODES = "/etc/nvidia-imex/nodes_config.cfg"
NO_FABRIC_STATE = ("volta", "turing", "ampere", "ada")
"""GPUs whose fabric nvidia-smi shows as N/A while it works: NVML tells of it from Hopper on.

On A100 with NVSwitches: github.com/bottlerocket-os/bottlerocket/pull/3873, 2024-05-16.
"""
DROP_IN = f"/etc/systemd/system/{PERSISTENCED}.d/aiprov.conf"


def services(vars: Vars, host: Facts, resolution: Resolution) -> list[Resource]:
    """What runs; without ``nvidia_driver_load`` (an image), what will run after a boot."""
    return [
        *_persistence(vars, host),
        *_fabric(vars, resolution),
        *_imex(vars, resolution),
    ]


def fabric_runs(vars: Vars, resolution: Resolution) -> bool:
    """Whether the fabric manager runs here."""
    return resolution.fabric_manager and vars.nvidia_driver_fabric_manager is not False


def fabric_told(vars: Vars, host: Facts, resolution: Resolution) -> bool:
    """Whether the fabric manager runs here, and the GPUs themselves tell when it is done."""
    tells = all(row.architecture not in NO_FABRIC_STATE for row in stack.gpu_models(host))
    return tells and fabric_runs(vars, resolution)


def _persistence(vars: Vars, host: Facts) -> list[Resource]:
    on = vars.nvidia_driver_persistence
    wanted: list[Resource] = []
    restart_on: tuple[str, ...] = ()
    if host.os_id == "ubuntu" and on:
        # Ubuntu's unit starts it without persistence (nvidia-persistenced.service of
        # nvidia-compute-utils: --no-persistence-mode, 2026-11-21).
        text = (
            "[Service]\nExecStart=\n"
            "ExecStart=/usr/bin/nvidia-persistenced --persistence-mode --verbose\n"
        )
        wanted = [Directory(path=f"/etc/systemd/system/{PERSISTENCED}.d")]
        wanted.append(File(path=DROP_IN, content=text))
        restart_on = (DROP_IN,)
    elif host.os_id == "ubuntu":
        wanted = [Absent(path=DROP_IN)]
    running = on if vars.nvidia_driver_load else None
    service = Service(name=PERSISTENCED, enabled=on, running=running, restart_on=restart_on)
    return [*wanted, service]


def _fabric(vars: Vars, resolution: Resolution) -> list[Resource]:
    if not resolution.fabric_manager:
        return []
    on = fabric_runs(vars, resolution)
    running = on if vars.nvidia_driver_load else None
    return [Service(name=FABRIC_MANAGER, enabled=on, running=running)]


def _imex(vars: Vars, resolution: Resolution) -> list[Resource]:
    """IMEX of the host; Kubernetes' DRA driver runs its own, so without nodes it stays off."""
    if not resolution.imex:
        return []
    nodes = vars.nvidia_driver_imex_nodes
    on = bool(nodes) and vars.nvidia_driver_imex is not False
    running = on if vars.nvidia_driver_load or not on else None
    service = Service(
        name=IMEX, enabled=on, running=running, restart_on=(IMEX_NODES,) if on else ()
    )
    if not on:
        return [service]
    text = "".join(f"{node}\n" for node in nodes)
    return [Directory(path="/etc/nvidia-imex"), File(path=IMEX_NODES, content=text), service]
