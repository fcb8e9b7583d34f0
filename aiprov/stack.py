"""The one set of versions of a host's GPU stack: every role that belongs to it asks here.

Roles agree because they ask the resolver the same question: it is made of what the host is and of
the settings of *all* of its roles, whichever role asks and whichever a run is narrowed to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiprov import catalog
from aiprov.catalog import gpus, resolver
from aiprov.catalog.resolution import Asked, Resolution
from aiprov.errors import UnsupportedError
from aiprov.survey.facts import Facts, PciDevice

Settings = Mapping[str, Any]
"""The settings of a host's roles by slug: ``Cluster.settings``."""


def gpu_devices(host: Facts) -> tuple[PciDevice, ...]:
    """The host's NVIDIA GPUs, in the order of their PCI addresses."""
    return tuple(item for item in host.pci_devices if gpus.is_gpu(item.vendor, item.class_code))


def gpu_models(host: Facts) -> tuple[gpus.Gpu, ...]:
    """The catalog's rows of the host's GPUs. Raises ``CatalogError`` for one without a row."""
    return tuple(gpus.gpu(f"{item.vendor}:{item.device}") for item in gpu_devices(host))


def no_gpu(host: Facts) -> str | None:
    """Why a role of the GPU stack has no use for the host."""
    return None if gpu_devices(host) else "it has no NVIDIA GPU"


def switches(host: Facts) -> bool:
    """Whether NVSwitches are on the host's PCI bus."""
    return any(
        gpus.is_switch(item.vendor, item.device, item.class_code) for item in host.pci_devices
    )


def resolved(host: Facts, settings: Settings) -> Resolution:
    """What fits together on the host. Raises ``UnsupportedError`` with what does not, and why."""
    answer = resolver.resolve(asked(host, settings))
    if answer.ok:
        return answer
    raise UnsupportedError(
        "; ".join(conflict.what for conflict in answer.conflicts),
        hint="; ".join(dict.fromkeys((*(c.hint for c in answer.conflicts), *answer.nearest))),
    )


def asked(host: Facts, settings: Settings) -> Asked:
    """The resolver's question about a host."""
    driver = settings.get("nvidia_driver")
    return Asked(
        os=catalog.operating_system(host.os_id, host.os_version),
        architecture=host.architecture,
        gpus=tuple(f"{item.vendor}:{item.device}" for item in gpu_devices(host)),
        switches=_switched(host, driver),
        kernels=kernels(host, driver),
        secure_boot=bool(host.secure_boot),
        mok_enrolled=host.mok_enrolled,
        driver=_of(driver, "nvidia_driver_version") or _of(driver, "nvidia_driver_branch"),
        modules=_chosen(driver, "nvidia_driver_kernel_modules"),
        source=_chosen(driver, "nvidia_driver_source"),
        graphics=bool(_of(driver, "nvidia_driver_graphics")),
        cuda=tuple(_of(settings.get("cuda"), "cuda_versions") or ()),
        containerd=_of(settings.get("containerd"), "containerd_version"),
        kubernetes=_of(settings.get("kubernetes"), "kubernetes_version"),
        toolkit=_of(settings.get("nvidia_container_toolkit"), "nvidia_container_toolkit_version"),
    )


def _switched(host: Facts, driver: Any) -> bool:
    """Whether a fabric manager is wanted: as asked for, else where NVSwitches are on the bus."""
    asked_for = _chosen(driver, "nvidia_driver_fabric_manager")
    return switches(host) if asked_for is None else bool(asked_for)


def kernels(host: Facts, driver: Any) -> tuple[str, ...]:
    """The kernels that need modules: those asked for, else the running one and the next.

    None for an image that has never booted.
    """
    wanted = _of(driver, "nvidia_driver_kernels")
    if wanted:
        return tuple(wanted)
    return tuple(dict.fromkeys(filter(None, (host.kernel, host.next_kernel))))


def _of(vars: Any, name: str) -> Any:
    return getattr(vars, name, None)


def _chosen(vars: Any, name: str) -> Any:
    """A setting whose ``auto`` leaves the choice to the resolver."""
    value = _of(vars, name)
    return None if value == "auto" else value
