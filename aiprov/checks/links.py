"""Links under load: what the counters of NVLinks, PCI Express links and ports did meanwhile.

From the ``links`` records of a journal (``payload/links.py``). Counters are judged by what they
rose by, link by link, the worst one of them; one that is expected and cannot be read before and
after is not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiprov.checks.expectations import Expectations
from aiprov.checks.model import Basis, Bound, Check, Evidence, Measurement, Subject
from aiprov.checks.rates import judged, per_hour, risen
from aiprov.checks.told import number

Record = Mapping[str, Any]
Counts = Mapping[str, Any]

NAME = "links under load"
PORT = "port under load"
SOURCE = "links"
ACTIVE = "ACTIVE"


@dataclass(frozen=True, kw_only=True)
class Counter:
    """Counters that say the same, by the names of several drivers, and how fast they may rise.

    ``most``: an hour; of 0 none is good. ``full``: where a counter stays when it has counted to its
    end; 0 for one that has none.
    """

    names: tuple[str, ...]
    name: str
    most: float
    basis: Basis
    reason: str
    full: int = 0


NVLINK = (
    Counter(names=("Replay Errors",), name="NVLink replays", most=60, basis="prior",
            reason="a good link has nearly none"),
    Counter(names=("Recovery Errors", "Link recovery failed events"), name="NVLink recoveries",
            most=0, basis="exact", reason="the link was lost for a moment"),
    Counter(names=("CRC Errors", "CRC FLIT Errors", "CRC Flit Errors", "CRC Data Errors",
                   "ECC Errors"),
            name="NVLink CRC errors", most=100, basis="prior", reason="DCGM allows as many in all"),
    Counter(names=("Malformed packet Errors", "Buffer overrun Errors", "Rx Errors",
                   "Rx remote Errors", "Rx General Errors", "Local link integrity Errors",
                   "Tx discards"),
            name="NVLink packet errors", most=0, basis="prior",
            reason="a healthy HGX B300 has none"),
    Counter(names=("Effective Errors", "Symbol Errors"), name="NVLink errors after correction",
            most=10, basis="prior", reason="a link of 1e-15 errors a bit has 3 an hour"),
    Counter(names=("Link recovery successful events",), name="NVLinks that were trained again",
            most=10, basis="prior", reason="a good link seldom needs it"),
)  # fmt: skip
"""Drivers up to Hopper's links tell the first three, those of Blackwell the last ones.

Published outputs of drivers 535 to 595 (tests/checks/nvlink, read 2026-11-21). What is corrected
before it is an error (FEC, raw bit errors) is not judged: healthy links have billions.
"""
PCIE = (
    Counter(names=("correctable",), name="corrected PCIe errors", most=60, basis="prior",
            reason="a good link has nearly none"),
    Counter(names=("nonfatal", "fatal"), name="uncorrected PCIe errors", most=0, basis="exact",
            reason="data was lost"),
)  # fmt: skip
PORTS = (
    Counter(names=("link_downed",), name="link losses", most=0, basis="exact", full=255,
            reason="the cable, its ends or the switch"),
    Counter(names=("link_error_recovery",), name="link recoveries", most=0, basis="exact",
            full=255, reason="the link was lost for a moment"),
    Counter(names=("symbol_error",), name="symbol errors", most=10, basis="prior", full=65535,
            reason="a good cable has few"),
    Counter(names=("port_rcv_errors",), name="packets received with errors", most=10,
            basis="prior", full=65535, reason="a good cable has few"),
    Counter(names=("local_link_integrity_errors",), name="local link integrity errors", most=0,
            basis="prior", full=15, reason="a good cable has none"),
    Counter(names=("excessive_buffer_overrun_errors",), name="buffer overruns", most=0,
            basis="prior", full=15, reason="a good port has none"),
)  # fmt: skip
"""``full``: widths of the InfiniBand specification's PortCounters, at whose end they stay."""


