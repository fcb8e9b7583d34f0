"""Modules built for every kernel, loaded into the running one, and checked."""

from __future__ import annotations

from collections.abc import Iterable

from aiprov import stack
from aiprov.catalog.resolution import Resolution
from aiprov.programs import path
from aiprov.resources import Argv, Command, Package, Reboot, Resource, Succeeds, address
from aiprov.roles.nvidia_driver.kernel_files import OPTIONS, OTHERS, TO_LOAD
from aiprov.roles.nvidia_driver.settings import Vars
from aiprov.survey.facts import Facts

PROGRAM = "nvidia-modules"
FABRIC_WAIT_S = 180
"""How long the fabric may take to come up: eight GPUs take about a minute."""

_FILES = tuple(f"File[{name}]" for name in (OTHERS, OPTIONS, TO_LOAD))


def builds(
    vars: Vars, host: Facts, resolution: Resolution, packages: Iterable[Package]
) -> list[Command]:
    """Modules for each kernel, where they are built on the host; signed ones under Secure Boot."""
    if resolution.driver is None or resolution.driver.build != "dkms":
        return []
    signed: Argv = ("--signed",) if host.secure_boot else ()
    waits_for = tuple(address(item) for item in packages)
    return [
        Command(
            name=f"build the NVIDIA modules for {kernel}",
            argv=(path(PROGRAM), "build", kernel),
            unless=Succeeds(argv=(path(PROGRAM), "built", kernel, *signed)),
            waits_for=waits_for,
        )
        for kernel in stack.kernels(host, vars)
    ]


def loading(vars: Vars, before: Iterable[Resource]) -> list[Resource]:
    """What is installed is loaded: live where nothing uses the GPUs, else by a reboot."""
    waits_for = tuple(address(item) for item in before)
    settled = (path(PROGRAM), "settled")
    if vars.nvidia_driver_reboot == "never":
        return [
            Command(
                name="load the NVIDIA modules",
                argv=(path(PROGRAM), "reload"),
                unless=Succeeds(argv=settled),
                after=_FILES,
                waits_for=waits_for,
            )
        ]
    reload = Command(
        name="load the NVIDIA modules",
        argv=(path(PROGRAM), "reload", "--or-reboot"),
        unless=Succeeds(argv=(*settled, "--tried")),
        after=_FILES,
        waits_for=waits_for,
    )
    return [
        reload,
        Reboot(
            name="to load the NVIDIA driver",
            unless=Succeeds(argv=settled),
            waits_for=(*waits_for, address(reload)),
        ),
    ]


def check(vars: Vars, host: Facts, fabric: bool, before: Iterable[Resource]) -> Command:
    """The last word: a host that does not pass has failed, with the reason."""
    argv: Argv = (path(PROGRAM), "verify")
    if vars.nvidia_driver_expected_gpus is not None:
        argv = (*argv, "--gpus", str(vars.nvidia_driver_expected_gpus))
    if fabric:
        argv = (*argv, "--fabric")
    if host.secure_boot:
        argv = (*argv, "--signed")
    return Command(
        name="check the GPUs",
        argv=(*argv, "--wait", str(FABRIC_WAIT_S)) if fabric else argv,
        unless=Succeeds(argv=argv),
        waits_for=tuple(address(item) for item in before),
    )
