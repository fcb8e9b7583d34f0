"""The driver's packages: what they are built with, what they replace, all at one version."""

from __future__ import annotations

from aiprov import catalog
from aiprov.catalog.resolution import Driver, Resolution
from aiprov.errors import UnsupportedError
from aiprov.resources import Absent, Command, File, Package, Resource, Succeeds, address
from aiprov.roles.nvidia_driver.settings import Vars
from aiprov.survey.facts import Facts

TOGETHER = "the NVIDIA driver"
UNATTENDED = "/etc/apt/apt.conf.d/52aiprov-nvidia-driver"
MODULE_FILE = "/etc/dnf/modules.d/nvidia-driver.module"
STORAGE = "nvidia-fs-dkms"
"""NVIDIA's file system driver for GPUDirect Storage.

https://docs.nvidia.com/gpudirect-storage/troubleshooting-guide, 2026-11-21.
"""


def before(vars: Vars, host: Facts, driver: Driver) -> list[Resource]:
    """What decides about versions, before any of them can be known: holds, the pin, the stream."""
    os = catalog.operating_system(host.os_id, host.os_version)
    wanted: list[Resource] = []
    if vars.nvidia_driver_hold and os.hold_package is not None:
        wanted.append(Package(name=os.hold_package))
    if os.family == "debian":
        wanted.append(_unattended(vars))
    if driver.first is not None:
        # Only one pin can be there. Those that go are named, so that they can be put back.
        wanted += [Package(name=name, absent=True) for name in driver.replaced if _pins(name)]
        wanted.append(Package(name=driver.first))
    if driver.stream is not None:
        wanted.append(stream(driver.stream))
    return wanted


def stream(name: str) -> Command:
    """dnf's module stream. Only ``module install`` would change packages, and is not used."""
    return Command(
        name=f"choose module stream {name}",
        argv=(
            "dnf",
            "--assumeyes",
            "--setopt=module_stream_switch=True",
            "module",
            "enable",
            f"nvidia-driver:{name}",
        ),
        unless=Succeeds(argv=("grep", "--quiet", "--line-regexp", f"stream={name}", MODULE_FILE)),
    )


def packages(vars: Vars, driver: Driver, deciding: list[Resource]) -> list[Package]:
    """All packages, in the order of one transaction; none before ``deciding`` is as it should be.

    What must go goes with what replaces it, so that nothing is taken away before it is known that
    there is something in its place.
    """
    hold = vars.nvidia_driver_hold
    until = tuple(address(item) for item in deciding if not isinstance(item, File | Absent))
    version = driver.version or driver.branch
    # Signed modules come with their kernels and have to move with those.
    beside_held = hold if driver.build == "dkms" else None
    beside = [*driver.beside, *([STORAGE] if vars.nvidia_driver_gds else [])]
    return [
        *(Package(name=name, waits_for=until) for name in driver.headers),
        *(Package(name=name, absent=True, waits_for=until) for name in _others(driver)),
        *(Package(name=name, hold=beside_held, waits_for=until) for name in beside),
        *(
            Package(
                name=name,
                version=version,
                at_least=driver.minimum,
                hold=hold,
                together=TOGETHER,
                waits_for=until,
            )
            for name in driver.locked
        ),
    ]


def _pins(name: str) -> bool:
    return name.startswith("nvidia-driver-pinning-")


def _others(driver: Driver) -> list[str]:
    """What must go with the set; with a pin of this source, the other pins went before."""
    return [name for name in driver.replaced if driver.first is None or not _pins(name)]


def refuse_storage(vars: Vars, resolution: Resolution) -> None:
    """GPUDirect Storage needs the open modules. Raises ``UnsupportedError``."""
    driver = resolution.driver
    if not vars.nvidia_driver_gds or driver is None:
        return
    if driver.source != "nvidia" or driver.kernel_modules != "open":
        raise UnsupportedError(
            "nvidia_driver_gds: nvidia-fs is in NVIDIA's repository and needs the open kernel "
            f"modules; this host gets the {driver.kernel_modules} ones",
            hint="set nvidia_driver_gds: false, or ask for the open modules from NVIDIA",
        )


def _unattended(vars: Vars) -> Resource:
    """What unattended-upgrades leaves alone; patterns are matched from a name's beginning."""
    if not vars.nvidia_driver_hold:
        return Absent(path=UNATTENDED)
    names = ("nvidia-", "libnvidia-", "libcuda1", "libnvsdm", "libxnvctrl", "nvlsm")
    lines = "".join(f'  "{name}";\n' for name in names)
    text = f"Unattended-Upgrade::Package-Blacklist {{\n{lines}}};\n"
    return File(path=UNATTENDED, content=text)
