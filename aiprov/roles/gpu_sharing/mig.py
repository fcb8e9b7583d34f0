"""MIG: which GPU of the host gets which layout, and whether it can."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from aiprov import programs
from aiprov.catalog import gpus as catalog
from aiprov.errors import CatalogError, UnsupportedError
from aiprov.resources import Command, Directory, File, Resource, Service, Succeeds
from aiprov.roles.gpu_sharing.settings import Layout, Vars
from aiprov.stack import gpu_devices
from aiprov.survey.facts import Facts, PciDevice

FILE = "/etc/aiprov/mig.json"
UNIT = "aiprov-mig.service"
PROGRAM = "mig"

Instances = Mapping[str, int]

_UNIT = f"""\
[Unit]
Description=MIG layouts of {FILE}
Documentation=https://docs.nvidia.com/datacenter/tesla/mig-user-guide/
# GPU instances do not survive a reboot; whatever uses GPUs has to find them.
After=nvidia-persistenced.service nvidia-fabricmanager.service
Before=nvidia-cdi-refresh.service nvidia-dcgm.service docker.service containerd.service
Before=crio.service kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={programs.path(PROGRAM)} apply --at-boot

[Install]
WantedBy=multi-user.target
"""


def resources(vars: Vars, host: Facts) -> list[Resource]:
    """The layouts, the program that makes them, now and at every boot.

    On a host with no GPU that has MIG there is nothing to make, nor to take back.
    Raises ``UnsupportedError`` for a layout that a GPU of the host cannot have.
    """
    wanted = layouts(vars, host)
    if not any(_has_mig(device) for device in gpu_devices(host)):
        return []
    program = programs.path(PROGRAM)
    return [
        Directory(path="/etc/aiprov"),
        File(path=FILE, content=document(wanted)),
        *programs.program(PROGRAM, host),
        File(path=f"/etc/systemd/system/{UNIT}", content=_UNIT),
        Service(name=UNIT, enabled=True),
        Command(
            name="make MIG layouts",
            argv=(program, "apply"),
            unless=Succeeds(argv=(program, "check")),
            waits_for=(f"File[{FILE}]", f"File[{program}]"),
        ),
    ]


def document(wanted: Mapping[str, Instances | None]) -> str:
    """The file that the program reads: instances by PCI address, null where MIG is to be off."""
    gpus = {address: {"instances": made} for address, made in wanted.items()}
    return json.dumps({"format_version": "1.0", "gpus": gpus}, indent=2, sort_keys=True) + "\n"


def layouts(vars: Vars, host: Facts) -> dict[str, Instances | None]:
    """The layout of each GPU that is named, by PCI address; ``None`` where MIG is to be off.

    A GPU without MIG that is to have none is left out. Raises ``UnsupportedError`` with the GPU
    where a layout does not fit, and for an entry that can name no GPU at all.
    """
    devices = gpu_devices(host)
    chosen: dict[str, Layout] = {}
    for entry in vars.gpu_sharing_mig:
        for device in _named(entry, devices):
            chosen[device.address] = entry
    found: dict[str, Instances | None] = {}
    for index, device in enumerate(devices):
        wanted = chosen.get(device.address)
        if wanted is None:
            continue
        if isinstance(wanted.layout, dict):
            _check(index, device, wanted.layout)
            found[device.address] = dict(sorted(wanted.layout.items()))
        elif _has_mig(device):
            found[device.address] = None
    return found


def _check(index: int, device: PciDevice, layout: Instances) -> None:
    try:
        catalog.check_layout(_pci_id(device), layout)
    except CatalogError as error:
        asked = " + ".join(f"{count} x {name}" for name, count in layout.items()) or "MIG"
        raise UnsupportedError(
            f"{asked} on GPU {index} ({device.address}): {error.message}", hint=error.hint
        ) from error


def _named(entry: Layout, devices: tuple[PciDevice, ...]) -> tuple[PciDevice, ...]:
    """The devices of the host that an entry names. A model that it does not have is no mistake."""
    if entry.gpus == "all":
        return devices
    if isinstance(entry.gpus, str):
        return tuple(device for device in devices if _matches(entry.gpus, device))
    for index in entry.gpus:
        if index >= len(devices):
            raise UnsupportedError(
                f"gpu_sharing_mig names GPU {index}, but the host has {len(devices)}",
                hint="GPUs count from 0, in the order of their PCI addresses",
            )
    return tuple(devices[index] for index in entry.gpus)


def _matches(name: str, device: PciDevice) -> bool:
    if re.fullmatch(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]", name):
        return device.address.lower() == name.lower()
    if ":" in name:
        return _pci_id(device) == catalog.gpu(name).pci_id
    words = _words(name)
    if not any(words <= _words(row.name) for row in catalog.gpus()):
        raise UnsupportedError(
            f"gpu_sharing_mig: {name!r} is no GPU that the catalog knows",
            hint="give all, words of its name (h200, a100 80gb), its PCI id (10de:2335), its "
            "address or its index",
        )
    return words <= _words(catalog.gpu(_pci_id(device)).name)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def _pci_id(device: PciDevice) -> str:
    return f"{device.vendor}:{device.device}"


def _has_mig(device: PciDevice) -> bool:
    return bool(catalog.gpu(_pci_id(device)).mig)
