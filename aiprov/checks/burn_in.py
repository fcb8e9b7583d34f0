"""Judges what the payload's journal says of products, memory patterns and copies.

The payload measures and does not judge. Here every planned cell becomes a check, whatever became of
it: one that crashed, hung, was cut off or never began is not measured. What was verified is told as
numbers: products, the upper bound of their fault rate, the chance to have seen a rare fault.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiprov.catalog.performance import performance, priors
from aiprov.checks import bandwidth, collectives, loads, models, physics
from aiprov.checks.detection import CONFIDENCE, detection_probability, upper_rate
from aiprov.checks.model import Bound, Check, Evidence, Measurement, Subject
from aiprov.checks.told import none, number
from aiprov.errors import UsageError
from aiprov.payload.plan import devices_of

Record = Mapping[str, Any]

GPU_SHARE = 0.95
"""Of a GPU's free memory that patterns must have gone over."""
PATTERNS = ("own address", "random", "inversions")
"""That memory is gone over with."""
RARE_PER_HOUR = 1.0
"""The rate of the fault whose chance of detection is told."""
MOST_FAULTS = 20
"""Kept as evidence for a check."""
GOLDEN = "same products as others"


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a device of the payload is. ``pci_id``: empty for a CPU that stands for a GPU.

    ``pcie``: the generation and width that its link should have; ``None``: those of the catalog.
    """

    subject: Subject
    pci_id: str = ""
    pcie: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """A planned cell and what is known of it; ``end`` is ``None`` where it has none.

    ``devices``: how many it is on; ``mates``: how many its host has.
    """

    device: Device
    devices: int
    mates: int
    kind: str
    parameters: Mapping[str, Any]
    end: Record | None
    faults: tuple[Record, ...]

    @property
    def name(self) -> str:
        if self.kind == "gemm":
            own = f"products {self.parameters['dtype']} {self.parameters['phase']}"
            return f"{own}{loads.suffix(self.parameters)}"
        if self.kind in ("train", "decode", models.TOGETHER):
            return models.name(self.parameters, self.kind)
        if self.kind == "collective":
            return collectives.check_name(self.parameters, self.devices)
        if self.kind == "copy":
            return f"copies {self.parameters.get('path')}"
        return "memory patterns" if self.kind == "memory" else self.kind


def judge(
    records: Sequence[Record], devices: Mapping[str, Device], *, self_test: bool = False
) -> tuple[Check, ...]:
    """A check for each planned cell of one host's journal.

    Raises ``UsageError`` for the journal of a self-test, unless it is one: faults were put into it.
    And for a device that is not among ``devices``: nobody would hear of it.
    """
    plans = [record for record in records if record["event"] == "plan"]
    if any(plan["self_test"] for plan in plans) != self_test:
        raise UsageError(
            "this journal is of a self-test: what it found was put there"
            if not self_test
            else "this journal is of no self-test",
            hint="validate again without --self-test" if not self_test else "give --self-test",
        )
    return tuple(_check(cell) for cell in _cells(records, plans, devices))


def _cells(
    records: Sequence[Record], plans: Iterable[Record], devices: Mapping[str, Device]
) -> list[_Cell]:
    ends = {record["cell"]: record for record in records if record["event"] == "end"}
    faults: dict[str, list[Record]] = {}
    for record in records:
        if record["event"] == "fault":
            faults.setdefault(record["cell"], []).append(record)
    cells = {cell["id"]: cell for plan in plans for cell in plan["cells"]}
    unknown = sorted(
        {one for cell in cells.values() for one in devices_of(cell["device"])} - set(devices)
    )
    if unknown:
        raise UsageError(f"the journal has devices that the host has not: {', '.join(unknown)}")
    return [
        _Cell(
            device=_together([devices[one] for one in devices_of(cell["device"])]),
            devices=len(devices_of(cell["device"])),
            mates=len(devices),
            kind=cell["kind"],
            parameters=cell["parameters"],
            end=ends.get(name),
            faults=tuple(faults.get(name, ())),
        )
        for name, cell in cells.items()
    ]


def _together(devices: Sequence[Device]) -> Device:
    """The devices of a cell as one: of several it is their host that is judged."""
    if len(devices) == 1:
        return devices[0]
    models_ = {device.pci_id for device in devices}
    return Device(
        subject=Subject(host=devices[0].subject.host),
        pci_id=models_.pop() if len(models_) == 1 else "",
    )


def _check(cell: _Cell) -> Check:
    end: Record = cell.end or {"status": "no end", "error": "planned, and no result came"}
    status, result = str(end.get("status")), end.get("result") or {}
    evidence = [
        Evidence.of("payload", json.dumps(fault, sort_keys=True))
        for fault in cell.faults[:MOST_FAULTS]
    ]
    error, measurements = "", tuple[Measurement, ...]()
    if status != "done":
        error = f"{status}: {end.get('error') or 'no reason is told'}"
        if cell.faults:  # what it saw before it ended is seen all the same
            measurements = (none("faults", len(cell.faults)),)
    elif wrong := _of_another(cell, result):
        error = f"the result is of another test: {wrong}"
    elif cell.kind == "gemm":
        measurements = _products(cell, result)
    elif cell.kind == "memory":
        measurements = _memory(cell, result)
    elif cell.kind in ("train", "decode"):
        measurements = models.model(cell.kind, cell.parameters, result, cell.device.pci_id)
    elif cell.kind == models.TOGETHER:
        measurements = models.together(
            cell.parameters, result, cell.device.pci_id, cell.devices, len(cell.faults)
        )
    elif cell.kind == "collective":
        measurements = collectives.collective(
            cell.parameters, result, cell.devices, cell.device.pci_id, cell.faults
        )
    elif cell.kind == "copy":
        own = cell.device
        measurements = bandwidth.copies(cell.parameters, result, own.pci_id, own.pcie, cell.mates)
    else:
        error = f"nobody knows how to judge {cell.kind}"
    if status == "done" and cell.faults:  # whatever the result says of them
        measurements = (*measurements, none("faults that were told", len(cell.faults)))
    return Check(
        name=cell.name, subject=cell.device.subject, measurements=measurements, error=error,
        evidence=tuple(evidence), seconds=number(result.get("elapsed_s")) or 0.0,
    )  # fmt: skip


def _of_another(cell: _Cell, result: Record) -> str:
    """What of a result is not of its cell; empty where it is."""
    if cell.device.pci_id and result.get("hardware") == "CPU":
        return "it was made on a CPU"
    for name in ("dtype", "phase", "n") if cell.kind == "gemm" else ("path",):
        if name in result and result[name] != cell.parameters.get(name):
            return f"{name} {result[name]} where {cell.parameters.get(name)} is planned"
    return ""


def _products(cell: _Cell, result: Record) -> tuple[Measurement, ...]:
    products, verified = number(result.get("products")), number(result.get("verified"))
    seconds, flop = number(result.get("seconds")), number(result.get("flop"))
    told = number(result.get("faults"))
    faults = None if told is None else max(told, float(len(cell.faults)))
    missing = None if products is None or verified is None else products - verified
    rate = flop / seconds / 1e12 if flop and seconds else None
    return (
        none("faults", faults),
        none("products not verified", missing),
        Measurement(
            name="products", value=products, required=True,
            bounds=(Bound(relation="at least", value=2, basis="exact", reason="one is compared "
                          "with another"),),
        ),
        _rate(cell, rate),
        *loads.shape(cell.parameters, result),
        *_coverage(faults, verified, seconds),
    )  # fmt: skip


def _rate(cell: _Cell, rate: float | None) -> Measurement:
    """The throughput: of a GPU bounded by physics and priors, of a CPU only recorded."""
    dtype, pci_id = str(cell.parameters["dtype"]), cell.device.pci_id
    row = performance(pci_id) if pci_id else None
    limit = physics.product_limit(row, dtype) if row else None
    unit = "TOPS" if dtype == "int8" else "TFLOPS"
    # Between rests clocks rise and fall: nothing says how fast that is.
    if limit is None or loads.pulsed(cell.parameters):
        return Measurement(
            name=dtype, value=rate, unit=unit, required=False, reason="no time was told"
        )
    known = priors(pci_id).get(dtype)
    bounds = [physics.prior_floor(known, limit)] if known else []
    return physics.measurement(dtype, rate, limit, bounds, unit=unit, reason="no time was told")


def _coverage(
    faults: float | None, verified: float | None, seconds: float | None
) -> tuple[Measurement, ...]:
    """What the numbers say of faults that were not seen. Recorded, not judged."""
    if faults is None or not verified or not seconds:
        return ()
    share = f"{CONFIDENCE:.0%}"
    hours = seconds / 3600
    return (
        Measurement(
            name=f"fault rate, upper {share} bound", unit="/h", required=False,
            value=upper_rate(int(faults), hours),
        ),
        Measurement(
            name=f"faults a product, upper {share} bound", required=False,
            value=upper_rate(int(faults), verified),
        ),
        Measurement(
            name="chance to see a fault of once an hour", required=False,
            value=detection_probability(RARE_PER_HOUR, seconds),
        ),
    )  # fmt: skip


def _memory(cell: _Cell, result: Record) -> tuple[Measurement, ...]:
    told, share = number(result.get("faults")), number(result.get("share"))
    faults = None if told is None else max(told, float(len(cell.faults)))
    of_gpu = Bound(
        relation="at least", value=GPU_SHARE, basis="exact", reason="of the memory that is free"
    )
    gbs, seconds = result.get("gbs"), result.get("seconds")
    took = seconds if isinstance(seconds, Mapping) else {}
    missing = [name for name in PATTERNS if not number(took.get(name))]
    all_ = Bound(
        relation="exactly", value=len(PATTERNS), basis="exact", reason=f"{', '.join(PATTERNS)}"
    )
    return (
        none("wrong words", faults),
        Measurement(
            name="patterns", value=len(PATTERNS) if not missing else None, bounds=(all_,),
            reason=f"{', '.join(missing)} took no time",
        ),
        Measurement(
            name="share of memory", value=share, required=bool(cell.device.pci_id),
            bounds=(of_gpu,) if cell.device.pci_id else (),
        ),
        *(
            Measurement(name=f"{name} patterns", value=number(value), unit="GB/s", required=False)
            for name, value in sorted((gbs if isinstance(gbs, Mapping) else {}).items())
        ),
    )  # fmt: skip


# ---------------------------------------------------------------- the same products as others


def golden(
    journals: Mapping[str, tuple[Sequence[Record], Mapping[str, Device]]],
) -> tuple[Check, ...]:
    """Whether GPUs of one kind made the same products of the same seeds; a check a GPU.

    ``journals``: by host its records and devices. Hashes are compared among devices of the same
    hardware and software; most must agree, and they must be two at least. Cells that repeat the
    same work on a device are compared as well. Where nobody made the same products there is no
    check. This finds what a GPU does wrong alike each time.
    """
    hashes: dict[tuple[Any, ...], dict[Subject, set[str]]] = {}
    for records, devices in journals.values():
        for cell in _cells(records, [r for r in records if r["event"] == "plan"], devices):
            for key, value in _references(cell):
                hashes.setdefault(key, {}).setdefault(cell.device.subject, set()).add(value)
    same: dict[Subject, Counter[str]] = {}
    for by_subject in hashes.values():
        # A device that made the same twice and not alike has several.
        every = [value for values in by_subject.values() for value in values]
        if len(every) < 2:
            continue
        usual = _majority(every)
        for subject, values in by_subject.items():
            word = "unsettled" if usual is None else "same" if values == {usual} else "other"
            same.setdefault(subject, Counter())[word] += 1
    return tuple(_golden_check(subject, counts) for subject, counts in sorted(same.items()))


def _references(cell: _Cell) -> Iterable[tuple[tuple[Any, ...], str]]:
    result = (cell.end or {}).get("result") or {}
    ranks = result.get("ranks")
    for one in ranks.values() if isinstance(ranks, Mapping) else (result,):
        kind = tuple(one.get(name) for name in ("hardware", "software", "dtype", "phase", "n"))
        for reference in one.get("references") or ():
            yield (*kind, reference.get("seed")), str(reference.get("hash"))


def _majority(values: Iterable[str]) -> str | None:
    counts = Counter(values)
    (value, count), *_ = counts.most_common(1)
    return value if count > 1 and count * 2 > counts.total() else None


def _golden_check(subject: Subject, counts: Counter[str]) -> Check:
    return Check(
        name=GOLDEN,
        subject=subject,
        measurements=(
            none("products unlike those of most", counts["other"]),
            none("products about which others disagree", counts["unsettled"] or 0)
            if not counts["unsettled"]
            else Measurement(
                name="products about which others disagree", value=None,
                reason=f"{counts['unsettled']}, and nobody knows who is right",
            ),
            Measurement(name="products compared", value=counts.total(), required=False),
        ),
    )  # fmt: skip
