"""Pulses and starts, judged: whether they were made, and what is not compared with what."""

from __future__ import annotations

from typing import Any

import pytest

from aiprov.checks.burn_in import Device, judge
from aiprov.checks.model import Check, Subject

H200 = Device(subject=Subject(host="a", kind="gpu", id="1", label="GPU 0"), pci_id="10de:2335")


def judged(more: dict[str, Any], seconds: float = 900.0, **result: Any) -> Check:
    parameters = {"dtype": "bf16", "phase": "A", "n": 8192, "seconds": 900, **more}
    cell = {"id": "x", "kind": "gemm", "device": "cuda:0", "limit_s": 60, "seed": 1,
            "parameters": parameters}  # fmt: skip
    done = {"products": 600_000, "verified": 600_000, "faults": 0, "seconds": seconds,
            "flop": 2 * 8192**3 * 600_000, **result}  # fmt: skip
    (check,) = judge(
        [
            {"event": "plan", "self_test": False, "cells": [cell]},
            {"event": "end", "cell": "x", "status": "done", "result": done},
        ],
        {"cuda:0": H200},
    )
    return check


PULSED = {"pulse_hz": 2.0}
HOT = {"start": "hot"}


def test_shapes_have_names_of_their_own():
    assert judged({}).name == "products bf16 A"
    assert judged(PULSED).name == "products bf16 A in pulses of 2 Hz"
    assert judged(HOT).name == "products bf16 A from hot"
    assert judged({**PULSED, **HOT}).name == "products bf16 A in pulses of 2 Hz from hot"


def test_good_shapes_are_ok():
    check = judged(PULSED, pulse_hz=1.9)
    assert check.verdict == "ok", check.why
    check = judged(HOT, start={"kind": "hot", "celsius": 76.0})
    assert check.verdict == "ok", check.why
    values = {item.name: item.value for item in check.measurements}
    assert values["temperature at the start"] == 76.0


def test_rates_between_rests_have_no_prior():
    assert judged(PULSED, seconds=1400.0, pulse_hz=1.9).verdict == "ok"
    assert judged({}, seconds=1400.0).verdict == "failed"


@pytest.mark.parametrize(
    ("more", "result", "verdict"),
    [
        (PULSED, {"pulse_hz": 0.9}, "failed"),
        (PULSED, {"pulse_hz": 0.0}, "failed"),
        (PULSED, {}, "not measured"),
        (PULSED, {"pulse_hz": "2"}, "not measured"),
        (PULSED, {"pulse_hz": 2.0, "faults": 1}, "failed"),
        (HOT, {}, "not measured"),
        (HOT, {"start": "hot"}, "not measured"),
        (HOT, {"start": {"kind": "cold", "celsius": 30}}, "failed"),
    ],
)
def test_a_shape_that_was_not_made_is_not_ok(
    more: dict[str, Any], result: dict[str, Any], verdict: str
):
    assert judged(more, **result).verdict == verdict
