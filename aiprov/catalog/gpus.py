"""NVIDIA's GPUs by PCI id, and how each may be cut into MIG instances.

Rows lie in ``data/gpus.toml`` and ``data/mig.toml``; each names its source there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from aiprov.catalog import Row, _document, _rows
from aiprov.errors import CatalogError

Architecture = Literal[
    "maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell", "rubin"
]
Segment = Literal["datacenter", "workstation", "mobile", "consumer"]

NVIDIA = "10de"


@dataclass(frozen=True, kw_only=True)
class Gpu(Row):
    """A GPU model. ``pci_id`` is ``vendor:device`` in lower-case hex.

    ``memory_gib``: the memory that it is sold with. The driver reports up to 7 % less, kept for
    ECC and for itself. Where boards of one id differ it is that of the smallest; 0: not known, or
    shared with the CPU.
    ``fabric``: how several of it are joined in the machines that it is sold in: ``nvswitch``
    (switches on the PCI bus), ``nvlink5`` (switches that are not), or ``none``. ``mig`` names its
    rows of MIG profiles, empty where it has none. ``grace``: it sits on a module with a Grace CPU.
    """

    pci_id: str
    name: str
    chip: str
    architecture: Architecture
    compute_capability: str
    memory_gib: int
    segment: Segment
    fabric: Literal["none", "nvswitch", "nvlink5"] = "none"
    mig: str = ""
    grace: bool = False


@dataclass(frozen=True, kw_only=True)
class Chip(Row):
    """A GPU chip. ``ids``: the ranges of PCI device ids (hex, both ends included) that it has.

    ``segment``: that of its GPUs which have no row of their own.
    """

    name: str
    architecture: Architecture
    compute_capability: str
    segment: Segment
    ids: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Switch(Row):
    """An NVSwitch. ``ids``: the ranges of PCI device ids (hex, both ends included) that it has."""

    name: str
    ids: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class MigProfile(Row):
    """A MIG profile of a GPU model: ``1g.10gb``.

    ``slices`` of ``memory_slices`` are taken from one of the places in ``starts`` (the first memory
    slice it occupies) on; ``most`` of it fit on one GPU. ``video`` and ``ofa``: the video engines
    and optical flow accelerators that it takes away from the others.
    """

    mig: str
    name: str
    slices: int
    memory_slices: int
    most: int
    starts: list[int]
    profile_id: int
    video: int = 0
    ofa: int = 0


def gpu(pci_id: str) -> Gpu:
    """The GPU of a PCI id (``10de:2335``).

    One that has no row of its own is recognised by its chip: it then has the chip's name, and 0 GiB
    of memory for unknown. Raises ``CatalogError`` for an id that is of no known chip.
    """
    wanted = pci_id.lower()
    known = _by_id()
    if wanted in known:
        return known[wanted]
    vendor, _, device = wanted.partition(":")
    if vendor != NVIDIA or len(device) != 4 or not set(device) <= set("0123456789abcdef"):
        raise CatalogError(
            f"{pci_id!r} is not the PCI id of an NVIDIA GPU",
            hint=f"give {NVIDIA}: and the device id, four hex digits, as in {NVIDIA}:2335",
        )
    number = int(device, 16)
    for chip in chips():
        if _within(number, chip.ids):
            return _of_chip(wanted, chip)
    nearest = min(gpus(), key=lambda row: abs(int(row.pci_id[5:], 16) - number))
    raise CatalogError(
        f"{pci_id} is of no GPU that the catalog knows",
        hint=f"the nearest id it knows is {nearest.pci_id} ({nearest.name}); this catalog may be "
        "older than the GPU, or the GPU older than Maxwell",
    )


def _of_chip(pci_id: str, chip: Chip) -> Gpu:
    return Gpu(
        pci_id=pci_id,
        name=f"{chip.name} GPU",
        chip=chip.name,
        architecture=chip.architecture,
        compute_capability=chip.compute_capability,
        memory_gib=0,
        segment=chip.segment,
        source=chip.source,
        date=chip.date,
    )


@cache
def chips() -> tuple[Chip, ...]:
    """All known chips."""
    return _rows(Chip, "gpus", "chip")


@cache
def gpus() -> tuple[Gpu, ...]:
    """All known GPUs: those with a row of their own."""
    by_name = {chip.name: chip for chip in chips()}
    return tuple(
        _row(series, by_name[series["chip"]], values)
        for series in _document("gpus")["series"]
        for values in series["gpus"]
    )


def _row(series: Mapping[str, Any], chip: Chip, values: Mapping[str, Any]) -> Gpu:
    own = {name: value for name, value in values.items() if name != "id"}
    shared = {name: series[name] for name in ("segment", "source", "date")}
    return Gpu(
        pci_id=f"{NVIDIA}:{values['id']}",
        chip=chip.name,
        architecture=chip.architecture,
        compute_capability=chip.compute_capability,
        **(shared | own),
    )


@cache
def _by_id() -> Mapping[str, Gpu]:
    return {row.pci_id: row for row in gpus()}


def is_gpu(vendor: str, class_code: str) -> bool:
    """Whether a PCI function is an NVIDIA GPU (VGA or 3D controller)."""
    return vendor == NVIDIA and class_code[:4] in ("0300", "0302")


def is_switch(vendor: str, device: str, class_code: str) -> bool:
    """Whether a PCI function is an NVSwitch (a bridge of NVIDIA's)."""
    if vendor != NVIDIA or class_code[:4] != "0680":
        return False
    return any(_within(int(device, 16), row.ids) for row in switches())


@cache
def switches() -> tuple[Switch, ...]:
    """All known NVSwitches."""
    return _rows(Switch, "gpus", "switch")


def _within(device: int, ids: list[list[str]]) -> bool:
    return any(int(first, 16) <= device <= int(last, 16) for first, last in ids)


def mig_profiles(pci_id: str) -> tuple[MigProfile, ...]:
    """The MIG profiles of a GPU, smallest first; none where it has no MIG."""
    mig = gpu(pci_id).mig
    return _profiles()[mig] if mig else ()


@cache
def _profiles() -> Mapping[str, tuple[MigProfile, ...]]:
    return {
        group["name"]: tuple(
            MigProfile(mig=group["name"], source=group["source"], date=group["date"], **values)
            for values in group["profiles"]
        )
        for group in _document("mig")["mig"]
    }


def check_layout(pci_id: str, layout: Mapping[str, int]) -> None:
    """Raise ``CatalogError`` unless the MIG instances (profile -> how many) fit on one GPU.

    The message says what does not fit and the hint which profiles there are. Every instance is
    given a place among those that the driver has for its profile, so what passes can be created,
    though perhaps not in any order.
    """
    model = gpu(pci_id)
    profiles = {profile.name: profile for profile in mig_profiles(pci_id)}
    if not profiles:
        raise CatalogError(
            f"the catalog knows no MIG profiles of {model.name}",
            hint="leave the layout out; GPUs with MIG are "
            + ", ".join(sorted({row.name for row in gpus() if row.mig})),
        )
    hint = "its profiles, and how many of each fit alone: " + ", ".join(
        f"{profile.name} ({profile.most})" for profile in profiles.values()
    )
    for name, count in layout.items():
        if name not in profiles:
            raise CatalogError(f"{model.name} has no MIG profile {name!r}", hint=hint)
        if count < 0:
            raise CatalogError(f"{count} x {name} is no number of MIG instances", hint=hint)
    for name, count in layout.items():
        if count > (most := profiles[name].most):
            problem = f"at most {most} of {name} can be on one GPU"
            break
    else:
        wanted = [profiles[name] for name, count in layout.items() for _ in range(count)]
        problem = _excess(wanted, list(profiles.values())) or _misplaced(wanted)
    if problem:
        asked = " + ".join(f"{count} x {name}" for name, count in layout.items() if count)
        raise CatalogError(f"{asked} does not fit on {model.name}: {problem}", hint=hint)


def _excess(wanted: list[MigProfile], profiles: list[MigProfile]) -> str:
    """What the instances take more of than the whole GPU has, in words; empty where nothing."""
    totals = (
        ("compute slices", [one.slices for one in wanted], max(one.slices for one in profiles)),
        ("video engines", [one.video for one in wanted], max(one.video for one in profiles)),
        (
            "optical flow accelerators",
            [one.ofa for one in wanted],
            max(one.ofa for one in profiles),
        ),
    )
    for what, taken, there_are in totals:
        if sum(taken) > there_are:
            return f"it takes {sum(taken)} {what} of {there_are}"
    return ""


def _misplaced(wanted: list[MigProfile]) -> str:
    """Why the instances have no place beside each other, in words; empty where they have one."""
    largest_first = sorted(wanted, key=lambda one: (-one.memory_slices, one.name))
    if _placed(largest_first, 0):
        return ""
    return "there is no place in memory for all of them beside each other"


def _placed(wanted: list[MigProfile], taken: int) -> bool:
    """Whether every instance has a place in memory slices beside those taken (a bit for each)."""
    if not wanted:
        return True
    first, *others = wanted
    spans = (((1 << first.memory_slices) - 1) << start for start in first.starts)
    return any(not taken & span and _placed(others, taken | span) for span in spans)