def links(
    records: Sequence[Record],
    host: str,
    gpus: Mapping[str, Subject],
    contract: Expectations | None = None,
) -> tuple[Check, ...]:
    """A check for each GPU (by its PCI address) and for each port that was ever active.

    ``contract``: says which GPUs must have NVLinks; without it those that show any.
    """
    told = [record for record in records if record["event"] == "links"]
    wanted = {gpu.address: gpu.nvlinks for gpu in contract.gpus} if contract else {}
    uuids = _uuids(records)
    return (
        *(_gpu(told, subject, address, uuids.get(address), wanted.get(address))
          for address, subject in gpus.items()),
        *_ports(told, host),
    )  # fmt: skip


def _uuids(records: Iterable[Record]) -> dict[str, str]:
    found = {}
    for record in records:
        for address, fields in (record.get("gpus") or {}).items():
            if record["event"] == "telemetry" and fields.get("uuid"):
                found[address] = str(fields["uuid"])
    return found


def _said(told: Iterable[Record]) -> tuple[Evidence, ...]:
    errors = [
        text for one in told for text in (*(one.get("errors") or ()), one.get("error")) if text
    ]
    return tuple(Evidence.of(SOURCE, str(text)) for text in dict.fromkeys(errors))


def _end(told: Sequence[Record]) -> str:
    """Why what they were after the load is not known; empty where it is."""
    return "" if told and told[-1].get("gpus") is not None else "they were not told at the end"


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """What was told at a time of one GPU's or port's links."""

    at: float
    fields: Mapping[str, Any]


def _gpu(
    told: Sequence[Record], subject: Subject, address: str, uuid: str | None, wanted: int | None
) -> Check:
    listed = [one for one in told if one.get("gpus") is not None]
    there = [_Reading(at=float(one["at"]), fields=one["gpus"][address])
             for one in listed if address in one["gpus"]]  # fmt: skip
    if len(there) < 2:
        why = f"it was told of {len(there)} times, and counters are compared"
        return Check(name=NAME, subject=subject, error=why, evidence=_said(told))
    nvlinks = [
        _Reading(at=float(one["at"]), fields=(one.get("nvlinks") or {}).get(uuid) or {})
        for one in listed
    ]
    measured, lines, not_tested = _nvlinks(nvlinks, wanted)
    for place, of in (("aer", ""), ("upstream", " of the port above")):
        found, more = _aer(there, place, of)
        measured, lines = [*measured, *found], [*lines, *more]
        if not found:
            not_tested.append(f"PCIe errors{of}: the kernel does not count them")
    missed = Measurement(
        name="readings without this GPU on the bus", value=len(listed) - len(there),
        bounds=(Bound(relation="at most", value=0, basis="exact", reason="it was lost"),),
    )  # fmt: skip
    return Check(
        name=NAME, subject=subject, measurements=(missed, *measured),
        evidence=(*(Evidence.of(SOURCE, line) for line in lines), *_said(told)),
        error=_end(told), not_tested=(*not_tested,), seconds=there[-1].at - there[0].at,
    )  # fmt: skip


def _nvlinks(
    readings: Sequence[_Reading], wanted: int | None
) -> tuple[list[Measurement], list[str], list[str]]:
    """Measurements, lines of evidence, and what is not tested."""
    active = [set(_active(one.fields)) for one in readings if one.fields.get("speeds") is not None]
    ever: set[str] = set().union(*active)
    if not ever and not wanted:
        return [], [], ["NVLinks: none is active and none is expected"]
    went = len(ever) - min(map(len, active), default=0)
    why = (
        "" if readings[-1].fields.get("speeds") is not None else "they could not be read at the end"
    )
    none = Bound(relation="at most", value=0, basis="exact", reason="all stay active")
    lost = Measurement(
        name="NVLinks that went down", value=judged(went, why, none), bounds=(none,), reason=why
    )
    counted = [one.fields.get("counters") or {} for one in readings]
    if not ever:
        return [lost, _unknown("errors of NVLinks", "they could not be read")], [], []
    seconds = readings[-1].at - readings[0].at
    found, lines = [], list[str]()
    for item in NVLINK:
        known = [_counts(one, item, ever) for one in counted]
        if any(name is not None for one in known for name in one.values()):
            told = {link: [one[link] for one in known] for link in sorted(ever, key=int)}
            measured, more = _worst(item, told, seconds, "link ")
            found.append(measured)
            lines += more
    if not found:
        why = "the driver tells no counter that is known"
        return [lost, _unknown("errors of NVLinks", why)], [], []
    speeds = [speed for one in readings for speed in _active(one.fields).values()]
    recorded = [
        Measurement(name="NVLinks that were active", value=len(ever), required=False),
        Measurement(
            name="slowest NVLink", value=min(speeds), unit="GB/s of a link", required=False
        ),
    ]
    return [lost, *found, *recorded], lines, []


