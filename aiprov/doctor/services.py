"""The driver's services: the persistence daemon, and the fabric manager where NVSwitches are."""

from __future__ import annotations

import re

from aiprov import stack
from aiprov.doctor.findings import Answers, Finding, Unseen
from aiprov.doctor.observed import Observed
from aiprov.doctor.reading import gpus, loaded, loaded_version, owned, readings, version_in
from aiprov.errors import CatalogError

_OF_SYSTEMD = re.compile(r"nvidia-fabricmanager\.service|Failed to start|Stopp|Start")

PERSISTENCED = "nvidia-persistenced.service"
FABRIC = "nvidia-fabricmanager.service"

_FINE = ("Completed", "N/A", "Success", "Disabled")
_BAD_LINE = re.compile(r"error|fail|don't match|doesn't match|not supported|unable", re.I)


def managed(seen: Observed) -> Answers:
    """Whether systemd tells of services at all."""
    said = seen.ran("units")
    if "Id=" not in said.out:
        yield Unseen(what="services", why="; ".join(said.ending(1)))


def persistenced(seen: Observed) -> Answers:
    """Without the persistence daemon the driver forgets GPUs that nobody uses."""
    if not loaded(seen) or owned(seen) or "Id=" not in seen.ran("units").out:
        return
    unit = seen.unit(PERSISTENCED)
    if unit.get("ActiveState") == "active":
        return
    modes = [item for item in readings(seen) if item.path == ("Persistence Mode",)]
    if not unit and modes and all(item.value == "Enabled" for item in modes):
        return  # kept by nvidia-smi -pm 1, or by the driver container
    yield Finding(
        severity="warning",
        cause="the persistence daemon does not run" if unit
        else "the persistence daemon is not installed",
        evidence=(_state(PERSISTENCED, unit), *(item.quoted for item in modes[:1])),
        remedy="systemctl enable --now nvidia-persistenced" if unit
        else "install nvidia-persistenced: without it GPUs are started anew for each use, which "
        "takes seconds, and settings are lost",
    )  # fmt: skip


def _state(name: str, unit: object) -> str:
    if not isinstance(unit, dict) or not unit:
        return f"systemctl show {name}: LoadState=not-found"
    shown = ", ".join(
        f"{key}={unit[key]}" for key in ("ActiveState", "SubState", "UnitFileState", "Result")
        if unit.get(key)
    )  # fmt: skip
    return f"systemctl show {name}: {shown}"


def switched(seen: Observed) -> bool:
    """Whether the GPUs are joined by switches that the fabric manager must bring up."""
    if stack.switches(seen.facts) or seen.names("/proc/driver/nvidia-nvswitch/devices"):
        return True
    try:
        models = stack.gpu_models(seen.facts)
    except CatalogError:
        return False
    # The fifth generation's switches are not on the PCI bus; in a machine of one GPU are none.
    joined = [model for model in models if model.fabric == "nvlink5"]
    return len(joined) > 1 and not seen.facts.virtualization


def fabric_manager(seen: Observed) -> Answers:
    """Without the fabric manager no CUDA program starts on GPUs behind NVSwitches."""
    if not loaded(seen) or not switched(seen) or "Id=" not in seen.ran("units").out:
        return
    unit = seen.unit(FABRIC)
    version, driver = version_in(seen.ran("fm").out), loaded_version(seen)
    if not unit and seen.ran("fm").missing:
        package = f" of version {driver}" if driver else ""
        yield Finding(
            severity="problem",
            cause="the GPUs are joined by NVSwitches and the fabric manager is not installed",
            evidence=(_state(FABRIC, unit), *seen.ran("fm").ending(1)),
            remedy=f"install nvidia-fabricmanager{package}: aiprov apply with role nvidia_driver",
        )
    elif unit.get("ActiveState") != "active":
        lines = seen.ran("fm_log").out.splitlines()
        said = [line for line in lines if _BAD_LINE.search(line) and not _OF_SYSTEMD.match(line)]
        other = version and driver and version != driver
        yield Finding(
            severity="problem",
            cause="the fabric manager does not run"
            + (f": it is {version} and the driver {driver}" if other else ""),
            evidence=(
                _state(FABRIC, unit),
                *(f"journalctl -u nvidia-fabricmanager: {line.strip()}" for line in said[-3:]),
                *((f"nv-fabricmanager --version: {version}",) if version else ()),
            ),
            remedy=f"install nvidia-fabricmanager {driver}, exactly the driver's version" if other
            else "mend what its log says, then systemctl enable --now nvidia-fabricmanager",
        )  # fmt: skip


def fabric_state(seen: Observed) -> Answers:
    """A GPU has not joined the fabric."""
    if not switched(seen):
        return
    bad = [
        item
        for item in readings(seen)
        if item.path in (("Fabric", "State"), ("Fabric", "Status"))
        and item.value.removeprefix("NVML_") not in _FINE
    ]
    if bad:
        yield Finding(
            severity="problem",
            cause=f"{len({item.gpu for item in bad})} of {len(gpus(seen))} GPUs have not joined "
            "the NVLink fabric",
            evidence=tuple(item.quoted for item in bad),
            remedy="systemctl restart nvidia-fabricmanager; where it stays so, look at its log "
            "(/var/log/fabricmanager.log) and at Xids and SXids in the kernel log",
        )
