"""Training on several devices: everyone has to take part and to agree."""

from __future__ import annotations

from typing import Any

import pytest

from aiprov.checks.model import Check, Subject
from aiprov.checks.models import TOGETHER, name, together

PARAMETERS = {"model": "1b", "dtype": "bf16", "strategy": "ddp"}
RANK: dict[str, Any] = {
    "faults": 0, "unlike": 0, "not_finite": 0, "steps": 3, "tokens": 60_000, "seconds": 1.5,
    "unit": "tokens", "flop": 60_000 * 7.8e9,
}  # fmt: skip


def judged(ranks: Any) -> Check:
    made = together(PARAMETERS, {"ranks": ranks}, "10de:2335", 2)
    return Check(name=name(PARAMETERS, TOGETHER), subject=Subject(host="a"), measurements=made)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "ok"),
        ({"faults": 1}, "failed"),
        ({"unlike": 1}, "failed"),
        ({"unlike": None}, "not measured"),
        ({"not_finite": 1}, "failed"),
        ({"steps": 0}, "failed"),
        ({"steps": None}, "not measured"),
        ({"faults": "garbage"}, "not measured"),
    ],
)
def test_one_rank_is_enough_to_be_red(changed: dict[str, Any], verdict: str):
    assert judged({"0": RANK, "1": {**RANK, **changed}}).verdict == verdict


def test_a_rank_that_is_missing_is_missed():
    assert judged({"0": RANK}).verdict == "failed"


@pytest.mark.parametrize("ranks", [None, {}, [RANK]])
def test_no_ranks_are_never_ok(ranks: Any):
    assert judged(ranks).verdict != "ok"


def test_the_rate_is_of_all_and_takes_as_long_as_the_slowest():
    check = judged({"0": RANK, "1": {**RANK, "seconds": 3.0}})
    values = {item.name: item.value for item in check.measurements}
    assert values["rate"] == 40_000
    share = values["share of what is possible"]
    assert isinstance(share, float)
    assert 0.25 < share < 0.4


def test_its_name():
    assert judged({}).name == "train 1b bf16 ddp"
