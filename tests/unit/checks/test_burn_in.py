"""Journals of products and patterns: whatever became of a cell, it is never ok by accident."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from aiprov.checks.burn_in import GOLDEN, Device, golden, judge
from aiprov.checks.model import Check, Subject, verdict_of
from aiprov.errors import UsageError

H200 = Device(
    subject=Subject(host="a", kind="gpu", id="1650223001", label="GPU 0"), pci_id="10de:2335"
)
CPU = Device(subject=Subject(host="a", kind="gpu", id="cpu:0", label="GPU 0"))


def gemm_cell(dtype: str = "bf16", phase: str = "A") -> dict[str, Any]:
    return {
        "id": f"{dtype}{phase}",
        "kind": "gemm",
        "device": "cuda:0",
        "limit_s": 60,
        "seed": 1,
        "parameters": {"dtype": dtype, "phase": phase, "n": 16384, "seconds": 900},
    }


MEMORY_CELL = {
    "id": "memory", "kind": "memory", "device": "cuda:0", "limit_s": 60, "seed": 1,
    "parameters": {"share": 0.95},
}  # fmt: skip


def plan(*cells: dict[str, Any], self_test: bool = False) -> dict[str, Any]:
    return {"event": "plan", "campaign": "a", "self_test": self_test, "cells": list(cells)}


def end(cell: str = "bf16A", status: str = "done", **result: Any) -> dict[str, Any]:
    products = 81_000
    good = {
        "products": products, "verified": products, "faults": 0, "seconds": 900.0,
        "elapsed_s": 930.0, "flop": 2 * 16384**3 * products, "hardware": "NVIDIA H200",
        "software": "torch 2.13", "dtype": "bf16", "phase": "A", "n": 16384,
        "references": [{"seed": 1, "hash": "aa"}, {"seed": 2, "hash": "bb"}],
    }  # fmt: skip
    return {"event": "end", "cell": cell, "status": status, "error": "",
            "result": {**good, **result}}  # fmt: skip


FAULT = {"event": "fault", "cell": "bf16A", "what": "product", "product": 77, "wrong": 8}
GOOD = [plan(gemm_cell()), {"event": "begin", "cell": "bf16A"}, end()]


def one(records: list[dict[str, Any]], device: Device = H200) -> Check:
    (check,) = judge(records, {"cuda:0": device})
    return check


def test_a_good_run_is_ok_and_says_what_it_proves():
    check = one(GOOD)
    assert check.verdict == "ok", check.why
    values = {item.name: item.value for item in check.measurements}
    assert values["bf16"] == pytest.approx(791.7, abs=0.1)
    assert values["fault rate, upper 95% bound"] == pytest.approx(12.0, abs=0.1)
    assert values["faults a product, upper 95% bound"] == pytest.approx(3.7e-5, rel=0.01)
    assert values["chance to see a fault of once an hour"] == pytest.approx(0.22, abs=0.002)


def change(**result: Any) -> list[dict[str, Any]]:
    return [GOOD[0], end(**result)]


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a fault": (change(faults=1), "failed"),
    "a fault that is told and not counted": ([GOOD[0], FAULT, end()], "failed"),
    "products that were not verified": (change(verified=80_999), "failed"),
    "half the speed": (change(seconds=1800.0), "failed"),
    "one product": (change(products=1, verified=1, flop=2 * 16384**3, seconds=0.01), "failed"),
    "more than possible": (change(seconds=600.0), "not measured"),
    "no time": (change(seconds=None), "not measured"),
    "no seconds": (change(seconds=0), "not measured"),
    "no faults told": (change(faults=None), "not measured"),
    "text for faults": (change(faults="none"), "not measured"),
    "truth for faults": (change(faults=False), "not measured"),
    "no products told": (change(products=None), "not measured"),
    "no result": ([GOOD[0], {**end(), "result": {}}], "not measured"),
    "result is null": ([GOOD[0], {**end(), "result": None}], "not measured"),
    "crashed": ([GOOD[0], end(status="error")], "not measured"),
    "crashed after a fault": ([GOOD[0], FAULT, end(status="error")], "failed"),
    "timed out": ([GOOD[0], end(status="timed out")], "not measured"),
    "hung": ([GOOD[0], end(status="hung")], "not measured"),
    "not run": ([GOOD[0], end(status="not run")], "not measured"),
    "not tested": ([GOOD[0], end(status="not tested")], "not measured"),
    "a status that nobody knows": ([GOOD[0], end(status="fine")], "not measured"),
    "another type than planned": (change(dtype="fp16"), "not measured"),
    "the other phase": (change(phase="B"), "not measured"),
    "another size": (change(n=8192), "not measured"),
    "of a CPU": (change(hardware="CPU"), "not measured"),
    "no status": ([GOOD[0], {**end(), "status": None}], "not measured"),
    "no end": ([GOOD[0], GOOD[1]], "not measured"),
    "no begin": ([GOOD[0]], "not measured"),
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_becomes_of_a_cell_it_is_not_ok(name: str):
    records, verdict = BAD[name]
    check = one(records)
    assert check.verdict == verdict, check.why
    assert check.why


@pytest.mark.parametrize("name", ["a fault", "products that were not verified", "crashed"])
def test_a_cpu_that_stands_for_a_gpu_is_judged_alike_but_for_speed(name: str):
    assert one(GOOD, CPU).verdict == "ok"
    records, verdict = BAD[name]
    assert one(records, CPU).verdict == verdict
    assert one(BAD["half the speed"][0], CPU).verdict == "ok"


def test_a_kind_that_nobody_can_judge_is_not_measured():
    cell = {**MEMORY_CELL, "kind": "dance"}
    assert one([plan(cell), end(cell="memory")]).verdict == "not measured"


def test_faults_are_evidence():
    check = one([GOOD[0], *[FAULT] * 50, end(faults=50)])
    assert len(check.evidence) == 20
    assert '"product": 77' in check.evidence[0].text


TOOK = {"own address": 1.5, "random": 1.1, "inversions": 2.2}


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        ({"gbs": {"random": 900.0}}, "ok"),
        ({"faults": 3, "gbs": {}}, "failed"),
        ({"share": 0.5}, "failed"),
        ({"share": None}, "not measured"),
        ({"faults": None}, "not measured"),
        ({"gbs": "odd"}, "ok"),
        ({"seconds": {}}, "not measured"),  # no pass was made
        ({"seconds": None}, "not measured"),
        ({"seconds": {**TOOK, "random": 0.0}}, "not measured"),
        ({"seconds": {"own address": 1.5, "inversions": 2.2}}, "not measured"),
    ],
)
def test_memory(result: dict[str, Any], verdict: str):
    told = {"faults": 0, "share": 0.96, "seconds": TOOK, **result}
    records = [plan(MEMORY_CELL), {**end(cell="memory"), "result": told}]
    assert one(records).verdict == verdict


@pytest.mark.parametrize("kind", ["train", "decode", "copy", "memory"])
def test_a_fault_that_is_told_fails_whatever_the_result_says_of_it(kind: str):
    parameters = {"model": "1b", "dtype": "bf16", "batch": 1, "length": 2048, "path": "h2d"}
    cell = {**MEMORY_CELL, "kind": kind, "parameters": parameters}
    told = {**TRAINED, "share": 0.96, "seconds": 10.0, "gbs": 55.0, "copies": 3}
    if kind == "memory":
        told |= {"seconds": TOOK, "gbs": {}}
    ended = {**end(cell="memory"), "result": told}
    assert one([plan(cell), ended]).verdict == "ok"
    check = one([plan(cell), {**FAULT, "cell": "memory"}, ended])
    assert check.verdict == "failed", check.why


@pytest.mark.parametrize(
    ("path", "result", "verdict"),
    [
        ("h2d", {"gbs": 55.4}, "ok"),
        ("h2d", {"gbs": 26.0}, "failed"),  # a link of generation 4
        ("h2d", {"gbs": 95.0}, "not measured"),  # more than the link carries
        ("h2d", {"gbs": None}, "not measured"),
        ("h2d", {"faults": 1}, "failed"),
        ("h2d", {"faults": None}, "not measured"),
        ("h2d", {"copies": 0}, "failed"),
        ("d2d", {"gbs": 4200.0}, "ok"),
        ("d2d", {"gbs": 2300.0}, "failed"),
        ("p2p", {"gbs": 396.0}, "ok"),
        ("p2p", {"gbs": 180.0}, "failed"),
        ("nowhere", {}, "failed"),
    ],
)
def test_copies(path: str, result: dict[str, Any], verdict: str):
    cell = {**MEMORY_CELL, "kind": "copy", "parameters": {"path": path}}
    told = {"gbs": 55.4, "faults": 0, "copies": 10, **result}
    if path == "nowhere":
        told["gbs"] = 1.0
    eight = {f"cuda:{number}": H200 for number in range(8)}
    (check,) = judge([plan(cell), {**end(cell="memory"), "result": told}], eight)
    assert check.verdict == verdict, check.why
    assert check.name == f"copies {path}"
    if path == "p2p":  # of fewer GPUs nobody knows whether switches join them
        assert one([plan(cell), {**end(cell="memory"), "result": told}]).verdict == "ok"


def test_a_slot_that_is_older_is_judged_by_what_it_should_do():
    device = Device(subject=H200.subject, pci_id="10de:20b2", pcie=(3, 16))
    cell = {**MEMORY_CELL, "kind": "copy", "parameters": {"path": "h2d"}}
    for gbs, verdict in ((13.0, "ok"), (6.0, "failed"), (25.0, "not measured")):
        told = {"gbs": gbs, "faults": 0, "copies": 10}
        check = one([plan(cell), {**end(cell="memory"), "result": told}], device)
        assert check.verdict == verdict, check.why


TRAINED = {
    "faults": 0, "not_finite": 0, "steps": 10, "tokens": 100_000, "seconds": 10.0,
    "flop": 6.0e9 * 1.24e5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "result", "verdict"),
    [
        ("train", {}, "ok"),
        ("train", {"faults": 1}, "failed"),
        ("train", {"faults": None}, "not measured"),
        ("train", {"steps": 0}, "failed"),
        ("train", {"not_finite": 1}, "failed"),
        ("train", {"not_finite": None}, "not measured"),
        ("train", {"steps": None}, "not measured"),
        ("train", {"seconds": 0.05}, "not measured"),  # more than the GPU can do
        ("decode", {"weight_bytes": 2.5e9, "tokens": 1500, "seconds": 1.0}, "ok"),
        ("decode", {"weight_bytes": 2.5e9, "tokens": 2500, "seconds": 1.0}, "not measured"),
    ],
)
def test_models(kind: str, result: dict[str, Any], verdict: str):
    parameters = {"model": "1b", "dtype": "bf16", "batch": 1, "length": 2048}
    cell = {**MEMORY_CELL, "kind": kind, "parameters": parameters}
    check = one([plan(cell), {**end(cell="memory"), "result": {**TRAINED, **result}}])
    assert check.verdict == verdict, check.why
    assert check.name == f"{kind} 1b bf16"


def test_all_planned_cells_are_there_whatever_was_done():
    records = [plan(gemm_cell(), gemm_cell("fp8"), MEMORY_CELL), end()]
    checks = judge(records, {"cuda:0": H200})
    assert {check.name for check in checks} == {
        "products bf16 A", "products fp8 A", "memory patterns",
    }  # fmt: skip
    assert verdict_of(checks) == "not measured"
    assert verdict_of(judge([], {})) == "not measured"


def test_of_two_cells_of_one_name_neither_stands_for_the_other():
    hot = {**gemm_cell(), "id": "hot"}
    checks = judge([plan(gemm_cell(), hot), end()], {"cuda:0": H200})
    assert sorted(check.verdict for check in checks) == ["not measured", "ok"]


def test_a_journal_of_a_self_test_says_nothing_of_the_hardware():
    records = [plan(gemm_cell(), self_test=True), end()]
    with pytest.raises(UsageError, match="of a self-test"):
        judge(records, {"cuda:0": H200})
    assert judge(records, {"cuda:0": H200}, self_test=True)
    with pytest.raises(UsageError, match="of no self-test"):
        judge(GOOD, {"cuda:0": H200}, self_test=True)


def test_a_device_that_nobody_knows_is_not_passed_over():
    with pytest.raises(UsageError, match="cuda:0"):
        judge(GOOD, {})


# ---------------------------------------------------------------- the same products as others


def journals(*hashes: str) -> dict[str, Any]:
    found = {}
    for index, value in enumerate(hashes):
        device = Device(subject=Subject(host=f"h{index}", kind="gpu", id=str(index)))
        records = copy.deepcopy(GOOD)
        records[2]["result"]["references"][1]["hash"] = value
        found[f"h{index}"] = (records, {"cuda:0": device})
    return found


@pytest.mark.parametrize(
    ("hashes", "verdicts"),
    [
        (("bb", "bb", "bb"), ["ok", "ok", "ok"]),
        (("bb", "cc", "bb"), ["ok", "failed", "ok"]),
        (("bb", "bb"), ["ok", "ok"]),
        (("bb", "cc"), ["not measured", "not measured"]),
        (("bb", "cc", "dd"), ["not measured"] * 3),
        (("bb",), []),
    ],
)
def test_the_gpu_with_another_product_than_most_is_found(
    hashes: tuple[str, ...], verdicts: list[str]
):
    checks = golden(journals(*hashes))
    assert [check.verdict for check in checks] == verdicts
    assert all(check.name == GOLDEN for check in checks)


def twice(first: str, second: str, *others: str) -> dict[str, Any]:
    """As ``journals``, and the first GPU has done the same work in two cells."""
    told = journals(first, *others)
    records = told["h0"][0]
    again = copy.deepcopy(records[2])
    again["cell"] = "again"
    again["result"]["references"][1]["hash"] = second
    records[0]["cells"].append({**gemm_cell(), "id": "again"})
    records.append(again)
    return told


@pytest.mark.parametrize(
    ("told", "verdicts"),
    [
        (twice("bb", "bb", "bb"), ["ok", "ok"]),
        (twice("cc", "bb", "bb"), ["failed", "ok"]),  # a later good one excuses nothing
        (twice("bb", "cc", "bb"), ["failed", "ok"]),
        (twice("bb", "cc"), ["not measured"]),
        (twice("bb", "bb"), []),
    ],
)
def test_work_that_a_gpu_repeats_is_compared_as_well(told: dict[str, Any], verdicts: list[str]):
    assert [check.verdict for check in golden(told)] == verdicts


def test_other_hardware_is_not_compared():
    told = journals("bb", "bb", "cc")
    told["h2"][0][2]["result"]["hardware"] = "NVIDIA H100"
    assert [check.subject.host for check in golden(told)] == ["h0", "h1"]
