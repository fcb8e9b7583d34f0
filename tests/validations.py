"""Validations as a fleet of H200 makes them: judged by the real rules from made-up journals.

``example()`` is 8 hosts of 8 GPUs. One GPU is slow and hot, one makes bit faults, one hangs, one
host is not reachable and one is in use. Everything in it is made of a fixed seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiprov.checks import burn_in, fleet, health
from aiprov.checks.burn_in import Device
from aiprov.checks.detection import detection_probability, upper_rate
from aiprov.checks.model import Bound, Check, Evidence, Measurement, Subject
from aiprov.checks.validation import Action, Coverage, Gpu, HostRun, Series, Validation

STARTED = "2026-11-21T02:11:09+00:00"
H200 = "10de:2335"
MODEL = "NVIDIA H200"
ADDRESSES = ("18", "2a", "3a", "5d", "9a", "ab", "ba", "db")
SECONDS = 1200.0

SLOW = ("gpu05", 5)
WRONG = ("gpu02", 3)
HUNG = ("gpu06", 1)
UNREACHABLE = "gpu07"
IN_USE = "gpu08"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202egnp.exe\x00"

TFLOPS = {"fp64": 61.0, "tf32": 415.0, "bf16": 778.0, "fp16": 771.0, "fp8": 1420.0, "int8": 1490.0}
PATHS = {"h2d": 55.2, "d2h": 54.8, "d2d": 4080.0}
PATTERNS = {"own address": 3910.0, "random": 3840.0, "inversions": 3890.0}
FAULT = {
    "what": "product", "dtype": "fp64", "phase": "B", "product": 48211, "wrong": 37,
    "tiles": [[12, 7], [12, 8]],
    "elements": [
        {"row": 1569, "column": 903, "mask": "0000000000400000"},
        {"row": 1569, "column": 911, "mask": "0000000000400000"},
        {"row": 1570, "column": 1027, "mask": "0000000000600000"},
    ],
    "at": 391.4, "temperature": 71, "sm_mhz": 1755, "power": 688.2,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Part:
    """A GPU of the fleet and what is wrong with it."""

    host: str
    index: int
    fault: str = ""

    @property
    def subject(self) -> Subject:
        serial = f"165{int(self.host[3:]):04d}{self.index:06d}"
        return Subject(host=self.host, kind="gpu", id=serial, label=f"GPU {self.index}")

    @property
    def address(self) -> str:
        return f"0000:{ADDRESSES[self.index % 8]}:00.0"


def example(**changes: Any) -> Validation:
    """The fleet that everything is wrong with."""
    made = of_fleet(
        8,
        faults={SLOW: "slow", WRONG: "wrong", HUNG: "hung"},
        away={UNREACHABLE: "unreachable", IN_USE: "refused"},
    )
    return replace(made, **changes)


def healthy(hosts: int = 8) -> Validation:
    """A fleet that nothing is wrong with."""
    return of_fleet(hosts)


def of_fleet(
    count: int,
    *,
    gpus: int = 8,
    faults: Mapping[tuple[str, int], str] | None = None,
    away: Mapping[str, str] | None = None,
) -> Validation:
    """A fleet of ``gpu01`` and so on."""
    noise = random.Random(5)
    digits = max(2, len(str(count)))
    hosts = [f"gpu{number:0{digits}d}" for number in range(1, count + 1)]
    found, absent = faults or {}, away or {}
    present = [host for host in hosts if host not in absent]
    parts = [
        Part(host=host, index=index, fault=found.get((host, index), ""))
        for host in present
        for index in range(gpus)
    ]
    checks = [check for part in parts for check in _checks(part, noise)]
    models = {part.subject: MODEL for part in parts}
    own = [check for host in present for check in _of_host(host)]
    return Validation(
        campaign="2026-11-21-0211-2f9c",
        started=STARTED,
        seconds=SECONDS + 47,
        budget_s=SECONDS,
        hosts=tuple(_run(host, absent) for host in hosts),
        checks=(*fleet.judged(checks, (), models), *own),
        gpus=tuple(
            Gpu(subject=part.subject, model=MODEL, address=part.address, uuid=_uuid(part))
            for part in parts
        ),
        series=tuple(one for part in parts for one in _series(part, noise)),
        coverage=tuple(_covered(part) for part in parts),
        by_fault={
            "wrong products": 0.93, "wrong memory": 0.88, "slow GPU": 0.97, "bad cooling": 0.81,
            "narrow PCIe link": 0.99, "slow NVLink": 0.0,
        },
        not_tested=(
            "collectives across hosts: no budget was left for them",
            "InfiniBand: nothing says which ports there should be",
        ),
        actions=(
            Action(host="gpu02", kind="cordon", done=True, message="taint aiprov.io/validation"),
            Action(host="gpu05", kind="cordon", done=False, message="the API answered 403"),
        ) if found else (),
    )  # fmt: skip


def _run(host: str, away: Mapping[str, str]) -> HostRun:
    if host not in away:
        return HostRun(host=host, status="done", seconds=SECONDS + int(host[3:]) % 7)
    if away[host] == "unreachable":
        return HostRun(
            host=host, status="unreachable", message="no answer on port 22 in 20 s",
            hint="see whether it has power, or take it out of the inventory",
        )  # fmt: skip
    return HostRun(
        host=host, status="refused", seconds=3.1,
        message="GPUs are in use: GPU 2 by process 48213 (python3 train.py)",
        hint="drain the host, or wait for its job",
    )  # fmt: skip


def _uuid(part: Part) -> str:
    return f"GPU-{random.Random(part.subject.id).getrandbits(128):032x}"


# ---------------------------------------------------------------- checks, from journals


def _checks(part: Part, noise: random.Random) -> tuple[Check, ...]:
    device = Device(subject=part.subject, pci_id=H200)
    judged = burn_in.judge(_journal(part, noise), {"cuda:0": device})
    return (*judged, *_health(part), _golden(part), _kernel(part))


def _journal(part: Part, noise: random.Random) -> list[dict[str, Any]]:
    good = 1.0 + noise.gauss(0, 0.0025)  # silicon differs
    speed = good * (0.86 if part.fault == "slow" else 1.0)
    cells: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for dtype, rate in TFLOPS.items():
        for phase in "AB":
            value = rate * speed * (1 + noise.gauss(0, 0.001))
            result = _products(
                value, wrong=part.fault == "wrong" and (dtype, phase) == ("fp64", "B")
            )
            cells.append(("gemm", {"dtype": dtype, "phase": phase}, result))
    gbs = {name: rate * good for name, rate in PATTERNS.items()}
    cells.append(
        (
            "memory",
            {},
            {
                "faults": 0,
                "share": 0.973,
                "gbs": gbs,
                "elapsed_s": 61.0,
                "seconds": dict.fromkeys(gbs, 20.0),
            },
        )
    )
    for path, rate in PATHS.items():
        told = {"faults": 0, "copies": 800, "gbs": rate * (1 + noise.gauss(0, 0.004))}
        cells.append(("copy", {"path": path}, told))
    train = {
        "faults": 0, "not_finite": 0, "steps": 96, "tokens": 96 * 16384.0, "flop": 1.05e16,
        "seconds": 39.0 / speed * (1 + noise.gauss(0, 0.002)),
    }  # fmt: skip
    cells.append(("train", {"model": "1b", "dtype": "bf16", "batch": 8, "length": 2048}, train))
    return _records(part, cells)


def _products(rate: float, *, wrong: bool) -> dict[str, Any]:
    products = 5200
    return {
        "products": products, "verified": products, "faults": 37 if wrong else 0,
        "flop": rate * 1e12 * 40.0, "seconds": 40.0, "elapsed_s": 44.2,
    }  # fmt: skip


def _records(
    part: Part, cells: Sequence[tuple[str, dict[str, Any], dict[str, Any]]]
) -> list[dict[str, Any]]:
    plan = [
        {"id": f"c{number}", "kind": kind, "device": "cuda:0", "parameters": parameters}
        for number, (kind, parameters, _) in enumerate(cells)
    ]
    records: list[dict[str, Any]] = [{"event": "plan", "self_test": False, "cells": plan}]
    for number, (kind, _, result) in enumerate(cells):
        end = {"event": "end", "cell": f"c{number}", "status": "done", "result": result}
        if part.fault == "hung" and number >= 4:
            status = "hung" if number == 4 else "not run"
            error = "cuda:1 did not end 30 s after its limit and cannot be killed (state D)"
            end = {"event": "end", "cell": f"c{number}", "status": status, "error": error}
        if kind == "gemm" and result["faults"]:
            records += [
                {
                    "event": "fault",
                    "cell": f"c{number}",
                    **FAULT,
                    "product": 48211 + 7 * one,
                    "at": 391.4 + one,
                }
                for one in range(3)
            ]
        records.append(end)
    return records


def _health(part: Part) -> tuple[Check, ...]:
    hot = part.fault == "slow"
    before: dict[str, Any] = {
        **{item.field: 0 for item in health.COUNTERS}, "ecc": True, "recovery": "None",
        "remap_pending": False, "remap_failed": False, "temperature": 34, "power": 118.0,
        "memory_temperature": 41, "sm_mhz": 345,
    }  # fmt: skip
    after = {
        **before, "temperature": 87 if hot else 64 + part.index % 4, "power": 697.0, "sm_mhz": 1980,
        "memory_temperature": 95 if hot else 77,
        "slowed_by_heat_us": 388e6 if hot else 0, "slowed_by_software_us": 402e6 if hot else 0,
    }  # fmt: skip
    told = [
        {"event": "telemetry", "at": at, "gpus": {part.address: fields}}
        for at, fields in ((0.0, before), (SECONDS, after))
    ]
    if part.fault == "hung":
        told = told[:1]
    return health.health(told, {part.address: part.subject})


def _golden(part: Part) -> Check:
    none = Bound(relation="at most", value=0, basis="exact", reason="good hardware has none")
    item = Measurement(name="products unlike those of most", value=0, bounds=(none,))
    error = "no product was made" if part.fault == "hung" else ""
    return Check(
        name=burn_in.GOLDEN, subject=part.subject, measurements=(() if error else (item,)),
        error=error,
    )  # fmt: skip


def _kernel(part: Part) -> Check:
    none = (Bound(relation="at most", value=0, basis="exact", reason="no error is expected"),)
    if part.fault == "hung":
        return Check(
            name="kernel log under load", subject=part.subject, error="journalctl: timed out",
            evidence=(Evidence.of("journalctl -k", f"no more after: {HOSTILE}"),),
        )  # fmt: skip
    problems = Measurement(name="problems", value=0, bounds=none)
    return Check(name="kernel log under load", subject=part.subject, measurements=(problems,))


def _of_host(host: str) -> tuple[Check, ...]:
    def same(name: str, value: Any) -> Measurement:
        bound = Bound(
            relation="exactly", value=value, basis="expectation", reason="as it was provisioned"
        )
        return Measurement(name=name, value=value, bounds=(bound,))

    measurements = (same("GPUs", 8), same("driver", "580.95.05"), same("active ports", 8))
    return (
        Check(
            name="expectations", subject=Subject(host=host), measurements=measurements,
            not_tested=("speed of the InfiniBand ports: nothing is expected",),
        ),
    )  # fmt: skip


# ---------------------------------------------------------------- curves and coverage


def _series(part: Part, noise: random.Random) -> list[Series]:
    hot, hung = part.fault == "slow", part.fault == "hung"
    times = [5.0 * step for step in range(int((SECONDS * 0.3 if hung else SECONDS) / 5))]
    rows: dict[str, list[tuple[float, float]]] = {
        "temperature": [], "memory temperature": [], "power": [], "clock": [],
    }  # fmt: skip
    for at in times:
        warm = 1 - math.exp(-at / 110)
        temperature = 34 + (53 if hot else 30 + part.index % 4) * warm + noise.gauss(0, 0.5)
        slowed = hot and temperature > 84
        rows["temperature"].append((at, round(temperature)))
        rows["memory temperature"].append((at, round(temperature + 11)))
        idle = at < 10 or (int(at) % 300) > 288
        power = 120 if idle else (560 if slowed else 690) + noise.gauss(0, 6)
        rows["power"].append((at, round(power, 1)))
        clock = 345 if idle else (1410 if slowed else 1755) + 15 * round(noise.gauss(0, 0.8))
        rows["clock"].append((at, clock))
    units = {"temperature": "C", "memory temperature": "C", "power": "W", "clock": "MHz"}
    found = [
        Series(subject=part.subject, name=name, unit=units[name], points=tuple(points))
        for name, points in rows.items()
    ]
    for number, (dtype, rate) in enumerate(TFLOPS.items()):
        begin = 20 + number * 180
        points = tuple(
            (at, rate * (0.86 if hot and at > 200 else 1) * (1 + noise.gauss(0, 0.004)))
            for at in (begin + 10.0 * step for step in range(15))
            if at < times[-1]
        )
        unit = "TOPS" if dtype == "int8" else "TFLOPS"
        found.append(
            Series(
                subject=part.subject, name="throughput", unit=unit, points=points, label=dtype
            )
        )  # fmt: skip
    return [one for one in found if one.points]


def _covered(part: Part) -> Coverage:
    hours = 0.04 if part.fault == "hung" else 0.29
    faults = 37 if part.fault == "wrong" else 0
    return Coverage(
        subject=part.subject, hours=hours, products=int(215_000 * hours), faults=faults,
        upper_per_hour=upper_rate(faults, hours),
        detection=detection_probability(1.0, hours * 3600),
    )  # fmt: skip
