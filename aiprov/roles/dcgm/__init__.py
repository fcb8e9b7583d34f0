"""DCGM, NVIDIA's Data Center GPU Manager: health, telemetry and diagnostics of the host's GPUs.

Its packages carry the CUDA major of the *driver* in their names, whichever toolkit the host has.
Where CUDA has dropped a GPU of the host by then, its diagnostics for that GPU are in the packages
of the last major that had it: a V100 on driver 580 needs those for 12 and 13.

The host engine is restarted when its program or the driver's library changes under it: until then
it goes on with the old ones, and says that versions do not match.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiprov import catalog, stack
from aiprov.catalog import dcgm
from aiprov.catalog.resolution import Driver
from aiprov.errors import UnsupportedError
from aiprov.programs import path, program
from aiprov.resources import (
    Absent,
    Argv,
    Command,
    Directory,
    File,
    Package,
    Resource,
    Service,
    Succeeds,
    address,
)
from aiprov.roles import Cluster, Note
from aiprov.roles.cuda.repository import repository
from aiprov.roles.dcgm.settings import Vars
from aiprov.survey.facts import Facts

__all__ = ["REQUIRES", "Vars", "notes", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ("nvidia_driver",)

ENGINE = "/usr/bin/nv-hostengine"
EXPECT = "expect-output"
COMES_UP_S = "60"
"""How long the host engine may take until it answers: it looks at every GPU first."""


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """Hosts without an NVIDIA GPU have nothing to manage."""
    return stack.no_gpu(host)


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """The packages for the driver's CUDA, the service, and that it sees every GPU.

    Raises ``UnsupportedError`` for a version that is too old for the driver.
    """
    os = catalog.operating_system(host.os_id, host.os_version)
    resolution = stack.resolved(host, cluster.settings)
    majors = _majors(host, cluster.settings)
    _refuse_too_old(vars, majors)
    rows = dcgm.packages()
    drop_in = f"/etc/systemd/system/{rows.unit}.d/aiprov-listen.conf"
    found: list[Resource] = [
        *repository(host, cluster.settings, resolution),
        *(Package(name=name, absent=True) for name in rows.unwanted(majors)),
        *([Package(name=os.hold_package)] if vars.dcgm_hold and os.hold_package else []),
        *(
            Package(
                name=name,
                version=vars.dcgm_version,
                hold=vars.dcgm_hold,
                together="DCGM",
            )
            for name in rows.names(majors)
        ),
        *_listening(vars, rows, drop_in),
        *_running(vars, host, rows, drop_in, loaded=_is_loaded(cluster.settings)),
    ]
    return list({address(item): item for item in found}.values())


def notes(vars: Vars, host: Facts, cluster: Cluster) -> list[Note]:
    """Which CUDA majors its packages are for, and why."""
    majors = _majors(host, cluster.settings)
    driver = _driver(host, cluster.settings)
    text = f"DCGM for CUDA {majors[-1]}: that of driver {driver.branch}"
    if len(majors) > 1:
        text += f"; for CUDA {majors[0]} too, the last that has this host's GPUs"
    found = [Note(level="reason", text=text)]
    if vars.dcgm_listen not in (None, "127.0.0.1", "::1"):
        text = f"DCGM asks for no password: whoever reaches port {vars.dcgm_port} controls the GPUs"
        found.append(Note(level="warning", text=text))
    return found


def driver_library(host: Facts) -> str:
    """The driver's library that the host engine has open, by its name that stays."""
    folder = "/usr/lib64"
    if host.family == "debian":
        folder = f"/usr/lib/{host.architecture}-linux-gnu"
    return f"{folder}/libnvidia-ml.so.1"


def _is_loaded(settings: Mapping[str, Any]) -> bool:
    """Whether the driver is to be loaded: in an image that is being built it is not."""
    return bool(getattr(settings.get("nvidia_driver"), "nvidia_driver_load", True))


def _driver(host: Facts, settings: Mapping[str, Any]) -> Driver:
    driver = stack.resolved(host, settings).driver
    if driver is None:
        raise UnsupportedError("DCGM needs a GPU's driver", hint="take the role from this host")
    return driver


def _majors(host: Facts, settings: Mapping[str, Any]) -> tuple[int, ...]:
    architectures = (model.architecture for model in stack.gpu_models(host))
    return dcgm.cuda_majors(_driver(host, settings).branch, architectures)


def _refuse_too_old(vars: Vars, majors: tuple[int, ...]) -> None:
    least = dcgm.oldest(majors)
    if vars.dcgm_version and least and dcgm.older(vars.dcgm_version, least):
        raise UnsupportedError(
            f"DCGM {vars.dcgm_version} has no packages for CUDA {majors[-1]}, the driver's",
            hint=f"set dcgm_version to {least} or newer, or unset it",
        )


def _listening(vars: Vars, rows: dcgm.Packages, drop_in: str) -> list[Resource]:
    """Where the host engine listens; as the package has it where nothing else is asked for."""
    if vars.dcgm_listen is None and vars.dcgm_port == rows.port:
        return [Absent(path=drop_in)]
    address = {None: "127.0.0.1", "all": "ALL"}.get(vars.dcgm_listen, vars.dcgm_listen)
    text = f"[Service]\nExecStart=\nExecStart={rows.command} -b {address} -p {vars.dcgm_port}\n"
    folder = drop_in.rpartition("/")[0]
    return [Directory(path=folder), File(path=drop_in, content=text)]


def _running(
    vars: Vars, host: Facts, rows: dcgm.Packages, drop_in: str, *, loaded: bool
) -> list[Resource]:
    """The service, and that it sees the GPUs; without a driver only that it starts at boot."""
    if not loaded:
        return [Service(name=rows.unit, enabled=True)]
    return [
        Service(
            name=rows.unit,
            enabled=True,
            running=True,
            restart_on=(drop_in, ENGINE, driver_library(host)),
        ),
        *program(EXPECT, host),
        _sees_all(vars, host, rows),
    ]


def _sees_all(vars: Vars, host: Facts, rows: dcgm.Packages) -> Resource:
    """That DCGM sees as many GPUs as are on the PCI bus, asked once its service is settled.

    Those that were given to virtual machines are not the driver's, and not DCGM's.
    """
    number = sum(item.driver != "vfio-pci" for item in stack.gpu_devices(host))
    text = f"{number} GPU{'s' * (number != 1)} found"
    question: Argv = ("dcgmi", "discovery", "--list", *_engine(vars, rows))
    return Command(
        name="DCGM sees all GPUs",
        argv=(path(EXPECT), "--within", COMES_UP_S, text, *question),
        unless=Succeeds(argv=(path(EXPECT), text, *question)),
        waits_for=(f"Service[{rows.unit}]",),
    )


def _engine(vars: Vars, rows: dcgm.Packages) -> Argv:
    """Where dcgmi finds the host engine, unless that is where it looks by itself."""
    if vars.dcgm_listen in (None, "127.0.0.1", "all", "0.0.0.0") and vars.dcgm_port == rows.port:  # noqa: S104
        return ()
    address = vars.dcgm_listen if vars.dcgm_listen not in (None, "all") else "127.0.0.1"
    host = f"[{address}]" if address and ":" in address else address
    return ("--host", f"{host}:{vars.dcgm_port}")
