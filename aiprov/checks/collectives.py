"""Judges collective operations: every result right, and each size's bus bandwidth by itself.

Bus bandwidth by the formulas of nccl-tests (doc/PERFORMANCE.md): what the links had to carry, so
that numbers of ranks and operations can be compared with the hardware. There is no average over
sizes: NVIDIA's own run on a healthy H100 host shows 480 GB/s at 8 GiB and 159 on average.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiprov.catalog.performance import Performance, performance, priors
from aiprov.checks import physics
from aiprov.checks.model import Bound, Measurement
from aiprov.checks.physics import Limit
from aiprov.checks.told import finite, none

LARGE = 1 << 30
"""Bytes from which on a collective is as fast as its links, and not as fast as it begins."""
LARGEST = 8 << 30
"""Bytes from which on published figures without a size hold."""
IN_SWITCH_GBS = 450.0
"""From this NVLink on (4, with NVSwitch 3) switches add up, which lets an all-reduce show more."""


def bus_share(operation: str, ranks: int) -> float:
    """What the links carry of a size, by nccl-tests. Raises ``KeyError`` for no operation."""
    part = (ranks - 1) / ranks
    return {
        "all_reduce": 2 * part,
        "all_gather": part,
        "reduce_scatter": part,
        "all_to_all": part,
        "send_recv": 1.0,
    }[operation]


def bus_gbs(operation: str, ranks: int, size: float, seconds: float) -> float:
    """The bus bandwidth in GB/s of an operation on so many bytes in so many seconds."""
    return size / seconds / 1e9 * bus_share(operation, ranks)


def size_name(size: int) -> str:
    """``256 MiB``."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << power and not size % (1 << power):
            return f"{size >> power} {unit}"
    return f"{size} B"


def check_name(parameters: Mapping[str, Any], devices: int) -> str:
    """What the check of a cell is called: the same on all hosts that are alike."""
    meeting, operation = parameters.get("rendezvous"), parameters.get("operation")
    if not isinstance(meeting, Mapping):
        return f"{operation} of {devices}"
    return f"{operation} of {ranks_of(parameters, devices)} on {meeting.get('nodes')} hosts"


def ranks_of(parameters: Mapping[str, Any], devices: int) -> int:
    """How many ranks a cell has, over all of its hosts."""
    meeting = parameters.get("rendezvous")
    return devices * (int(meeting["nodes"]) if isinstance(meeting, Mapping) else 1)


def collective(
    parameters: Mapping[str, Any],
    result: Mapping[str, Any],
    devices: int,
    pci_id: str,
    faults: Sequence[Mapping[str, Any]] = (),
) -> tuple[Measurement, ...]:
    """What a cell is judged by, of one host's ranks.

    ``faults``: the wrong results that were told one by one. Of CPUs that stand for GPUs, of hosts
    without NVLink and over a network rates are recorded, for the fleet to judge.
    """
    told = _ranks(parameters, result, devices)
    ranks = ranks_of(parameters, devices)
    wrong = _sum(told, "faults", parameters)
    if wrong is not None:
        wrong = max(wrong, float(len(faults)))
    missing = _unverified(told, parameters)
    sizes = sizes_of(parameters)
    rates = [_rate(parameters, size, told, ranks, pci_id) for size in sizes]
    untold = [one.name for one in rates if one.value is None]
    right = len(told) if told and all(_world(one) == ranks for one in told) else None
    return (
        none("wrong results", wrong),
        none("results not verified", missing),
        Measurement(
            name="ranks", value=right,
            bounds=(Bound(relation="exactly", value=devices, basis="exact",
                          reason="one a device, and all have met"),),
            reason=f"not all were among {ranks} ranks",
        ),
        *rates,
        Measurement(
            name="sizes with a rate", value=len(rates) if not untold else None,
            bounds=(Bound(relation="exactly", value=len(sizes), basis="exact",
                          reason="each is judged by itself"),),
            reason=f"{', '.join(untold)} has none",
        ),
    )  # fmt: skip


def rate(
    parameters: Mapping[str, Any], result: Mapping[str, Any], devices: int, size: int
) -> float | None:
    """The bus bandwidth in GB/s of a size, by this host's slowest rank; ``None``: not measured."""
    told = _ranks(parameters, result, devices)
    return _gbs(str(parameters.get("operation")), size, told, ranks_of(parameters, devices))


def wrong_results(
    parameters: Mapping[str, Any], result: Mapping[str, Any], devices: int
) -> float | None:
    """How many results were wrong on this host; ``None`` where that is not known."""
    return _sum(_ranks(parameters, result, devices), "faults", parameters)