def _active(fields: Mapping[str, Any]) -> dict[str, float]:
    speeds = fields.get("speeds") or {}
    return {link: value for link, one in speeds.items() if (value := number(one)) is not None}


def _counts(
    counters: Mapping[str, Counts], item: Counter, of: Iterable[str]
) -> dict[str, float | None]:
    return {link: _sum(counters.get(link) or {}, item) for link in of}


def _sum(counts: Counts, item: Counter) -> float | None:
    """The sum of a counter's names that are told; ``None`` where none is."""
    values = [value for name in item.names if (value := number(counts.get(name))) is not None]
    return sum(values) if values else None


def _worst(
    item: Counter, told: Mapping[str, Sequence[float | None]], seconds: float, word: str
) -> tuple[Measurement, list[str]]:
    """The rate of the worst of several links; of each that counted, a line that says what.

    ``told``: by link its counter at each reading.
    """
    rises, why, lines = list[float](), "", list[str]()
    for name, values in told.items():
        rise, reason = risen(values, item.full)
        why = why or (f"{word}{name}: {reason}" if reason else "")
        if rise is not None:
            rises.append(rise)
        if rise:
            lines.append(f"{word}{name}: {item.name}: {rise:g} more in {seconds:.0f} s")
    worst = max(rises, default=None)
    value = None if worst is None else per_hour(worst, seconds) if item.most else worst
    bound = Bound(relation="at most", value=item.most, basis=item.basis, reason=item.reason)
    measured = Measurement(
        name=item.name, value=judged(value, why, bound), unit="/h" if item.most else "",
        bounds=(bound,), reason=why,
    )  # fmt: skip
    return measured, lines


def _unknown(name: str, why: str) -> Measurement:
    bound = Bound(relation="at most", value=0, basis="exact")
    return Measurement(name=name, value=None, bounds=(bound,), reason=why)


def _aer(readings: Sequence[_Reading], place: str, of: str) -> tuple[list[Measurement], list[str]]:
    """Nothing where no reading has counters: the firmware may keep them from the kernel."""
    if all(one.fields.get(place) is None for one in readings):
        return [], []
    counts = [one.fields.get(place) or {} for one in readings]
    seconds = readings[-1].at - readings[0].at
    found, lines = [], list[str]()
    for item in PCIE:
        told = {place: [_sum(one, item) for one in counts]}
        measured, more = _worst(item, told, seconds, "")
        found.append(Measurement(
            name=f"{measured.name}{of}", value=measured.value, unit=measured.unit,
            bounds=measured.bounds, reason=measured.reason,
        ))  # fmt: skip
        lines += more
    return found, lines


# ---------------------------------------------------------------- ports


def _ports(told: Sequence[Record], host: str) -> Iterable[Check]:
    listed = [one for one in told if one.get("ports") is not None]
    names = {
        name for one in listed for name, port in one["ports"].items() if port.get("state") == ACTIVE
    }
    for name in sorted(names):
        own = [_Reading(at=float(one["at"]), fields=one["ports"][name])
               for one in listed if name in one["ports"]]  # fmt: skip
        subject = Subject(host=host, kind="nic", id=name, label=f"port {name}")
        check = _port(subject, own, len(listed) - len(own), _said(told))
        yield replace(check, error=check.error or _end(told))


