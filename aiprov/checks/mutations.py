"""Faults for every check that needs no host: what good ones see, with one thing wrong at a time.

See ``self_test`` for what must become of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiprov.checks import (
    burn_in,
    collectives,
    expectations,
    fleet,
    health,
    kernel_log,
    link_mutations,
    pair_verdicts,
    pairs,
)
from aiprov.checks.burn_in import Device
from aiprov.checks.expectations import Expectations, ExpectedGpu
from aiprov.checks.model import Bound, Check, Measurement, Subject
from aiprov.checks.self_test import Outcome, Record, Wanted

ADDRESS = "0000:19:00.0"
GPU = Subject(host="self-test", kind="gpu", id="1650223000001", label="GPU 0")


def here() -> tuple[Outcome, ...]:
    """What becomes of all of them, the good ones too."""
    own = (*_health(), *_kernel_log(), *_inventory(), *_fleet(), *_pairs(), *_golden())
    return (*own, *_collectives(), *link_mutations.outcomes())


# ---------------------------------------------------------------- telemetry

_GOOD_GPU: Mapping[str, Any] = {
    "pci_id": "10de:2335", "serial": GPU.id, "vbios": "96.00.A5.00.01", "recovery": "None",
    "ecc": True, "mig": False, "persistence": True, "remap_pending": False, "remap_failed": False,
    "temperature": 61, "power": 690, "sm_mhz": 1755, "pcie_generation": 5, "pcie_width": 16,
    **{item.field: 0 for item in health.COUNTERS},
}  # fmt: skip


def _telemetry(**changes: Any) -> list[dict[str, Any]]:
    """An hour of telemetry; what changes does so at its end."""
    good = dict(_GOOD_GPU)
    return [
        {"event": "telemetry", "at": at, "driver": "580.95.05", "gpus": {ADDRESS: fields}}
        for at, fields in ((0.0, good), (1800.0, good), (3600.0, {**good, **changes}))
    ]


def _health() -> Iterable[Outcome]:
    gpus = {ADDRESS: GPU}

    def judged(fault: str, wanted: Wanted, records: Sequence[Record]) -> Outcome:
        return Outcome.of(health.NAME, fault, wanted, health.health(records, gpus, ecc=True))

    yield judged("nothing", "ok", _telemetry())
    for item in health.COUNTERS:
        yield judged(f"{item.name} rise", "failed", _telemetry(**{item.field: 10**9}))
        yield judged(f"{item.name}: not told", "not ok", _telemetry(**{item.field: None}))
    for field in ("remap_pending", "remap_failed"):
        yield judged(f"{field} is true", "failed", _telemetry(**{field: True}))
        yield judged(f"{field}: not told", "not ok", _telemetry(**{field: None}))
    yield judged("a recovery is asked for", "failed", _telemetry(recovery="Reset"))
    lost = _telemetry()
    lost[-1]["gpus"] = {}
    yield judged("the GPU is lost", "failed", lost)
    error = {"event": "telemetry", "at": 3600.0, "error": "nvidia-smi did not end in 60 s"}
    yield judged("nvidia-smi hangs", "not ok", [*_telemetry()[:1], error])
    yield judged("nvidia-smi is missing", "not ok", [])
    yield judged("garbage", "not ok", _telemetry(**dict.fromkeys(_GOOD_GPU, "garbage")))


# ---------------------------------------------------------------- the kernel log

_XIDS = (13, 31, 48, 63, 64, 74, 79, 92, 94, 95, 109, 119, 120, 140, 143, 145, 149, 154, 999)
"""Of those that GPUs in clusters report most, and one that nobody documents."""
_NOTES = (63,)
"""No fault by itself: a row was remapped, which the counters judge."""


def _kernel_log() -> Iterable[Outcome]:
    def judged(fault: str, wanted: Wanted, log: str | None) -> Outcome:
        check = kernel_log.check(GPU, log, addresses=[ADDRESS], under_load=True)
        return Outcome.of("kernel log under load", fault, wanted, [check])

    quiet = "[   12.000000] NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.95.05\n"
    yield judged("nothing", "ok", quiet)
    for code in _XIDS:
        tail = "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"
        text = tail if code == kernel_log.RECOVERY else "pid='<unknown>', name=<unknown>, Ch 08"
        line = f"[ 1843.3] NVRM: Xid (PCI:{ADDRESS[:-2]}): {code}, {text}\n"
        yield judged(f"Xid {code}", "ok" if code in _NOTES else "failed", quiet + line)
    for fault, line in (
        ("corrected PCIe error", "severity=Correctable, type=Data Link Layer, (Receiver ID)"),
        (
            "fatal PCIe error",
            "severity=Uncorrectable (Fatal), type=Transaction Layer, (Receiver ID)",
        ),
    ):
        yield judged(fault, "failed", f"{quiet}nvidia {ADDRESS}: PCIe Bus Error: {line}\n")
    fallen = f"NVRM: The NVIDIA GPU {ADDRESS}\nNVRM: (PCI ID: 10de:2335) installed in this system "
    yield judged(
        "fallen off the bus without an Xid", "failed",
        f"{quiet}{fallen}has\nNVRM: fallen off the bus and is not responding to commands.\n",
    )  # fmt: skip
    yield judged("it cannot be read", "not ok", None)


# ---------------------------------------------------------------- the inventory


def _inventory() -> Iterable[Outcome]:
    gpu = ExpectedGpu(
        address=ADDRESS, pci_id="10de:2335", pcie_generation=5, pcie_width=16, ecc=True,
        persistence=True, mig=False, vbios="96.00.A5.00.01", nvlinks=18, nvlink_gbs=25.0,
        numa_node=0,
    )  # fmt: skip
    contract = Expectations(host=GPU.host, gpus=(gpu,), gpu_count=1, driver="580.95.05")

    def judged(fault: str, wanted: Wanted, seen: Record | None, **changes: Any) -> Outcome:
        own = replace(contract, gpus=(replace(gpu, **changes),))
        return Outcome.of(expectations.NAME, fault, wanted, expectations.diff(own, seen))

    good = health.observed(_telemetry()) or {}
    good["gpus"][ADDRESS] |= {"nvlinks": [26.562] * 18, "numa_node": 0}
    yield judged("nothing", "ok", good)
    for field, value in (
        ("pci_id", "10de:2330"), ("pcie_generation", 6), ("pcie_width", 32), ("ecc", False),
        ("persistence", False), ("mig", True), ("vbios", "97"), ("nvlinks", 19),
        ("nvlink_gbs", 50.0), ("numa_node", 1), ("address", "0000:aa:00.0"),
    ):  # fmt: skip
        yield judged(f"{field} differs", "failed", good, **{field: value})
    yield judged("the driver differs", "failed", {**good, "driver": "570.1"})
    yield judged("the GPU is gone", "failed", {**good, "gpus": {}})
    yield judged("nothing can be read", "not ok", None)
    yield judged("it says garbage", "not ok", {"gpus": {ADDRESS: {"load": {}}}, "driver": None})


# ---------------------------------------------------------------- fleets, pairs, hashes


def _rates(size: int, slow: float) -> tuple[list[Check], dict[Subject, str]]:
    rng = random.Random(1)  # noqa: S311 - noise, the same each time
    bound = Bound(relation="at least", value=400.0, basis="physics")
    checks = [
        Check(
            name="products bf16 A",
            subject=Subject(host=f"h{number}", kind="gpu", id=str(number)),
            measurements=(
                Measurement(
                    name="bf16", value=rng.gauss(790, 2) * (slow if number == 3 else 1),
                    unit="TFLOPS", bounds=(bound,),
                ),
            ),
        )
        for number in range(size)
    ]  # fmt: skip
    return checks, {check.subject: "H200" for check in checks}


def _fleet() -> Iterable[Outcome]:
    cases: tuple[tuple[str, Wanted, float], ...] = (
        ("nothing", "ok", 1.0),
        ("a GPU 4 % slow", "failed", 0.96),
        ("a GPU at half speed", "failed", 0.5),
    )
    for fault, wanted, slow in cases:
        checks, models = _rates(16, slow)
        again = [
            check
            for planned in fleet.to_measure_again(checks, models)
            for check in checks
            if check.subject == planned.subject
        ]
        judged = fleet.judged(checks, again * 3, models)
        yield Outcome.of("rates of a fleet", fault, wanted, judged)


def _pairs() -> Iterable[Outcome]:
    ends = [pairs.Endpoint(host=f"h{number}", gpu="gpu0", nic="nic0") for number in range(6)]
    gpus = {
        (end.host, end.gpu): Subject(host=end.host, kind="gpu", id=str(number))
        for number, end in enumerate(ends)
    }

    def judged(fault: str, wanted: Wanted, rate: Callable[[int, int], float | None]) -> Outcome:
        seen = [
            pair_verdicts.Tried(
                trial=pairs.Trial(first=ends[one], second=ends[other], value=rate(one, other))
            )
            for made in pairs.rounds(range(6))
            for one, other in made
        ]
        checks = pair_verdicts.pair_checks(seen, gpus)
        return Outcome.of(pair_verdicts.NAME, fault, wanted, checks)

    yield judged("nothing", "ok", lambda _one, _other: 48.0)
    yield judged("a slow adapter", "failed", lambda one, other: 20.0 if 2 in (one, other) else 48.0)
    yield judged(
        "a narrow link", "failed", lambda one, other: 12.0 if {one, other} == {1, 4} else 48.0
    )
    yield judged(
        "a pair that hangs", "not ok", lambda one, other: None if {one, other} == {0, 5} else 48.0
    )
    yield judged(
        "a pair with wrong results", "failed",
        lambda one, other: pair_verdicts.WRONG if {one, other} == {2, 3} else 48.0,
    )  # fmt: skip
    yield judged("no pair has a result", "not ok", lambda _one, _other: None)


def _golden() -> Iterable[Outcome]:
    cell = {"id": "x", "kind": "gemm", "device": "cuda:0", "parameters": {"dtype": "bf16"}}

    def judged(fault: str, wanted: Wanted, *hashes: str) -> Outcome:
        journals: dict[str, tuple[list[Record], Mapping[str, Device]]] = {
            f"h{number}": (
                [
                    {"event": "plan", "self_test": False, "cells": [cell]},
                    {"event": "end", "cell": "x", "status": "done",
                     "result": {"references": [{"seed": 1, "hash": value}]}},
                ],
                {"cuda:0": Device(subject=Subject(host=f"h{number}", kind="gpu", id=str(number)))},
            )
            for number, value in enumerate(hashes)
        }  # fmt: skip
        return Outcome.of(burn_in.GOLDEN, fault, wanted, burn_in.golden(journals))

    yield judged("nothing", "ok", "aa", "aa", "aa")
    yield judged("one GPU multiplies otherwise", "failed", "aa", "aa", "bb")
    yield judged("nobody agrees", "not ok", "aa", "bb", "cc")


# ---------------------------------------------------------------- collectives


def _collectives() -> Iterable[Outcome]:
    told = {"operation": "all_reduce", "bytes": [8 << 30], "seconds": 10}

    def judged(
        fault: str, wanted: Wanted, ranks: int = 8, bad: Sequence[int] = (3,), **changes: Any
    ) -> Outcome:
        good = {"bytes": 8 << 30, "iterations": 90, "verified": 92, "faults": 0, "seconds": 0.0313}
        result = {
            "ranks": {
                str(rank): {
                    "operation": "all_reduce",
                    "world": changes.get("world", 8) if rank in bad else 8,
                    "sizes": [{**good, **changes} if rank in bad else good],
                }
                for rank in range(ranks)
            }
        }
        measurements = collectives.collective(told, result, 8, "10de:2335")
        check = Check(name="collectives", subject=GPU, measurements=measurements)
        return Outcome.of(check.name, fault, wanted, [check])

    yield judged("nothing", "ok")
    yield judged("a wrong result of one rank", "failed", faults=1)
    yield judged("results that nobody compared", "failed", verified=1)
    yield judged("a rank that is slow", "failed", seconds=0.06)
    yield judged("faster than the links", "not ok", bad=range(8), seconds=0.001)
    yield judged("a rank is lost", "not ok", ranks=7)
    yield judged("a rank in a world of its own", "not ok", world=1)
    yield judged("a rank that tells no time", "not ok", seconds=None)
    yield judged("garbage", "not ok", bytes="8 GiB", faults="none")
