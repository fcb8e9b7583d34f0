"""NVIDIA's GPUs by PCI id, and how each may be cut into MIG instances.

Rows lie in ``data/gpus.toml`` and ``data/mig.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aiprov.catalog import Row

Architecture = Literal[
    "maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell", "rubin"
]

NVIDIA = "10de"


@dataclass(frozen=True, kw_only=True)
class Gpu(Row):
    """A GPU model. ``pci_id`` is ``vendor:device`` in lower-case hex.

    ``fabric``: how several of it are joined in the machines that it is sold in: ``nvswitch``
    (switches on the PCI bus), ``nvlink5`` (switches that are not), or ``none``. ``mig`` names its
    rows of MIG profiles, empty where it has none. ``grace``: it sits on one module with a Grace CPU.
    """

    pci_id: str
    name: str
    chip: str
    architecture: Architecture
    compute_capability: str
    memory_gib: int
    segment: Literal["datacenter", "workstation", "mobile", "consumer"]
    fabric: Literal["none", "nvswitch", "nvlink5"] = "none"
    mig: str = ""
    grace: bool = False


@dataclass(frozen=True, kw_only=True)
class MigProfile(Row):
    """A MIG profile of a GPU model: ``1g.10gb``.

    ``slices`` of ``memory_slices`` are taken from one of the places in ``starts`` (the first memory
    slice it occupies) on; ``most`` of it fit on one GPU.
    """

    mig: str
    name: str
    slices: int
    memory_slices: int
    most: int
    starts: list[int]
    profile_id: int


def gpu(pci_id: str) -> Gpu:
    """The GPU of a PCI id. Raises ``CatalogError`` for an id that is of no known GPU."""
    raise NotImplementedError


def gpus() -> tuple[Gpu, ...]:
    """All known GPUs."""
    raise NotImplementedError


def is_gpu(vendor: str, class_code: str) -> bool:
    """Whether a PCI function is an NVIDIA GPU (VGA or 3D controller)."""
    return vendor == NVIDIA and class_code[:4] in ("0300", "0302")


def is_switch(vendor: str, device: str, class_code: str) -> bool:
    """Whether a PCI function is an NVSwitch (a bridge of NVIDIA's)."""
    raise NotImplementedError


def mig_profiles(pci_id: str) -> tuple[MigProfile, ...]:
    """The MIG profiles of a GPU, smallest first; none where it has no MIG."""
    raise NotImplementedError


def check_layout(pci_id: str, layout: Mapping[str, int]) -> None:
    """Raise ``CatalogError`` unless the MIG instances (profile -> how many) fit on one GPU.

    The message says what does not fit and the hint which profiles there are.
    """
    raise NotImplementedError
