"""Collectives judged: what good hosts measured passes, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from aiprov.checks import burn_in
from aiprov.checks.burn_in import Device
from aiprov.checks.collectives import bus_gbs, bus_share, collective, rate, size_name
from aiprov.checks.model import Check, Subject
from aiprov.errors import UsageError

A100, H100, H200, B200 = "10de:20b2", "10de:2330", "10de:2335", "10de:2901"
PCIE = "10de:26b9"
HOST = Subject(host="h1")
GIB, MIB = 1 << 30, 1 << 20
RANKS = 8


def parameters(operation: str = "all_reduce", *sizes: int, **more: Any) -> dict[str, Any]:
    return {"operation": operation, "bytes": [*(sizes or (8 * GIB,))], "seconds": 10, **more}


def result(told: dict[str, Any], gbs: float = 480.0, ranks: int = RANKS) -> dict[str, Any]:
    """What the ranks of one host say, all of them with this bus bandwidth at each size."""
    share = bus_share(told["operation"], ranks)
    sizes = [
        {"bytes": size, "iterations": 20, "verified": 22, "faults": 0, "wrong": 0,
         "seconds": size * share / gbs / 1e9, "slowest_s": size * share / gbs / 1e9}
        for size in told["bytes"]
    ]  # fmt: skip
    return {
        "ranks": {
            str(rank): {"operation": told["operation"], "world": ranks, "device": f"cuda:{rank}",
                        "sizes": [dict(one) for one in sizes]}
            for rank in range(ranks)
        }
    }  # fmt: skip


def judged(
    pci_id: str, told: dict[str, Any], seen: dict[str, Any], ranks: int = RANKS, **more: Any
) -> Check:
    measurements = collective(told, seen, ranks, pci_id, **more)
    return Check(name="collective", subject=HOST, measurements=measurements)


# ---------------------------------------------------------------- formulas

SHARES = {
    "all_reduce": 1.75, "all_gather": 0.875, "reduce_scatter": 0.875, "all_to_all": 0.875,
    "send_recv": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("operation", SHARES)
def test_bus_bandwidth_is_that_of_nccl_tests(operation: str):
    assert bus_share(operation, 8) == SHARES[operation]


def test_a_published_run_comes_out_as_published():
    # nccl-tests doc/PERFORMANCE.md, all-reduce: algorithm bandwidth times 2 (n - 1) / n.
    seconds = 8 * GIB / 274.3e9
    assert bus_gbs("all_reduce", 8, 8 * GIB, seconds) == pytest.approx(480, rel=1e-3)


def test_sizes_have_names():
    assert [size_name(size) for size in (8 * GIB, 256 * MIB, 4096, 1000)] == [
        "8 GiB", "256 MiB", "4 KiB", "1000 B",
    ]  # fmt: skip


# ---------------------------------------------------------------- rates


@pytest.mark.parametrize(
    ("pci_id", "size", "gbs", "verdict"),
    [
        (H100, 8 * GIB, 480, "ok"),  # NVIDIA, dgxc-benchmarking
        (H100, 256 * MIB, 422, "ok"),
        (H100, 256 * MIB, 380, "failed"),
        (H100, 8 * GIB, 400, "failed"),
        (H100, 8 * GIB, 150, "failed"),  # what NVSentinel's preflight lets through
        (H100, 8 * GIB, 900, "not measured"),  # more than there is
        (H100, 256 * MIB, 900, "not measured"),
        (H100, MIB, 20, "ok"),  # small: it begins slowly, and only the fleet says how slowly
        (H200, 8 * GIB, 482, "ok"),
        (H200, GIB, 200, "failed"),
        (B200, 16 * GIB, 845.7, "ok"),
        (B200, 16 * GIB, 440, "failed"),  # what OCI's gate lets through
        (A100, 8 * GIB, 235, "ok"),
        (A100, 8 * GIB, 170, "failed"),
        (PCIE, 8 * GIB, 1, "ok"),  # nothing says what it must be but the fleet
        ("", 4096, 0.001, "ok"),
    ],
)
def test_each_size_is_judged_by_itself(pci_id: str, size: int, gbs: float, verdict: str):
    told = parameters("all_reduce", size)
    assert judged(pci_id, told, result(told, gbs)).verdict == verdict


def test_a_slow_size_is_not_lost_among_fast_ones():
    told = parameters("all_reduce", MIB, 256 * MIB, 8 * GIB)
    seen = result(told, 430)
    assert judged(H100, told, seen).verdict == "failed"
    (bad,) = [one for one in judged(H100, told, seen).measurements if one.verdict == "failed"]
    assert bad.name == "all_reduce 8 GiB"
    assert bad.unit == "GB/s"


@pytest.mark.parametrize("operation", [one for one in SHARES if one != "all_reduce"])
def test_others_have_the_limits_of_links(operation: str):
    told = parameters(operation)
    assert judged(H100, told, result(told, 370)).verdict == "ok"
    assert judged(H100, told, result(told, 200)).verdict == "failed"
    assert judged(H100, told, result(told, 480)).verdict == "not measured"


def test_the_slowest_rank_counts():
    told = parameters()
    seen = result(told)
    seen["ranks"]["3"]["sizes"][0]["seconds"] *= 2
    assert rate(told, seen, RANKS, 8 * GIB) == pytest.approx(240)
    assert judged(H100, told, seen).verdict == "failed"


# ---------------------------------------------------------------- results


def test_one_wrong_result_of_one_rank_fails():
    told = parameters("all_to_all", 4096, 8192)
    seen = result(told)
    seen["ranks"]["5"]["sizes"][1]["faults"] = 1
    assert judged("", told, seen).verdict == "failed"


def test_wrong_results_that_were_told_one_by_one_count():
    told = parameters("all_gather", 4096)
    assert judged("", told, result(told), faults=[{}]).verdict == "failed"


def change(seen: dict[str, Any], rank: str = "2", **changes: Any) -> None:
    seen["ranks"][rank]["sizes"][0].update(changes)


BAD = {
    "a rank is missing": lambda seen: seen["ranks"].pop("7"),
    "a rank too many": lambda seen: seen["ranks"].update({"8": seen["ranks"]["0"]}),
    "ranks of another host": lambda seen: seen["ranks"].update({"15": seen["ranks"].pop("7")}),
    "a world that is too small": lambda seen: seen["ranks"]["0"].update(world=4),
    "another operation": lambda seen: seen["ranks"]["0"].update(operation="send_recv"),
    "a size is missing": lambda seen: seen["ranks"]["1"]["sizes"].clear(),
    "another size": lambda seen: change(seen, bytes=64),
    "no faults are told": lambda seen: change(seen, faults=None),
    "no time is told": lambda seen: change(seen, seconds=None),
    "no time passed": lambda seen: change(seen, seconds=0),
    "a time that is no number": lambda seen: change(seen, seconds=float("nan")),
    "nothing was done": lambda seen: [change(seen, str(one), iterations=0) for one in range(RANKS)],
    "no ranks": lambda seen: seen.update(ranks=None),
    "nothing": lambda seen: seen.clear(),
    "garbage": lambda seen: seen.update(ranks={"0": "\x00", "1": []}),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("pci_id", ["", H100])
def test_what_was_not_measured_is_never_ok(name: str, pci_id: str):
    told = parameters()
    seen = result(told)
    assert judged(pci_id, told, seen).verdict == "ok"
    BAD[name](seen)
    assert judged(pci_id, told, seen).verdict == "not measured"


def test_results_that_were_timed_and_not_verified_fail():
    told = parameters()
    seen = result(told)
    change(seen, verified=3)
    assert judged("", told, seen).verdict == "failed"


# ---------------------------------------------------------------- from a journal

DEVICES = {
    f"cuda:{number}": Device(
        subject=Subject(host="h1", kind="gpu", id=f"165{number}", label=f"GPU {number}"),
        pci_id=H100,
    )
    for number in range(8)
}


def journal(told: dict[str, Any], device: str, **end: Any) -> list[dict[str, Any]]:
    cell = {"id": "c", "kind": "collective", "device": device, "parameters": told}
    return [
        {"event": "plan", "self_test": False, "cells": [cell]},
        *([{"event": "end", "cell": "c", "device": device, "error": "", **end}] if end else []),
    ]


def test_a_journal_becomes_a_check_of_the_host():
    told = parameters()
    device = "cuda:0,1,2,3,4,5,6,7"
    (check,) = burn_in.judge(journal(told, device, status="done", result=result(told)), DEVICES)
    assert (check.subject, check.name, check.verdict) == (HOST, "all_reduce of 8", "ok")
    assert {one.name for one in check.measurements if one.unit} == {"all_reduce 8 GiB"}


@pytest.mark.parametrize("status", ["error", "timed out", "hung", "not run", "not tested", "odd"])
def test_ranks_that_did_not_end_well_are_not_measured(status: str):
    device = "cuda:0,1,2,3,4,5,6,7"
    records = journal(parameters(), device, status=status, result=result(parameters()))
    assert burn_in.judge(records, DEVICES)[0].verdict == "not measured"
    assert burn_in.judge(journal(parameters(), device), DEVICES)[0].verdict == "not measured"


def test_a_device_that_the_host_has_not_is_said():
    with pytest.raises(UsageError, match="cuda:8"):
        burn_in.judge(journal(parameters(), "cuda:0,8"), DEVICES)


def test_a_pair_is_of_its_gpu_and_of_its_own_half_of_the_ranks():
    meeting = {"address": "10.0.0.1", "nodes": 2, "node": 1}
    told = parameters("send_recv", 256 * MIB, rendezvous=meeting)
    seen = result(told, 40, ranks=2)
    del seen["ranks"]["0"]
    (check,) = burn_in.judge(journal(told, "cuda:3", status="done", result=seen), DEVICES)
    assert (check.subject.id, check.verdict) == ("1653", "ok")
    assert check.name == "send_recv of 2 on 2 hosts"
