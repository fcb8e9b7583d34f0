"""From ``h200x8`` to the PCI devices of a simulated GPU host, and what is broken about it.

``MODELxN[+MODELxN…][,FAULT…]``: MODEL is a GPU of the catalog by a short name (``h200``,
``a100-80gb``) or its PCI id (``10de:2335``). Eight NVSwitch GPUs bring their board's switches,
``nics=N`` adds InfiniBand adapters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from aiprov.catalog import gpus as catalog
from aiprov.errors import CatalogError, LabError
from aiprov.lab.pci import PciDevice

SYNTAX = "MODELxN[+MODELxN...][,nics=N][,missing=N][,narrow=I][,xid=CODE@I][,nouveau]"
NARROW = 4
"""The lanes that a narrow link has left."""
_MOST = 16
_HINT = f"write it as {SYNTAX}, such as h200x8 or h100x4+l40sx2,xid=79@0"

_COMMON = {
    "a100": "10de:20b0",
    "a100-40gb": "10de:20b0",
    "a100-80gb": "10de:20b2",
    "a800": "10de:20f3",
    "h100": "10de:2330",
    "h200": "10de:2335",
    "h800": "10de:2324",
    "v100": "10de:1db5",
    "v100-16gb": "10de:1db1",
    "v100-32gb": "10de:1db5",
}
"""What people mean by a name that several boards share: the one in servers with eight GPUs."""

_BOARDS = {"volta": (16, 12, 0x1AC2), "ampere": (8, 6, 0x1AF1), "hopper": (8, 4, 0x22A3)}
"""GPUs of a board with NVSwitches, its switches, and their device id.

docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide: DGX-2, HGX A100, HGX H100 (2026-11-21)
"""
_SPEEDS = {
    "maxwell": "8.0", "pascal": "8.0", "volta": "8.0", "turing": "8.0", "ampere": "16.0",
    "ada": "16.0", "hopper": "32.0", "blackwell": "32.0", "rubin": "64.0",
}  # fmt: skip
"""GT/s of the PCI Express generation of an architecture's data center GPUs."""

_AER = {
    f"aer_dev_{kind}": f"Undefined 0\n{name} 0\nTOTAL_ERR_{total} 0"
    for kind, name, total in (
        ("correctable", "BadTLP", "COR"),
        ("nonfatal", "TLP", "NONFATAL"),
        ("fatal", "DLP", "FATAL"),
    )
}  # fmt: skip
"""Errors of a PCI Express link as Linux counts them; of a good one there is none."""


@dataclass(frozen=True, kw_only=True)
class Xid:
    """An error that the driver reports of a GPU. ``gpu``: its index on the bus."""

    code: int
    gpu: int


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """What a simulated GPU host has. ``nouveau``: that driver takes the GPUs at boot."""

    devices: Sequence[PciDevice]
    xids: Sequence[Xid] = ()
    nouveau: bool = False


def gpus(text: str) -> Gpus:
    """The devices and faults that a ``--gpus`` value names.

    Raises ``LabError`` for a model that is unknown or not unique, and for a fault that makes no
    sense on these GPUs.
    """
    hardware, *faults = text.split(",")
    models = [model for group in hardware.split("+") for model in _group(group.strip())]
    if len(models) > _MOST:
        raise LabError(f"{hardware}: {len(models)} GPUs", hint=f"a host has at most {_MOST}")
    made = Gpus(devices=tuple(_devices(models)))
    for fault in faults:
        made = _broken(made, fault.strip())
    return made


def is_gpu(device: PciDevice) -> bool:
    """Whether a device of a lab host is an NVIDIA GPU."""
    return catalog.is_gpu(f"{device.vendor:04x}", f"{device.class_code:06x}")


def is_switch(device: PciDevice) -> bool:
    """Whether a device of a lab host is an NVSwitch."""
    vendor, number = f"{device.vendor:04x}", f"{device.device:04x}"
    return catalog.is_switch(vendor, number, f"{device.class_code:06x}")