def _port(
    subject: Subject, own: Sequence[_Reading], missed: int, said: Sequence[Evidence]
) -> Check:
    if len(own) < 2:
        why = f"it was told of {len(own)} times, and counters are compared"
        return Check(name=PORT, subject=subject, error=why, evidence=(*said,))
    first, last = own[0], own[-1]
    seconds = last.at - first.at
    down = sum(one.fields.get("state") != ACTIVE for one in own)
    rates = [number(one.fields.get("rate_gbps")) for one in own]
    slowest = None if None in rates else min((one for one in rates if one), default=None)
    begun = number(first.fields.get("rate_gbps"))
    kept = () if begun is None else (
        Bound(relation="at least", value=begun, basis="exact", reason="as when it began"),
    )  # fmt: skip
    none = (Bound(relation="at most", value=0, basis="exact", reason="it stays active"),)
    measured = [
        Measurement(name="readings without this port", value=missed, bounds=none),
        Measurement(name="readings in which it is not active", value=down, bounds=none),
        Measurement(name="slowest rate", value=slowest, unit="Gb/s", bounds=kept, reason="not told",
                    required=begun is not None),
    ]  # fmt: skip
    lines = list[str]()
    counts = [one.fields.get("counters") or {} for one in own]
    absent = [item.name for item in PORTS if all(_sum(one, item) is None for one in counts)]
    for item in PORTS:
        if item.name not in absent:
            told = {subject.id: [_sum(one, item) for one in counts]}
            one, more = _worst(item, told, seconds, "port ")
            measured.append(one)
            lines += more
    if len(absent) == len(PORTS):
        measured.append(_unknown("errors of the port", "its adapter tells no counter"))
        absent = []
    return Check(
        name=PORT, subject=subject, measurements=(*measured,),
        evidence=(*(Evidence.of(SOURCE, line) for line in lines), *said),
        not_tested=tuple(f"{name}: the adapter does not count them" for name in absent),
        seconds=seconds,
    )  # fmt: skip


# ---------------------------------------------------------------- for the contract of expectations


def observed_gpus(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """By PCI address ``numa_node`` and ``nvlinks``: GB/s of the active ones in the worst reading.

    What was never told is ``None``.
    """
    told = [record for record in records if record["event"] == "links"]
    uuids, found = _uuids(records), dict[str, dict[str, Any]]()
    for one in told:
        for address, fields in (one.get("gpus") or {}).items():
            own = found.setdefault(address, {"numa_node": None, "nvlinks": None})
            own["numa_node"] = fields.get("numa_node")
            nvlinks = (one.get("nvlinks") or {}).get(uuids.get(address)) or {}
            if nvlinks.get("speeds") is not None:
                own["nvlinks"] = _less(own["nvlinks"], sorted(_active(nvlinks).values()))
    return found


def _less(one: list[float] | None, other: list[float]) -> list[float]:
    """The reading with fewer links, or of as many the slower."""
    if one is None:
        return other
    key: Callable[[list[float]], tuple[int, list[float]]] = lambda speeds: (len(speeds), speeds)  # noqa: E731
    return min(one, other, key=key)


def observed_ports(records: Sequence[Record]) -> dict[str, dict[str, Any]] | None:
    """The ports at their worst: active only where they always were; ``None``: never told."""
    told = [record["ports"] for record in records
            if record["event"] == "links" and record.get("ports") is not None]  # fmt: skip
    if not told:
        return None
    found = {}
    for name in {name for one in told for name in one}:
        own = [one.get(name) or {} for one in told]
        states = [one.get("state") for one in own]
        rates = [number(one.get("rate_gbps")) for one in own]
        known = [rate for rate in rates if rate is not None]
        found[name] = {
            "state": next((state for state in states if state != ACTIVE), ACTIVE),
            "rate_gbps": min(known) if len(known) == len(rates) else None,
        }
    return found
