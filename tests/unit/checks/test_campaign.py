"""Campaigns are sensible for their budgets, and plan the checks that the judges name."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from aiprov.checks import burn_in, choices, health
from aiprov.checks.campaign import REPEATS, again, campaign, devices
from aiprov.checks.model import Planned
from aiprov.checks.sizes import MODELS, Hardware, Size, training
from aiprov.errors import UsageError
from aiprov.payload.plan import Plan, plan_from
from tests.bench.budget import budget
from tests.unit.checks.campaigns import FLEETS, HOUR, MINUTE, cells_on, plans, summary

GOLDEN: dict[str, tuple[str, float, dict[str, Any]]] = {
    "H200 x8, 20m": (
        "H200 x8",
        1200,
        {
            "cells": 38,
            "seconds": {
                "copy": 40,
                "gemm fp64": 30,
                "gemm fp32": 30,
                "gemm tf32": 30,
                "gemm bf16": 292,
                "gemm fp16": 30,
                "gemm fp8": 30,
                "gemm int8": 30,
                "memory": 16,
                "train": 52,
                "decode": 13,
                "collective": 220,
                "train together": 135,
            },
            "left out": 2,
            "detected": 0.3,
        },
    ),
    "H200 x8, 2h": (
        "H200 x8",
        7200,
        {
            "cells": 52,
            "seconds": {
                "gemm bf16": 2327,
                "copy": 40,
                "gemm fp64": 274,
                "gemm fp32": 244,
                "gemm tf32": 659,
                "gemm fp16": 659,
                "gemm fp8": 659,
                "gemm int8": 659,
                "memory": 332,
                "train": 52,
                "decode": 13,
                "collective": 220,
                "train together": 621,
            },
            "left out": 1,
            "detected": 0.59,
        },
    ),
    "H200 x8, 24h": (
        "H200 x8",
        86400,
        {
            "cells": 167,
            "seconds": {
                "gemm bf16": 4943,
                "copy": 40,
                "gemm fp64": 9832,
                "gemm fp32": 9832,
                "gemm tf32": 6906,
                "gemm fp16": 5525,
                "gemm fp8": 6906,
                "gemm int8": 6906,
                "memory": 18431,
                "train": 82,
                "decode": 13,
                "collective": 2400,
                "train together": 14129,
            },
            "left out": 1,
            "detected": 0.89,
        },
    ),
    "one L40S, 20m": (
        "one L40S",
        1200,
        {
            "cells": 25,
            "seconds": {
                "copy": 12,
                "gemm fp64": 30,
                "gemm fp32": 30,
                "gemm tf32": 60,
                "gemm bf16": 744,
                "gemm fp16": 30,
                "gemm fp8": 60,
                "gemm int8": 30,
                "memory": 27,
                "train": 75,
                "decode": 13,
            },
            "left out": 10,
            "detected": 0.29,
        },
    ),
    "CPUs, 20s": (
        "CPUs",
        20,
        {
            "cells": 17,
            "seconds": {
                "copy": 1,
                "gemm fp64": 1,
                "gemm fp32": 1,
                "gemm bf16": 1,
                "gemm fp16": 2,
                "gemm fp8": 2,
                "gemm int8": 1,
                "memory": 0,
                "decode": 1,
            },
            "left out": 21,
            "detected": 0.15,
        },
    ),
    "CPUs, 60s": (
        "CPUs",
        60,
        {
            "cells": 21,
            "seconds": {
                "copy": 1,
                "gemm fp64": 1,
                "gemm fp32": 1,
                "gemm bf16": 3,
                "gemm fp16": 3,
                "gemm fp8": 4,
                "gemm int8": 3,
                "memory": 0,
                "train": 34,
                "decode": 1,
            },
            "left out": 17,
            "detected": 0.18,
        },
    ),
    "CPUs, 20m": (
        "CPUs",
        1200,
        {
            "cells": 30,
            "seconds": {
                "copy": 1,
                "gemm fp64": 75,
                "gemm fp32": 69,
                "gemm bf16": 205,
                "gemm fp16": 230,
                "gemm fp8": 230,
                "gemm int8": 230,
                "memory": 0,
                "train": 38,
                "decode": 1,
                "collective": 64,
                "train together": 48,
            },
            "left out": 11,
            "detected": 0.31,
        },
    ),
}
"""By budget: the fleet, its seconds, and the seconds of a device on each kind of work."""


# ---------------------------------------------------------------- golden


@pytest.mark.parametrize("name", GOLDEN)
def test_sensible_budgets_are_spent_sensibly(name: str):
    fleet, budget, wanted = GOLDEN[name]
    made = campaign("c", FLEETS[fleet], budget)
    assert summary(made, FLEETS[fleet][0]) == wanted


def test_a_budget_finds_more_than_any_fixed_way_to_spend_it():
    (ours, *fixed) = budget().tables[0].rows
    for column in range(1, len(ours)):
        others = [int(row[column].rstrip("%")) for row in fixed]
        assert int(ours[column].rstrip("%")) > max(others)


@pytest.mark.parametrize("fleet", FLEETS)
def test_what_is_needed_is_always_made(fleet: str):
    made = campaign("c", FLEETS[fleet], 20 * MINUTE)
    for target in FLEETS[fleet]:
        kinds = Counter(cell.kind for cell in cells_on(made, target))
        assert kinds["memory"] and kinds["copy"] >= 3
        phases = {
            cell.parameters["dtype"] for cell in cells_on(made, target)
            if cell.parameters.get("phase") == "A"
        }  # fmt: skip
        refused = {
            dtype for dtype in choices.DTYPES
            for line in made.not_tested if line.startswith(f"products {dtype} A on ")
        }  # fmt: skip
        assert phases | refused >= set(choices.DTYPES)
        assert {"fp64", "fp32"} <= phases


def test_types_that_hardware_has_not_are_not_planned_and_said():
    made = campaign("c", FLEETS["V100 x4"], 2 * HOUR)
    types = {cell.parameters.get("dtype") for cell in cells_on(made, FLEETS["V100 x4"][0])}
    assert not types & {"bf16", "fp8", "tf32", "int8"}
    assert "products fp8 A on V100 SXM2: V100 SXM2 has no such type" in made.not_tested
    assert "wrong products in fp8" not in made.by_fault
    assert made.by_fault["wrong products in fp16"] > 0


def test_products_are_large_where_they_can_be_and_never_drag():
    def sides(fleet: str) -> dict[tuple[str, str], int]:
        made = campaign("c", FLEETS[fleet], 2 * HOUR)
        return {
            (cell.parameters["dtype"], cell.parameters["phase"]): cell.parameters["n"]
            for cell in cells_on(made, FLEETS[fleet][0])
            if cell.kind == "gemm"
        }

    h200 = sides("H200 x8")
    assert {side for key, side in h200.items() if key != ("fp8", "B")} == {16384}
    assert h200["fp8", "B"] == 8192  # sums of more are not exact in its accumulator
    assert sides("one L40S")["fp64", "A"] < 8192  # a 64th of the rate
    assert max(sides("CPUs").values()) <= 256


@pytest.mark.parametrize(
    ("pci", "gib", "fit"),
    [
        # What a step of the language model takes is 41 GB, and of the others 14 GB at most.
        ("20b0", 40.0, {"bert-large", "resnet50", "unet"}),
        ("26b9", 44.9, {"1b", "bert-large", "resnet50", "unet"}),
        ("27b8", 22.5, {"bert-large", "resnet50", "unet"}),
        ("1eb8", 15.0, set()),
    ],
)
def test_models_are_trained_where_they_fit(pci: str, gib: float, fit: set[str]):
    hardware = Hardware(pci_id=f"10de:{pci}", memory_bytes=int(gib * (1 << 30)))
    made = {model.name: training(hardware, model) for model in MODELS}
    assert {name for name, size in made.items() if isinstance(size, Size)} == fit


def test_a_budget_that_is_too_small_says_how_much_is_enough():
    for fleet, targets in FLEETS.items():
        with pytest.raises(UsageError) as caught:
            campaign("c", targets, 3)
        told = (caught.value.hint or "").split()[2]
        number, unit = int(told[:-1]), told[-1]
        budget = number * {"s": 1, "m": 60, "h": 3600}[unit]
        assert campaign("c", targets, budget).seconds <= budget, fleet
    with pytest.raises(UsageError, match="nothing to test"):
        campaign("c", (), HOUR)


# ---------------------------------------------------------------- what the judges make of it


def journal(plan: Plan) -> list[dict[str, Any]]:
    """A journal in which every cell has an end that tells of good work."""
    result = {
        "faults": 0, "products": 9, "verified": 9, "seconds": 1.0, "share": 0.96, "gbs": {},
        "hardware": "it", "software": "that", "references": [{"seed": 1, "hash": "aa"}],
    }  # fmt: skip
    return [
        {"event": "plan", "self_test": False,
         "cells": [{"id": cell.id, **cell.document} for cell in plan.cells]},
        *({"event": "end", "cell": cell.id, "status": "done", "result": result}
          for cell in plan.cells),
    ]  # fmt: skip


@pytest.mark.parametrize("fleet", FLEETS)
def test_planned_is_what_the_judges_name(fleet: str):
    targets = FLEETS[fleet]
    made = campaign("c", targets, 2 * HOUR)
    own = devices(targets)
    journals = {name: (journal(plan), own[name]) for name, plan in plans(made).items()}
    for records, _ in journals.values():  # what several made together is told by rank
        device_of = {cell["id"]: cell["device"] for cell in records[0]["cells"]}
        pci_ids = {one.device: one.pci_id for one in targets}
        for record in records[1:]:
            if "," in device_of[record["cell"]]:
                record["result"] = {"ranks": {}}
            else:
                told = pci_ids[device_of[record["cell"]]]
                record["result"] = {**record["result"], "hardware": told}
    named = [
        *(check for records, known in journals.values() for check in burn_in.judge(records, known)),
        *(
            check
            for name, (records, _) in journals.items()
            for check in health.health(
                records,
                {one.address: one.subject for one in targets if one.host == name and one.address},
            )
        ),
        *burn_in.golden(journals),
    ]
    assert Counter(made.planned) == Counter(
        Planned(name=check.name, subject=check.subject) for check in named
    )


def test_what_is_not_tested_is_said():
    (only,) = FLEETS["one L40S"]
    made = campaign("c", (replace(only, address=""),), 20 * MINUTE)
    assert "copies p2p on L40S: L40S has no NVLink" in made.not_tested
    assert "all_reduce on L40S: no host has two devices" in made.not_tested
    assert "health under load of a GPU 0: nothing tells of it" in made.not_tested
    assert "same products as others on L40S: there is only one" in made.not_tested
    assert burn_in.GOLDEN not in {check.name for check in made.planned}
    assert health.NAME not in {check.name for check in made.planned}
    small = campaign("c", FLEETS["H200 x8"], 7 * MINUTE)
    assert any("the budget of 7m finds more in other tests" in line for line in small.not_tested)
    assert small.by_fault["network adapter"] == 0


def test_a_test_of_the_table_is_one_and_what_it_sees_is_a_fault():
    names = [test.name for test in choices.TESTS]
    assert len(set(names)) == len(names)
    known = {fault.name for fault in choices.FAULTS}
    for test in choices.TESTS:
        assert set(test.sees) <= known
        assert all(0 < chance < 1 for chance in test.sees.values())
    assert all(fault.source and fault.weight > 0 for fault in choices.FAULTS)


# ---------------------------------------------------------------- again


def test_who_is_outside_of_the_fleet_is_measured_again_with_other_operands():
    targets = FLEETS["two hosts of H200 x8"]
    made = campaign("c", targets, 2 * HOUR)
    slow = targets[3]
    wanted = [
        Planned(name=name, subject=slow.subject)
        for name in ("products bf16 A", "copies h2d", "memory patterns", "health under load")
    ]
    found = again(made, wanted, targets, 20 * MINUTE)
    assert set(found) == {"a"}
    repeated = plan_from(json.dumps(found["a"]))
    assert {cell.device for cell in repeated.cells} == {slow.device}
    assert Counter(cell.kind for cell in repeated.cells) == {
        "gemm": REPEATS, "copy": REPEATS, "memory": REPEATS,
    }  # fmt: skip
    assert not {cell.id for cell in repeated.cells} & {cell.id for cell in plans(made)["a"].cells}
    assert not {cell.seed for cell in repeated.cells} & {
        cell.seed for cell in plans(made)["a"].cells
    }
    checks = burn_in.judge(journal(repeated), devices(targets)["a"])
    assert {check.name for check in checks} == {
        "products bf16 A", "copies h2d", "memory patterns",
    }  # fmt: skip


def test_what_does_not_fit_is_not_measured_again():
    targets = FLEETS["H200 x8"]
    made = campaign("c", targets, 2 * HOUR)
    wanted = [Planned(name="products bf16 A", subject=one.subject) for one in targets]
    assert again(made, wanted, targets, 0) == {}
    assert again(made, (), targets, HOUR) == {}
    repeated = again(made, wanted, targets, 6 * MINUTE)["a"]["cells"]
    each = Counter(cell["device"] for cell in repeated)
    assert set(each.values()) == {REPEATS}
    for device in each:
        assert sum(c["expected_s"] for c in repeated if c["device"] == device) < 6 * MINUTE
