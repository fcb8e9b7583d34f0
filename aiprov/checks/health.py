"""Health under load: what a GPU's counters did while it worked, and what its driver asks for.

Counters are judged by what they rose by, and where good GPUs have some, by their rate: totals since
the driver was loaded say nothing of today. A counter that cannot be read before and after is not
measured; one that fell was reset in between, and so is not measured either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiprov.checks.links import observed_gpus, observed_ports
from aiprov.checks.model import Basis, Bound, Check, Evidence, Measurement, Subject
from aiprov.checks.rates import judged, per_hour, risen
from aiprov.checks.told import number

Record = Mapping[str, Any]

NAME = "health under load"
SLOWED_SHARE = 0.01
"""Of the time: what the driver may slow a good GPU down by heat, for moments."""


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A counter and how fast it may rise. ``per``: hour, or a share of time for microseconds.

    ``only_ecc``: GPUs without ECC do not have it. ``older``: the field of GPUs that have another;
    ``sampled``: whether it is so at a reading, of drivers that do not count.
    """

    field: str
    name: str
    most: float
    unit: str
    basis: Basis
    reason: str
    only_ecc: bool = False
    older: str = ""
    sampled: str = ""


COUNTERS = (
    Counter(field="dram_uncorrected", name="uncorrectable memory errors", most=0, unit="",
            basis="exact", reason="data was lost", only_ecc=True),
    Counter(field="sram_uncorrected", name="uncorrectable errors in SRAM", most=0, unit="",
            basis="exact", reason="data was lost", only_ecc=True),
    Counter(field="rows_remapped", name="rows remapped after uncorrectable errors", most=0, unit="",
            basis="exact", reason="memory failed", only_ecc=True, older="pages_retired"),
    Counter(field="dram_corrected", name="corrected memory errors", most=10, unit="/h",
            basis="prior", reason="good memory has few (NVSentinel 1748 had 4,647 a second)",
            only_ecc=True),
    Counter(field="sram_corrected", name="corrected errors in SRAM", most=10, unit="/h",
            basis="prior", reason="good memory has few", only_ecc=True),
    Counter(field="pcie_replays", name="PCIe replays", most=60, unit="/h", basis="prior",
            reason="a good link has nearly none"),
    Counter(field="slowed_by_heat_us", name="slowed down by the hardware's heat limit", most=0,
            unit="of the time", basis="exact", reason="cooling fails", sampled="slowed_by_heat"),
    Counter(field="power_brake_us", name="slowed down by the power brake", most=0,
            unit="of the time", basis="exact", reason="the power supply asks for it",
            sampled="power_brake"),
    Counter(field="slowed_by_software_us", name="slowed down by heat", most=SLOWED_SHARE,
            unit="of the time", basis="prior", reason="good cooling needs it for moments only",
            sampled="slowed_by_software"),
)  # fmt: skip
"""In ECC's words a counter of the driver's life: volatile."""
_ROWS = (
    ("remap_pending", "a row waits to be remapped"),
    ("remap_failed", "a row could not be remapped"),
)
_PAGES = (("pages_pending", "a page waits to be retired"),)
"""Of GPUs that have no rows to remap."""


def health(
    records: Sequence[Record], gpus: Mapping[str, Subject], *, ecc: bool | None = None
) -> tuple[Check, ...]:
    """A check for each GPU (by its PCI address) of a journal.

    ``ecc``: whether it is expected; ``None``: where the GPU says that it is on.
    """
    told = [record for record in records if record["event"] == "telemetry"]
    errors = [str(record["error"]) for record in told if "error" in record]
    answers = [record for record in told if record.get("gpus") is not None]
    silent = ""
    if told and told[-1].get("gpus") is None:
        silent = str(told[-1].get("error") or "no GPU")
    return tuple(
        _check(subject, [_reading(record, address) for record in answers], errors, ecc, silent)
        for address, subject in gpus.items()
    )


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """What one GPU said at a time; ``None`` where it did not."""

    at: float
    fields: Mapping[str, Any] | None


def _reading(record: Record, address: str) -> _Reading:
    return _Reading(at=float(record["at"]), fields=(record.get("gpus") or {}).get(address))


