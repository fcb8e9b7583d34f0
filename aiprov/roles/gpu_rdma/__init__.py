"""RDMA with GPU memory: adapters read and write it without a copy in the host's memory.

There are two ways to it. The open kernel modules share GPU memory as DMA-BUF with the RDMA of
Linux 5.12 and later: NVIDIA recommends that, and nothing has to be loaded. Everything else needs
``nvidia_peermem``, which goes only with an RDMA stack that has its interface: DOCA-OFED, or
Ubuntu's kernels. It is built with that stack, so it is built anew when the stack comes later.

An adapter that is not cabled is no fault of the host's software, so only ``gpu_rdma_active_ports``
of all ports have to be active. GPUDirect Storage belongs to the driver: ``nvidia_driver_gds``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiprov import catalog, stack
from aiprov.catalog import OperatingSystem, rdma
from aiprov.catalog.resolution import Driver
from aiprov.errors import UnsupportedError
from aiprov.programs import path, program
from aiprov.resources import (
    Absent,
    Command,
    Directory,
    File,
    KernelModule,
    Package,
    PathExists,
    Reboot,
    Resource,
    Succeeds,
    address,
)
from aiprov.roles import Cluster, Note
from aiprov.roles.gpu_rdma import repositories
from aiprov.roles.gpu_rdma.memory import Way, way
from aiprov.roles.gpu_rdma.settings import Vars
from aiprov.survey.facts import Facts

__all__ = ["REQUIRES", "Vars", "notes", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ("nvidia_driver",)

PROGRAM = "gpu-rdma"
LIMITS = "/etc/security/limits.d/91-aiprov-rdma.conf"
MANAGER = "/etc/systemd/system.conf.d/aiprov-rdma.conf"
EXPECT = "expect-output"


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """Hosts without a GPU, or without an adapter that speaks RDMA, have no use for it."""
    if reason := stack.no_gpu(host):
        return reason
    return None if adapters(host) else "it has no InfiniBand or RoCE adapter on its PCI bus"


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """The RDMA stack, the way to GPU memory, limits, GDRCopy, and that adapters are up.

    Raises ``UnsupportedError`` where GPU memory cannot be reached with this stack.
    """
    os = catalog.operating_system(host.os_id, host.os_version)
    driver = _driver(host, cluster.settings)
    kernels = stack.kernels(host, cluster.settings.get("nvidia_driver"))
    chosen = way(vars, os, driver, kernels)
    loaded = getattr(cluster.settings.get("nvidia_driver"), "nvidia_driver_load", True)
    found: list[Resource] = [
        *program(PROGRAM, host),
        *program(EXPECT, host),
        *_stack(vars, os, host),
        *(_peermem_built(vars, driver, kernels) if chosen.peermem else []),
        *(_stack_loaded(vars) if loaded else []),
        *([_module("nvidia_peermem")] if chosen.peermem and loaded else []),
        *_memlock(vars),
        *(_gdrcopy(vars, os, host, driver, loaded=loaded) if vars.gpu_rdma_gdrcopy else []),
        *(_checks(vars) if loaded else []),
    ]
    return list({address(item): item for item in found}.values())


def notes(vars: Vars, host: Facts, cluster: Cluster) -> list[Note]:
    """How adapters reach GPU memory, and why so."""
    os = catalog.operating_system(host.os_id, host.os_version)
    chosen: Way = way(
        vars,
        os,
        _driver(host, cluster.settings),
        stack.kernels(host, cluster.settings.get("nvidia_driver")),
    )
    return [Note(level="reason", text=f"RDMA to GPU memory by {chosen.why}")]


def adapters(host: Facts) -> tuple[rdma.Adapter, ...]:
    """The kinds of RDMA adapters on the host's PCI bus."""
    found = (rdma.adapter(item.vendor, item.device, item.class_code) for item in host.pci_devices)
    return tuple({row.name: row for row in found if row is not None}.values())


def _driver(host: Facts, settings: Mapping[str, Any]) -> Driver:
    driver = stack.resolved(host, settings).driver
    if driver is None:
        raise UnsupportedError("it needs a GPU's driver", hint="take the role from this host")
    return driver


def _stack(vars: Vars, os: OperatingSystem, host: Facts) -> list[Resource]:
    """The RDMA software. Raises ``UnsupportedError`` where DOCA-OFED drives no adapter."""
    if vars.gpu_rdma_stack == "present":
        argv = (path(PROGRAM), "stack")
        return [Command(name="an RDMA stack is there", argv=argv, unless=Succeeds(argv=argv))]
    if vars.gpu_rdma_stack == "inbox":
        return [Package(name=name) for name in rdma.inbox(os).packages]
    if not any(row.doca for row in adapters(host)):
        names = " and ".join(row.name for row in adapters(host))
        raise UnsupportedError(
            f"DOCA-OFED drives ConnectX and BlueField adapters, this host has {names}",
            hint="set gpu_rdma_stack: inbox",
        )
    held = vars.gpu_rdma_hold and os.hold_package is not None
    return [
        *repositories.doca(vars, os, host),
        *([Package(name=os.hold_package)] if held and os.hold_package else []),
        Package(name=_doca_package(os), hold=vars.gpu_rdma_hold),
    ]