def model(name: str) -> catalog.Gpu:
    """The GPU of a short name or PCI id.

    A short name is any words of the catalog's name that no other GPU has, joined by hyphens:
    ``l40s``, ``h100-nvl``. Raises ``LabError`` with the candidates where it is unknown or shared.
    """
    wanted = name.lower()
    if ":" in wanted or wanted in _COMMON:
        try:
            return catalog.gpu(_COMMON.get(wanted, wanted))
        except CatalogError as error:
            raise LabError(error.message, hint=error.hint) from None
    words = set(_words(wanted))
    found = [row for row in catalog.gpus() if words and words <= set(_words(row.name))]
    exact = [row for row in found if words == set(_words(row.name))]
    if len(found) == 1 or len(exact) == 1:
        return (exact or found)[0]
    if found:
        raise LabError(f"{name!r} names more than one GPU", hint=f"one of: {_listed(found)}")
    near = [row for row in catalog.gpus() if wanted[:3] in "-".join(_words(row.name))]
    datacenter = [row for row in catalog.gpus() if row.segment == "datacenter"]
    raise LabError(f"no GPU is called {name!r}", hint=f"such as: {_listed(near or datacenter)}")


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())


def _listed(rows: Iterable[catalog.Gpu]) -> str:
    return ", ".join(f"{'-'.join(_words(row.name))} ({row.pci_id})" for row in rows)


def _group(text: str) -> list[catalog.Gpu]:
    match = re.fullmatch(r"(.+)x([1-9][0-9]?)", text)
    if match is None:
        if not text:
            raise LabError("no GPU is named", hint=_HINT)
        return [model(text)]
    return [model(match[1])] * int(match[2])


def _devices(models: Sequence[catalog.Gpu]) -> Iterable[PciDevice]:
    """GPUs on buses of their own, half of them on each socket; switches before them."""
    for row in dict.fromkeys(models):
        size, switches, device = _BOARDS.get(row.architecture, (0, 0, 0))
        if row.fabric == "nvswitch" and models.count(row) == size:
            yield from (_switch(number, device) for number in range(switches))
    for index, row in enumerate(models):
        speed = f"{_SPEEDS[row.architecture]} GT/s PCIe"
        yield PciDevice(
            address=f"0000:{0x11 + 0x0D * index:02x}:00.0",
            vendor=0x10DE,
            device=int(row.pci_id.partition(":")[2], 16),
            class_code=0x030200 if row.segment == "datacenter" else 0x030000,
            subsystem_vendor=0x10DE,
            current_link_speed=speed,
            max_link_speed=speed,
            numa_node=2 * index // len(models),
            irq=100 + index,
            files=_AER,
        )


def _switch(number: int, device: int) -> PciDevice:
    return PciDevice(
        address=f"0000:{0x03 + number:02x}:00.0",
        vendor=0x10DE,
        device=device,
        class_code=0x068000,
        subsystem_vendor=0x10DE,
        current_link_width=2,
        max_link_width=2,
    )


def _nic(number: int) -> PciDevice:
    """A ConnectX-7 of InfiniBand, without a driver: the lab has no fabric that it could join."""
    return PciDevice(
        address=f"0000:{0xE0 + number:02x}:00.0",
        vendor=0x15B3,
        device=0x1021,
        class_code=0x020700,
        subsystem_vendor=0x15B3,
    )


def _broken(made: Gpus, fault: str) -> Gpus:
    kind, _, value = fault.partition("=")
    if kind == "nouveau" and not value:
        return replace(made, nouveau=True)
    if kind == "nics" and value.isdigit():
        nics = (_nic(number) for number in range(_checked(int(value), _MOST, fault)))
        return replace(made, devices=(*made.devices, *nics))
    if kind == "missing" and value.isdigit():
        there = [device for device in made.devices if is_gpu(device)]
        lost = there[len(there) - _checked(int(value), len(there) + 1, fault) :]
        return replace(made, devices=tuple(one for one in made.devices if one not in lost))
    if kind == "narrow" and value.isdigit():
        gone = _gpu(made, int(value), fault)
        narrow = replace(gone, current_link_width=NARROW)
        kept = tuple(narrow if one is gone else one for one in made.devices)
        return replace(made, devices=kept)
    code, _, index = value.partition("@")
    if kind == "xid" and code.isdigit() and index.isdigit():
        _gpu(made, int(index), fault)
        return replace(made, xids=(*made.xids, Xid(code=int(code), gpu=int(index))))
    raise LabError(f"{fault!r} is no fault of GPUs", hint=_HINT)


def _gpu(made: Gpus, index: int, fault: str) -> PciDevice:
    there = [device for device in made.devices if is_gpu(device)]
    return there[_checked(index, len(there), fault)]


def _checked(number: int, below: int, fault: str) -> int:
    if number >= below:
        raise LabError(f"{fault}: there are no {number + 1} GPUs", hint="GPUs count from 0")
    return number
