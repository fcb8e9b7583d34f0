"""Bounds that no typing slip can move far: from what the hardware can do at most, and measurements.

A value above the limit is no success but a broken measurement, and not measured. A floor by what
others measured that is below 60 % of the limit or above it is a slip of the catalog and refused:
DCGM 4.6.0 has ten floors between 0.07 % and 26 %. The floor of physics alone may be lower, where
power holds good GPUs below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiprov.catalog.performance import Performance, Prior, pcie_gbs, peak_tflops
from aiprov.checks.model import Bound, Measurement
from aiprov.errors import CatalogError

LOWEST_SHARE = 0.60
"""Of the limit: no floor by what others measured may be lower."""
HIGHEST_SHARE = 1.0
_SWITCHED_LINKS, _SWITCHED_GPUS = 12, 8
"""HGX boards of eight GPUs of the A100 and later have switches."""
TOLERANCE = 1.02
"""Of the limit: clocks and timers are not exact. What is above is a broken measurement."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The most that hardware can reach in a metric. ``share``: what a good one surely reaches.

    ``how`` says for a person how the limit comes about. ``guard``: of the limit, the least that a
    floor of others may be.
    """

    metric: str
    value: float
    unit: str
    share: float
    how: str
    guard: float = LOWEST_SHARE


def product_limit(row: Performance, dtype: str, clock_mhz: float | None = None) -> Limit | None:
    """Of matrix products, at the highest clock or at that which NVML told under load."""
    value = peak_tflops(row, dtype, clock_mhz)
    if value is None:
        return None
    clock = row.clock_mhz if clock_mhz is None else clock_mhz
    unit = "TOPS" if dtype == "int8" else "TFLOPS"
    # At the clock that it ran at, a power cap is no excuse.
    share = row.sustained if clock_mhz is None else 0.70
    how = f"{row.sms} SMs of {row.sm} at {clock:g} MHz do {value:.5g} {unit}"
    return Limit(metric=dtype, value=value, unit=unit, share=share, how=how)


def memory_limit(row: Performance) -> Limit:
    """Of reading and writing the GPU's memory."""
    how = f"the memory of {row.name} carries {row.memory_gbs:g} GB/s"
    return Limit(metric="memory", value=row.memory_gbs, unit="GB/s", share=LOWEST_SHARE, how=how)


def pcie_limit(metric: str, generation: int, width: int) -> Limit:
    """Of copies between host and GPU, one direction. ``metric``: ``h2d`` or ``d2h``.

    The generation and width are those that were expected, not those that the link trained to.
    Raises ``CatalogError``.
    """
    value = pcie_gbs(generation, width)
    how = f"PCIe {generation}.0 x{width} carries {value:.4g} GB/s"
    return Limit(metric=metric, value=value, unit="GB/s", share=0.75, how=how)


def switched(row: Performance, gpus: int) -> bool:
    """Whether so many GPUs of a host are surely joined by NVSwitches.

    Boards of four have their links between each two of them, and the V100's has some pairs with
    one link and some with none.
    """
    return row.nvlinks >= _SWITCHED_LINKS and gpus >= _SWITCHED_GPUS


def p2p_limit(row: Performance, gpus: int = _SWITCHED_GPUS) -> Limit | None:
    """Of a copy between two of a host's GPUs over NVLink, one direction; ``None``: there is none.

    Where they may be joined without switches, the floor is that of the fewest links of a pair.
    """
    if not row.nvlink_gbs:
        return None
    how = f"the NVLinks of {row.name} carry {row.nvlink_gbs:g} GB/s in one direction"
    links = row.nvlinks
    if not switched(row, gpus):
        links = row.nvlinks // 3 if row.nvlinks >= _SWITCHED_LINKS else 1
        how = f"{how}, {links} of {row.nvlinks} between two without a switch"
    share = 0.80 * links / row.nvlinks
    return Limit(metric="p2p", value=row.nvlink_gbs, unit="GB/s", share=share, how=how)


def bus_limit(row: Performance, collective: str, gpus: int, *, in_switch: bool) -> Limit | None:
    """Of a collective's bus bandwidth on one host, by the formulas of nccl-tests.

    ``in_switch``: the switches add up (NVLS): then a GPU sends its data once and not 2 (n - 1) / n
    times, and an all-reduce may show 2 (n - 1) / (n + 1) of the link. ``None`` without NVLink.
    """
    if not row.nvlink_gbs or gpus < 2:
        return None
    if collective == "all_to_all" and row.nvlinks < _SWITCHED_LINKS:
        return None  # some pairs have no link, and what goes around is not known
    adds_up = in_switch and collective == "all_reduce"
    gain = max(1.0, 2 * (gpus - 1) / (gpus + 1)) if adds_up else 1.0
    value = row.nvlink_gbs * gain
    how = f"the NVLinks of {gpus} {row.name} allow {value:.4g} GB/s"
    share = LOWEST_SHARE / gain  # of the links, not of what the switches add
    return Limit(metric=collective, value=value, unit="GB/s", share=share, how=how, guard=share)


def floor(limit: Limit) -> Bound:
    """What any good GPU reaches by physics alone."""
    return Bound(
        relation="at least",
        value=limit.value * limit.share,
        basis="physics",
        reason=f"{limit.share:.0%} of the limit: {limit.how}",
    )


def prior_floor(prior: Prior, limit: Limit) -> Bound:
    """What a GPU must reach by what good ones of its model did.

    Raises ``CatalogError`` for one that cannot be: outside 60 to 100 % of the limit.
    """
    value = checked_floor(prior.metric, prior.value * prior.share, limit, prior.source)
    reason = f"{prior.share:.0%} of {prior.value:g} {limit.unit}, {prior.source}"
    return Bound(relation="at least", value=value, basis="prior", reason=reason)


def checked_floor(metric: str, value: float, limit: Limit, source: str) -> float:
    """A floor, if it can be one. Raises ``CatalogError`` where it is off by a factor."""
    lowest = limit.guard
    share = value / limit.value
    if lowest <= share <= HIGHEST_SHARE:
        return value
    raise CatalogError(
        f"{metric}: a floor of {value:g} {limit.unit} is {share:.2%} of what is possible "
        f"({limit.how}; {source})",
        hint=f"floors lie between {lowest:.0%} and {HIGHEST_SHARE:.0%} of it: is the unit right?",
    )


def measurement(
    metric: str,
    value: float | None,
    limit: Limit | None,
    bounds: Sequence[Bound] = (),
    *,
    unit: str = "",
    reason: str = "",
) -> Measurement:
    """A measured rate with its bounds, and that of physics where the limit is known.

    A value that nothing can reach has no verdict: its clock, its unit or its size is wrong.
    """
    if limit is None:
        return Measurement(name=metric, value=value, unit=unit, bounds=(*bounds,), reason=reason)
    if value is not None and value > limit.value * TOLERANCE:
        broken = f"{value:.5g} {limit.unit} is more than possible: {limit.how}"
        return Measurement(
            name=metric, value=None, unit=limit.unit, bounds=(*bounds,), reason=broken
        )
    return Measurement(
        name=metric, value=value, unit=limit.unit, bounds=(floor(limit), *bounds), reason=reason
    )
