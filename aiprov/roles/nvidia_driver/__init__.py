"""The NVIDIA driver: the one that fits the host's GPUs, kernels, OS and CUDA, loaded and checked.

Branch, kernel modules, source and packages come from the resolver, which refuses what cannot work
before anything is touched. All packages of the driver are at one version, held there, and moved
together. Modules are built for the running kernel and for the next; nouveau and Nova are kept away;
fabric manager is there only with NVSwitches. What is installed is loaded live where nothing uses
the GPUs, else by a reboot (``nvidia_driver_reboot``). A host where the driver, its library and its
modules differ, or where a GPU is missing, has failed, and says why.
"""

from __future__ import annotations

from aiprov import stack
from aiprov.catalog.resolution import Resolution
from aiprov.errors import UnsupportedError
from aiprov.programs import program
from aiprov.resources import Package, Resource, address
from aiprov.roles import Cluster, Note
from aiprov.roles.nvidia_driver import kernel_files, loading, packages, services
from aiprov.roles.nvidia_driver.repository import repositories
from aiprov.roles.nvidia_driver.settings import Vars
from aiprov.survey.facts import Facts

__all__ = ["REQUIRES", "Vars", "notes", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ()


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """Hosts without an NVIDIA GPU have no use for it, unless some are expected to be there."""
    return None if vars.nvidia_driver_expected_gpus else stack.no_gpu(host)


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """The driver in the order in which it comes to be: packages, modules, services, the check.

    Raises ``UnsupportedError`` with what excludes what, where nothing fits, and where GPUs are
    expected and all of them are gone.
    """
    if vars.nvidia_driver_expected_gpus and stack.no_gpu(host):
        raise UnsupportedError(
            f"no GPU is on the PCI bus, not {vars.nvidia_driver_expected_gpus}",
            hint="see the BMC's log, power the host off and on, reseat the GPUs; or correct "
            "nvidia_driver_expected_gpus",
        )
    resolution = _resolution(vars, host, cluster)
    driver = resolution.driver
    if driver is None:
        raise UnsupportedError(stack.no_gpu(host) or "no driver fits", hint="see aiprov resolve")
    packages.refuse_storage(vars, resolution)
    sources = repositories(vars, host, driver, cluster.settings)
    before = packages.before(vars, host, driver)
    deciding = [*(item for item in sources if _brings_repositories(item)), *before]
    wanted = packages.packages(vars, driver, deciding)
    builds = loading.builds(vars, host, resolution, wanted)
    found: list[Resource] = [
        *program(loading.PROGRAM, host),
        *sources,
        *before,
        *kernel_files.files(vars, resolution),
        *wanted,
        *builds,
        *kernel_files.initramfs(host),
    ]
    found += _in_use(vars, host, resolution, [*wanted, *builds])
    return list({address(item): item for item in found}.values())


def notes(vars: Vars, host: Facts, cluster: Cluster) -> list[Note]:
    """Why it is this driver, and what to know of it."""
    resolution = _resolution(vars, host, cluster)
    told = [Note(level="reason", text=text) for text in _reasons(vars, host, resolution)]
    return told + [Note(level="warning", text=text) for text in resolution.warnings]


def _resolution(vars: Vars, host: Facts, cluster: Cluster) -> Resolution:
    return stack.resolved(host, {**cluster.settings, "nvidia_driver": vars})


def _brings_repositories(item: Resource) -> bool:
    return isinstance(item, Package) and item.name == "epel-release"


def _in_use(
    vars: Vars, host: Facts, resolution: Resolution, before: list[Resource]
) -> list[Resource]:
    """What only makes sense where the driver is loaded: not while an image is built."""
    running = services.services(vars, host, resolution)
    if not vars.nvidia_driver_load:
        return running
    fabric = services.fabric_told(vars, host, resolution)
    load = loading.loading(vars, before)
    return [*load, *running, loading.check(vars, host, fabric, [*before, *load])]


def _reasons(vars: Vars, host: Facts, resolution: Resolution) -> list[str]:
    """The resolver's reasons, those of the container runtime left out, and the role's own."""
    others = ("containerd", "Kubernetes")
    reasons = [text for text in resolution.reasons if not text.startswith(others)]
    kernels = ", ".join(stack.kernels(host, vars))
    reasons.append(f"modules for {kernels}: {_whose_kernels(vars)}")
    if services.fabric_runs(vars, resolution):
        reasons.append("fabric manager: NVSwitches join the GPUs")
    if resolution.coherent:
        reasons.append("GPU memory is the driver's alone (CDMM): NVIDIA's mode for Grace and CUDA")
    if resolution.driver is not None and resolution.driver.replaced:
        reasons.append("other branches', kinds' and sources' packages go, where there are any")
    return reasons


def _whose_kernels(vars: Vars) -> str:
    return "as asked for" if vars.nvidia_driver_kernels else "the running kernel and the next"
