"""What a journal proves, in numbers and curves, against sums that a person can do."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiprov.checks.burn_in import Device
from aiprov.checks.coverage import MOST_POINTS, coverage, series, thinned
from aiprov.checks.model import Subject

GPU = Subject(host="a", kind="gpu", id="1", label="GPU 0")
OTHER = Subject(host="a", kind="gpu", id="2", label="GPU 1")
DEVICES = {
    "cuda:0": Device(subject=GPU, pci_id="10de:2335"),
    "cuda:1": Device(subject=OTHER, pci_id="10de:2335"),
}
BEGAN = 1_000_000.0


def cell(number: str, kind: str = "gemm", device: str = "cuda:0", **parameters: Any) -> Any:
    own = {"dtype": "bf16", "phase": "A", "n": 1000, **parameters} if kind == "gemm" else parameters
    return {"id": number, "kind": kind, "device": device, "seed": 1, "parameters": own}


def plan(*cells: Any) -> dict[str, Any]:
    return {"event": "plan", "at": BEGAN, "self_test": False, "cells": list(cells)}


def end(number: str, status: str = "done", at: float = 60.0, **result: Any) -> dict[str, Any]:
    return {"event": "end", "at": BEGAN + at, "cell": number, "status": status, "result": result}


GOOD = {"products": 1000, "verified": 1000, "seconds": 1800.0, "faults": 0}
FAULT = {"event": "fault", "cell": "x", "at": BEGAN, "what": "product"}

CASES: dict[str, tuple[list[Any], float, int, int]] = {
    # records; hours, products, faults of the first GPU
    "nothing": ([], 0, 0, 0),
    "planned and never ended": ([plan(cell("x"))], 0, 0, 0),
    "half an hour of products": ([plan(cell("x")), end("x", **GOOD)], 0.5, 1000, 0),
    "two cells": (
        [plan(cell("x"), cell("y", dtype="fp8")), end("x", **GOOD), end("y", **GOOD)], 1, 2000, 0,
    ),
    "half of it verified": (
        [plan(cell("x")), end("x", **{**GOOD, "verified": 500})], 0.25, 500, 0,
    ),
    "nothing verified": ([plan(cell("x")), end("x", **{**GOOD, "verified": 0})], 0, 0, 0),
    "more verified than made": (
        [plan(cell("x")), end("x", **{**GOOD, "verified": 2000})], 0.5, 2000, 0,
    ),
    "crashed": ([plan(cell("x")), end("x", "error", **GOOD)], 0, 0, 0),
    "crashed after a fault": ([plan(cell("x")), FAULT, FAULT, end("x", "error")], 0, 0, 2),
    "faults that were counted": ([plan(cell("x")), FAULT, end("x", **{**GOOD, "faults": 7})],
                                 0.5, 1000, 7),
    "faults that were told": ([plan(cell("x")), FAULT, FAULT, end("x", **GOOD)], 0.5, 1000, 2),
    "of another device": ([plan(cell("x", device="cuda:1")), end("x", **GOOD)], 0, 0, 0),
    "memory is no verified load, its faults are faults": (
        [plan(cell("x", "memory")), end("x", faults=3, seconds={"random": 9.0})], 0, 0, 3,
    ),
    "training": (
        [plan(cell("x", "train", model="1b")), end("x", seconds=360.0, faults=0)], 0.1, 0, 0,
    ),
    "unverified products": ([plan(cell("x", "gemm unverified")), end("x", **GOOD)], 0, 0, 0),
    "garbage": (
        [plan(cell("x")), end("x", products="many", verified=None, seconds=math.nan, faults=True)],
        0, 0, 0,
    ),
    "no result": ([plan(cell("x")), {**end("x"), "result": None}], 0, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_was_verified(name: str):
    records, hours, products, faults = CASES[name]
    first, second = coverage(records, DEVICES)
    assert (first.subject, second.subject) == (GPU, OTHER)
    assert first.hours == pytest.approx(hours)
    assert (first.products, first.faults) == (products, faults)
    assert first.detection == pytest.approx(1 - math.exp(-hours))
    if hours and not faults:
        assert first.upper_per_hour == pytest.approx(2.996 / hours, rel=1e-3)
    elif not hours:
        assert first.upper_per_hour is None


# ---------------------------------------------------------------- curves


def reading(at: float, **fields: Any) -> dict[str, Any]:
    return {"event": "telemetry", "at": BEGAN + at, "gpus": {"0000:01:00.0": fields}}


def curves(*records: Any) -> dict[tuple[str, str], Any]:
    made = series(records, DEVICES, {"0000:01:00.0": GPU}, BEGAN)
    assert all(one.subject == GPU for one in made)
    return {(one.name, one.label): one for one in made}


def test_telemetry_becomes_curves():
    made = curves(
        reading(0, temperature=35, power=80.5, sm_mhz=345, memory_temperature=40),
        reading(5, temperature=61, power=None, sm_mhz=1980),
        {"event": "telemetry", "at": BEGAN + 10, "error": "nvidia-smi did not end"},
        {"event": "telemetry", "at": BEGAN + 12, "gpus": {}},
        reading(15, temperature=70, power=699, sm_mhz="fast"),
    )
    assert {name: (one.unit, one.points) for (name, _), one in made.items()} == {
        "temperature": ("C", ((0, 35), (5, 61), (15, 70))),
        "memory temperature": ("C", ((0, 40),)),
        "power": ("W", ((0, 80.5), (15, 699))),
        "clock": ("MHz", ((0, 345), (5, 1980))),
    }


def test_throughput_is_that_of_each_pass():
    made = curves(
        plan(cell("x"), cell("y", dtype="int8", phase="B"), cell("z", "memory")),
        {"event": "sample", "cell": "x", "at": BEGAN + 10, "products": 1000, "seconds": 4.0},
        {"event": "sample", "cell": "x", "at": BEGAN + 20, "products": 1000, "seconds": 5.0},
        end("x", **GOOD),
        end("y", at=90, products=500, seconds=2.0),  # of a payload that tells of no passes
        end("z", at=95, faults=0),
        {"event": "sample", "cell": "nobody", "at": BEGAN, "products": 1, "seconds": 1.0},
    )
    assert set(made) == {("throughput", "bf16 A"), ("throughput", "int8 B")}
    assert made["throughput", "bf16 A"].points == ((10, 0.5), (20, 0.4))
    assert made["throughput", "bf16 A"].unit == "TFLOPS"
    assert made["throughput", "int8 B"].points == ((90, 0.5),)
    assert made["throughput", "int8 B"].unit == "TOPS"


def test_a_journal_without_readings_has_no_curves():
    assert curves() == {}
    assert curves(plan(cell("x")), end("x", "error")) == {}


@given(st.lists(st.floats(-1e6, 1e6), max_size=3000), st.integers(10, 700))
def test_a_thinned_curve_is_short_and_keeps_what_stands_out(values: list[float], most: int):
    points = [(float(place), value) for place, value in enumerate(values)]
    kept = thinned(points, most)
    assert len(kept) <= max(most, 2)
    assert set(kept) <= set(points)
    assert list(kept) == sorted(kept)
    if points:
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert max(value for _, value in kept) == max(values)
        assert min(value for _, value in kept) == min(values)


def test_a_day_of_readings_is_a_short_curve_with_its_one_peak():
    made = curves(*(
        reading(5.0 * number, temperature=95 if number == 7777 else 60 + number % 3)
        for number in range(17_280)
    ))  # fmt: skip
    points = made["temperature", ""].points
    assert 300 < len(points) <= MOST_POINTS
    assert (5.0 * 7777, 95) in points
