"""How much a journal proves, and what its devices did meanwhile: numbers and curves for reports.

Nothing here judges: the checks of the same journal do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiprov.checks.burn_in import RARE_PER_HOUR, Device
from aiprov.checks.detection import detection_probability, upper_rate
from aiprov.checks.model import Subject
from aiprov.checks.told import finite
from aiprov.checks.validation import Coverage, Series

Record = Mapping[str, Any]
Points = Sequence[tuple[float, float]]

MOST_POINTS = 600
"""Of a curve."""
_VERIFIED = ("gemm", "train", "decode")
"""Kinds of cells whose every result is compared: what their time says of rare faults counts."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """A field of telemetry and what people call it."""

    field: str
    name: str
    unit: str


CURVES = (
    _Curve(field="temperature", name="temperature", unit="C"),
    _Curve(field="memory_temperature", name="memory temperature", unit="C"),
    _Curve(field="power", name="power", unit="W"),
    _Curve(field="sm_mhz", name="clock", unit="MHz"),
)


# ---------------------------------------------------------------- how much was verified


def coverage(records: Sequence[Record], devices: Mapping[str, Device]) -> tuple[Coverage, ...]:
    """How much was verified on each device of one host's journal.

    ``hours`` and ``products`` are those of cells that ended well; ``faults`` are all that were
    told, also of memory and copies and of cells that ended otherwise. Where a device multiplied
    and not all products were verified, that share of the time counts.
    """
    cells = _cells(records)
    ends = {record["cell"]: record for record in records if record["event"] == "end"}
    told: dict[str, int] = {}
    for record in records:
        if record["event"] == "fault":
            told[record["cell"]] = told.get(record["cell"], 0) + 1
    return tuple(
        _covered(
            device.subject,
            [
                (cell["kind"], ends.get(number, {}), told.get(number, 0))
                for number, cell in cells.items()
                if cell["device"] == name
            ],
        )
        for name, device in devices.items()
    )


def _covered(subject: Subject, ended: Iterable[tuple[str, Record, int]]) -> Coverage:
    seconds, products, faults = 0.0, 0, 0
    for kind, end, told in ended:
        result = end.get("result")
        result = result if isinstance(result, Mapping) else {}
        faults += max(told, int(finite(result.get("faults")) or 0))
        if end.get("status") != "done" or kind not in _VERIFIED:
            continue
        worked, share = finite(result.get("seconds")) or 0.0, 1.0
        if kind == "gemm":
            made, verified = (finite(result.get(name)) for name in ("products", "verified"))
            share = min(1.0, verified / made) if made and verified else 0.0
            products += int(verified or 0)
        seconds += max(0.0, worked) * share
    hours = seconds / 3600
    return Coverage(
        subject=subject,
        hours=hours,
        products=products,
        faults=faults,
        upper_per_hour=upper_rate(faults, hours) if hours > 0 else None,
        detection=detection_probability(RARE_PER_HOUR, seconds),
    )


def _cells(records: Iterable[Record]) -> dict[str, Record]:
    """By id, as they were planned."""
    plans = (record for record in records if record["event"] == "plan")
    return {cell["id"]: cell for plan in plans for cell in plan["cells"]}


# ---------------------------------------------------------------- curves


def series(
    records: Sequence[Record],
    devices: Mapping[str, Device],
    gpus: Mapping[str, Subject],
    began: float,
) -> tuple[Series, ...]:
    """Curves of one host's journal; those without points are not among them.

    ``gpus``: by PCI address, as telemetry tells of them. ``began``: Unix seconds at which the
    validation did. Throughput is that of each pass over products; of a cell that told of none, of
    all of it when it ended.
    """
    found: dict[tuple[Subject, str, str, str], list[tuple[float, float]]] = {}
    for subject, curve, value, at in _readings(records, gpus):
        key = (subject, curve.name, curve.unit, "")
        found.setdefault(key, []).append((at - began, value))
    for subject, dtype, phase, value, at in _rates(records, devices):
        unit = "TOPS" if dtype == "int8" else "TFLOPS"
        key = (subject, "throughput", unit, f"{dtype} {phase}")
        found.setdefault(key, []).append((at - began, value))
    return tuple(
        Series(subject=subject, name=name, unit=unit, label=label, points=_rounded(points))
        for (subject, name, unit, label), points in sorted(found.items(), key=lambda one: one[0])
    )


def _readings(
    records: Iterable[Record], gpus: Mapping[str, Subject]
) -> Iterator[tuple[Subject, _Curve, float, float]]:
    for record in records:
        told = record.get("gpus")
        if record["event"] != "telemetry" or not isinstance(told, Mapping):
            continue
        for address, subject in gpus.items():
            for curve in CURVES:
                value = finite((told.get(address) or {}).get(curve.field))
                if value is not None:
                    yield subject, curve, value, float(record["at"])


def _rates(
    records: Sequence[Record], devices: Mapping[str, Device]
) -> Iterator[tuple[Subject, str, str, float, float]]:
    """Of each pass: whose, the type and phase, TFLOPS, and when it ended."""
    cells = {number: cell for number, cell in _cells(records).items() if cell["kind"] == "gemm"}
    sampled = {record["cell"] for record in records if record["event"] == "sample"}
    for record in records:
        cell = cells.get(record.get("cell", ""))
        if cell is None or cell["device"] not in devices:
            continue
        told = record
        if record["event"] == "end" and record["cell"] not in sampled:
            told = record.get("result") or {}
        elif record["event"] != "sample":
            continue
        parameters = cell["parameters"]
        made, seconds, side = (
            finite(value)
            for value in (told.get("products"), told.get("seconds"), parameters.get("n"))
        )
        if made and seconds and side and seconds > 0:
            rate = 2 * side**3 * made / seconds / 1e12
            subject = devices[cell["device"]].subject
            yield subject, str(parameters["dtype"]), str(parameters["phase"]), rate, record["at"]


def _rounded(points: Points) -> tuple[tuple[float, float], ...]:
    """In the order of time, and no more exact than it was measured: a page has many of them."""
    ordered = sorted(points, key=lambda point: point[0])
    return tuple((round(at, 1), float(f"{value:.5g}")) for at, value in thinned(ordered))


def thinned(points: Points, most: int = MOST_POINTS) -> tuple[tuple[float, float], ...]:
    """At most so many points, with the first, the last and every part's lowest and highest."""
    if len(points) <= most:
        return tuple(points)
    inner, parts = points[1:-1], max(1, (most - 2) // 2)
    kept: list[tuple[float, float]] = [points[0]]
    for number in range(parts):
        part = inner[number * len(inner) // parts : (number + 1) * len(inner) // parts]
        lowest = min(range(len(part)), key=lambda place: part[place][1])
        highest = max(range(len(part)), key=lambda place: part[place][1])
        kept += [part[place] for place in sorted({lowest, highest})]
    return (*kept, points[-1])