def sizes_of(parameters: Mapping[str, Any]) -> tuple[int, ...]:
    """The sizes that a cell has, in bytes."""
    return tuple(int(size) for size in parameters.get("bytes", ()))


# ---------------------------------------------------------------- what the ranks told


def _ranks(
    parameters: Mapping[str, Any], result: Mapping[str, Any], devices: int
) -> tuple[Mapping[str, Any], ...]:
    """What this host's ranks told; nothing where it is not that of each of them, of this test."""
    told, meeting = result.get("ranks"), parameters.get("rendezvous")
    first = devices * (int(meeting["node"]) if isinstance(meeting, Mapping) else 0)
    if not isinstance(told, Mapping):
        return ()
    wanted = [str(number) for number in range(first, first + devices)]
    found = [told.get(number) for number in wanted]
    good = [
        one
        for one in found
        if isinstance(one, Mapping) and one.get("operation") == parameters.get("operation")
    ]
    return tuple(good) if len(good) == devices and len(told) == devices else ()


def _world(told: Mapping[str, Any]) -> float | None:
    return finite(told.get("world"))


def _of_size(told: Mapping[str, Any], size: int) -> Mapping[str, Any]:
    """What a rank told of a size: the nearest below, as parts of ranks are whole elements."""
    sizes = told.get("sizes")
    found = [one for one in sizes if isinstance(one, Mapping)] if isinstance(sizes, list) else []
    for one in found:
        made = finite(one.get("bytes"))
        if made is not None and size * 0.9 < made <= size:
            return one
    return {}


def _sum(
    told: Sequence[Mapping[str, Any]], field: str, parameters: Mapping[str, Any]
) -> float | None:
    """A number of all sizes of all ranks; ``None`` where any did not tell."""
    values = [
        finite(_of_size(one, size).get(field)) for one in told for size in sizes_of(parameters)
    ]
    known = [value for value in values if value is not None]
    return sum(known) if values and len(known) == len(values) else None


def _unverified(told: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> float | None:
    """Results that were timed and not compared."""
    made, seen = _sum(told, "iterations", parameters), _sum(told, "verified", parameters)
    return None if made is None or seen is None or made < 1 else max(0.0, made - seen)


def _gbs(operation: str, size: int, told: Sequence[Mapping[str, Any]], ranks: int) -> float | None:
    """By the slowest rank: a collective has not ended before all have."""
    seconds = [finite(_of_size(one, size).get("seconds")) for one in told]
    made = [finite(_of_size(one, size).get("bytes")) for one in told]
    known = [value for value in seconds if value is not None and value > 0]
    if not known or len(known) != len(told) or None in made or ranks < 2:
        return None
    return bus_gbs(operation, ranks, min(value for value in made if value), max(known))


def _rate(
    parameters: Mapping[str, Any],
    size: int,
    told: Sequence[Mapping[str, Any]],
    ranks: int,
    pci_id: str,
) -> Measurement:
    """A size's bus bandwidth with its bounds. A limit holds for all sizes, a floor for large."""
    operation = str(parameters.get("operation"))
    name, value = f"{operation} {size_name(size)}", _gbs(operation, size, told, ranks)
    row = performance(pci_id) if pci_id else None
    within = "rendezvous" not in parameters
    limit = _limit(row, operation, ranks) if row and within else None
    if limit is None:
        return Measurement(
            name=name, value=value, unit="GB/s", required=False, reason="it is not told"
        )
    bounds = tuple(_priors(pci_id, operation, size, limit))
    if size >= LARGE:
        return physics.measurement(name, value, limit, bounds, reason="it is not told")
    if value is not None and value > limit.value * physics.TOLERANCE:
        return physics.measurement(name, value, limit, bounds)
    return Measurement(
        name=name, value=value, unit="GB/s", required=bool(bounds), bounds=bounds,
        reason="it is not told",
    )  # fmt: skip


def _limit(row: Performance, operation: str, ranks: int) -> Limit | None:
    if operation == "send_recv":
        return physics.p2p_limit(row, ranks)
    return physics.bus_limit(row, operation, ranks, in_switch=row.nvlink_gbs >= IN_SWITCH_GBS)


def _priors(pci_id: str, operation: str, size: int, limit: Limit) -> Iterable[Bound]:
    """What others measured at this size; that of their largest holds from there on."""
    known = priors(pci_id)
    at = known.get(f"{operation} {size_name(size)}")
    if at is None and size >= LARGEST:
        at = known.get(operation)
    if at is not None:
        yield physics.prior_floor(at, limit)