def _check(
    subject: Subject,
    readings: Sequence[_Reading],
    errors: Sequence[str],
    ecc: bool | None,
    silent: str,
) -> Check:
    """``silent``: why nothing answers for any GPU at the end: then nobody knows who was lost."""
    known = [reading for reading in readings if reading.fields is not None]
    evidence = tuple(Evidence.of("nvidia-smi -q -x", text) for text in dict.fromkeys(errors))
    if len(known) < 2:
        return Check(
            name=NAME, subject=subject, evidence=evidence,
            error=f"it was told of {len(known)} times, and counters are compared",
        )  # fmt: skip
    after, seconds = dict(known[-1].fields or {}), known[-1].at - known[0].at
    has_ecc = bool(after.get("ecc")) if ecc is None else ecc
    counted = [item for item in COUNTERS if has_ecc or not item.only_ecc]
    skipped = [item.name for item in COUNTERS if not has_ecc and item.only_ecc]
    missed = len(readings) - len(known)
    return Check(
        name=NAME,
        subject=subject,
        measurements=(
            Measurement(
                name="readings without this GPU",
                value=missed,
                bounds=(Bound(relation="at most", value=0, basis="exact", reason="it was lost"),),
            ),
            *(_counter(item, known, seconds) for item in counted),
            *_states(after, has_ecc=has_ecc),
            *_extremes(known),
        ),
        error=f"nothing was told at the end: {silent}" if silent else "",
        evidence=evidence,
        not_tested=tuple(f"{name}: no ECC" for name in skipped),
        seconds=seconds,
    )


def _counter(item: Counter, known: Sequence[_Reading], seconds: float) -> Measurement:
    told = [reading.fields or {} for reading in known]
    field = item.older if _is_older(item, told) else item.field
    values = [number(fields.get(field)) for fields in told]
    value, reason = risen(values)
    samples = [one for fields in told if (one := fields.get(item.sampled)) is not None]
    if item.sampled and values == [None] * len(values) and len(samples) > 1:
        share = sum(one is True for one in samples) / len(samples)
        return _at_most(item, share, "")
    if value is not None and item.unit == "/h":
        value = per_hour(value, seconds)
    elif value is not None and item.unit == "of the time":
        value = value / 1e6 / seconds if seconds > 0 else None
        reason = reason or ("" if seconds > 0 else "no time passed")
    return _at_most(item, value, reason)


def _at_most(item: Counter, value: float | None, why: str) -> Measurement:
    bound = Bound(relation="at most", value=item.most, basis=item.basis, reason=item.reason)
    return Measurement(
        name=item.name, value=judged(value, why, bound), unit=item.unit, bounds=(bound,), reason=why
    )


def _is_older(item: Counter, told: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a GPU has the older field and not the newer one: up to Turing pages are retired."""
    return bool(item.older) and all(
        one.get(item.field) is None and one.get(item.older) is not None for one in told
    )


def _states(after: Mapping[str, Any], *, has_ecc: bool) -> tuple[Measurement, ...]:
    found = [
        Measurement(
            name="recovery that the driver asks for", value=after.get("recovery"),
            bounds=(Bound(relation="exactly", value="None", basis="exact"),),
            required=after.get("recovery") is not None,  # drivers before 560 do not tell
        )
    ]  # fmt: skip
    if has_ecc:
        pages = after.get("remap_pending") is None and after.get("pages_pending") is not None
        for field, name in _PAGES if pages else _ROWS:
            bound = Bound(relation="exactly", value=False, basis="exact")
            found.append(
                Measurement(name=name, value=after.get(field), bounds=(bound,), reason="not told")
            )
    return tuple(item for item in found if item.required)


def _extremes(known: Sequence[_Reading]) -> tuple[Measurement, ...]:
    """What is recorded of a run, for people and for curves."""
    found = []
    for field, name, unit, pick in (
        ("temperature", "hottest", "C", max),
        ("memory_temperature", "hottest memory", "C", max),
        ("power", "most power", "W", max),
        ("sm_mhz", "fastest clock", "MHz", max),
    ):
        values = [
            value
            for reading in known
            if (value := number((reading.fields or {}).get(field))) is not None
        ]
        found.append(
            Measurement(
                name=name, value=pick(values) if values else None, unit=unit, required=False
            )
        )
    return tuple(found)


# ---------------------------------------------------------------- for the contract of expectations


def observed(records: Sequence[Record]) -> dict[str, Any] | None:
    """What a journal tells of a host, as ``expectations.diff`` reads it; ``None``: nothing.

    A PCIe link's reading under load is its best while the GPU worked: between cells it rests.
    NVLinks and ports do not rest, and are told as they were at their worst.
    """
    told = [record for record in records if record["event"] == "telemetry" and "gpus" in record]
    if not told:
        return None
    gpus, joined = {}, observed_gpus(records)
    for address, last in told[-1]["gpus"].items():
        readings = [record["gpus"].get(address) or {} for record in told]
        names = ("pci_id", "serial", "vbios", "ecc", "persistence", "mig")
        gpus[address] = {
            **{name: last.get(name) for name in names},
            **joined.get(address, {}),
            "idle": _link(readings[:1]),
            "load": _link(readings[1:]),
        }
    ports = observed_ports(records)
    return {"driver": told[-1].get("driver"), "gpus": gpus, "ports": ports}


def _link(readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The best link among readings; a slow one is slow in all of them."""
    return {
        name: max((value for one in readings if (value := one.get(name)) is not None), default=None)
        for name in ("pcie_generation", "pcie_width")
    }