def _doca_package(os: OperatingSystem) -> str:
    row = rdma.doca(os)
    return row.package if row is not None else "doca-ofed"


def _peermem_built(vars: Vars, driver: Driver, kernels: tuple[str, ...]) -> list[Resource]:
    """nvidia_peermem, built with the interface of this RDMA stack: the driver may be older."""
    if driver.build != "dkms":
        return []
    return [
        Command(
            name="build nvidia_peermem with the RDMA stack",
            argv=(path(PROGRAM), "build", *kernels),
            unless=Succeeds(argv=(path(PROGRAM), "built", *kernels)),
            after=("Package[doca-ofed]",) if vars.gpu_rdma_stack == "doca" else (),
        )
    ]


def _stack_loaded(vars: Vars) -> list[Resource]:
    """That the installed RDMA stack is the loaded one: another's modules do not go with it."""
    if vars.gpu_rdma_stack != "doca":
        return []
    argv = (path(PROGRAM), "current")
    waits_for = ("Package[doca-ofed]",)
    name = "DOCA-OFED is loaded"
    if vars.gpu_rdma_reboot == "never":
        return [Command(name=name, argv=argv, unless=Succeeds(argv=argv), waits_for=waits_for)]
    return [Reboot(name=name, unless=Succeeds(argv=argv), waits_for=waits_for)]


def _memlock(vars: Vars) -> list[Resource]:
    """Limits of locked memory: of logins by PAM, of services by systemd."""
    if not vars.gpu_rdma_memlock:
        return [Absent(path=LIMITS), Absent(path=MANAGER)]
    return [
        # pam_limits leaves root out of "*".
        File(path=LIMITS, content="* - memlock unlimited\nroot - memlock unlimited\n"),
        Directory(path=MANAGER.rpartition("/")[0]),
        File(path=MANAGER, content="[Manager]\nDefaultLimitMEMLOCK=infinity\n"),
        # Not daemon-reload: systemd reads its own configuration only when it starts anew.
        Command(
            name="systemd knows its limits",
            argv=("systemctl", "daemon-reexec"),
            unless=Succeeds(
                argv=(
                    path(EXPECT),
                    "DefaultLimitMEMLOCK=infinity",
                    *("systemctl", "show", "--property=DefaultLimitMEMLOCK"),
                )
            ),
            after=(f"File[{MANAGER}]",),
        ),
    ]


def _gdrcopy(
    vars: Vars, os: OperatingSystem, host: Facts, driver: Driver, *, loaded: bool
) -> list[Resource]:
    """GDRCopy. Raises ``UnsupportedError`` where its module cannot be built."""
    if driver.build != "dkms":
        raise UnsupportedError(
            "GDRCopy's module is built with the driver's sources, and signed modules have none",
            hint="set nvidia_driver_source: nvidia, or gpu_rdma_gdrcopy: false",
        )
    row = rdma.gdrcopy(os)
    held = vars.gpu_rdma_hold and os.hold_package is not None
    version = vars.gpu_rdma_gdrcopy_version
    wanted: list[Resource] = [
        *repositories.gdrcopy(vars, os, host),
        *([Package(name=os.hold_package)] if held and os.hold_package else []),
        *(
            Package(name=name, version=version, hold=vars.gpu_rdma_hold, together="GDRCopy")
            for name in row.packages
        ),
    ]
    return [*wanted, *([_module(row.module)] if loaded else [])]


def _module(name: str) -> KernelModule:
    """A module that packages bring: it may not be there yet."""
    return KernelModule(name=name, out_of_tree=True)


def _checks(vars: Vars) -> list[Resource]:
    """What has to be so in the end. Each says what is wrong, and the way out."""
    wanted: list[Resource] = []
    if vars.gpu_rdma_gdrcopy:
        device = "/dev/gdrdrv"
        wanted.append(
            Command(
                name="GDRCopy's device is there",
                argv=(path(PROGRAM), "device", device),
                unless=PathExists(path=device),
            )
        )
    if vars.gpu_rdma_active_ports:
        argv = (path(PROGRAM), "ports", str(vars.gpu_rdma_active_ports))
        wanted.append(Command(name="RDMA ports are active", argv=argv, unless=Succeeds(argv=argv)))
    return wanted
