"""What GPU models can do at most, and what was measured on good ones.

Rows: ``data/performance.toml``. Units: TFLOPS (TOPS of int8), and GB/s of 1e9 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from aiprov.catalog import Row, _rows
from aiprov.catalog.gpus import NVIDIA
from aiprov.errors import CatalogError

Dtype = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8"]
DTYPES: tuple[Dtype, ...] = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8")

_PCIE_GTS: Mapping[int, tuple[float, float]] = {
    1: (2.5, 8 / 10),
    2: (5.0, 8 / 10),
    3: (8.0, 128 / 130),
    4: (16.0, 128 / 130),
    5: (32.0, 128 / 130),
    6: (64.0, 236 / 256),
}
"""Transfers a second of a lane (1e9) and the share of them that is not coding.

PCI Express Base Specification 5.0, 4.2 (8b/10b, 128b/130b), and 6.0, 4.2.3 (236 of a flit's 256
bytes are transaction layer packets). Packet headers take more, which measurements include.
"""


@dataclass(frozen=True, kw_only=True)
class Multiprocessor(Row):
    """A streaming multiprocessor. ``flop_per_clock``: in matrix products, a multiply-add is two."""

    name: str
    flop_per_clock: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Performance(Row):
    """What a GPU model can do at most. ``sms`` is 0 and ``sm`` empty where it is not known.

    ``datasheet``: NVIDIA's dense figures, at its clocks; ``nvlink_gbs``: one direction, all of its
    ``nvlinks``. ``sustained``: the share of products at its highest clock that a good one surely
    keeps within its power.
    """

    ids: list[str]
    name: str
    memory_gbs: float
    pcie_generation: int
    sm: str = ""
    sms: int = 0
    clock_mhz: int = 0
    nvlinks: int = 0
    nvlink_gbs: float = 0.0
    datasheet: Mapping[str, float] = field(default_factory=dict)
    sustained: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Measured(Row):
    """What good GPUs of a model reached. ``share``: what one must reach of it."""

    ids: list[str]
    metrics: Mapping[str, float]
    share: float


@dataclass(frozen=True, kw_only=True)
class Prior(Row):
    """What good GPUs of one model reached in one metric, and what one must reach of it."""

    metric: str
    value: float
    share: float


@cache
def performances() -> tuple[Performance, ...]:
    """All models with known limits."""
    return _rows(Performance, "performance", "gpu")


@cache
def measured() -> tuple[Measured, ...]:
    """All published measurements."""
    return _rows(Measured, "performance", "measured")


@cache
def _multiprocessors() -> Mapping[str, Multiprocessor]:
    return {row.name: row for row in _rows(Multiprocessor, "performance", "sm")}


def performance(pci_id: str) -> Performance | None:
    """The limits of a model by its PCI id; ``None`` where they are not known."""
    return next((row for row in performances() if _is_of(pci_id, row.ids)), None)


def priors(pci_id: str) -> Mapping[str, Prior]:
    """What was measured on good GPUs of a model, by metric; the last row of a metric counts."""
    return {
        metric: Prior(
            metric=metric, value=value, share=row.share, source=row.source, date=row.date
        )
        for row in measured()
        if _is_of(pci_id, row.ids)
        for metric, value in row.metrics.items()
    }  # fmt: skip


def peak_tflops(row: Performance, dtype: str, clock_mhz: float | None = None) -> float | None:
    """The most that a model can do in matrix products of a type, at its highest clock or another.

    ``None`` where the model has no such type, or its multiprocessors are not known.
    """
    if not row.sm:
        return None
    each = _multiprocessors()[row.sm].flop_per_clock.get(dtype)
    clock = row.clock_mhz if clock_mhz is None else clock_mhz
    return each * row.sms * clock * 1e6 / 1e12 if each else None


def pcie_gbs(generation: int, width: int) -> float:
    """The most that a PCIe link carries in one direction. Raises ``CatalogError``."""
    if generation not in _PCIE_GTS or width not in (1, 2, 4, 8, 12, 16, 32):
        raise CatalogError(
            f"there is no PCIe link of generation {generation} and width {width}",
            hint=f"generations are {min(_PCIE_GTS)} to {max(_PCIE_GTS)}, widths 1 to 32",
        )
    transfers, share = _PCIE_GTS[generation]
    return transfers * share * width / 8


def _is_of(pci_id: str, ids: list[str]) -> bool:
    return pci_id.lower() in {f"{NVIDIA}:{one}" for one in ids}
