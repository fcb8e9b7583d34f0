"""Whatever the budget: it is kept, more of it finds no less, and equal hardware does equal work."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.checks.campaign import Campaign, Target, campaign
from aiprov.checks.cells import LONGEST_S
from aiprov.payload.plan import Cell
from tests.unit.checks.campaigns import FLEETS, HOUR, MINUTE, cells_on, plans

BUDGETS = st.floats(min_value=10 * MINUTE, max_value=26 * HOUR)


def time_of(made: Campaign, target: Target) -> float:
    """Of a device: what its cells are expected to take."""
    return sum(
        cell["expected_s"]
        for cell in made.plans[target.host]["cells"]
        if target.device in Cell(kind="", device=cell["device"], limit_s=0).devices
    )


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(FLEETS)), BUDGETS, st.integers(0, 5))
def test_whatever_the_budget_it_is_kept_and_plans_make_sense(fleet: str, budget: float, seed: int):
    targets = FLEETS[fleet]
    made = campaign("c", targets, budget, seed=seed)
    assert made.seconds <= budget
    assert max(time_of(made, target) for target in targets) < made.seconds
    for plan in plans(made).values():
        assert all(cell.limit_s > 120 for cell in plan.cells)
        assert sum(cell.limit_s for cell in plan.cells) > 0
    for document in made.plans.values():
        for cell in document["cells"]:
            assert 0 < cell["expected_s"] <= LONGEST_S
            assert cell["limit_s"] >= 3 * cell["expected_s"]
            own = cell["parameters"]
            assert own.get("seconds", 0) + own.get("pass_seconds", 0) <= cell["expected_s"]
    for name, limit in made.limits.items():
        assert limit > max(cell.limit_s for cell in plans(made)[name].cells)
    assert made.by_fault and all(0 <= chance <= 1 for chance in made.by_fault.values())
    assert made == campaign("c", targets, budget, seed=seed)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(sorted(FLEETS)), BUDGETS, st.floats(0, 4 * HOUR))
def test_more_budget_never_finds_less(fleet: str, budget: float, more: float):
    few, many = (campaign("c", FLEETS[fleet], value) for value in (budget, budget + more))
    assert many.detected >= few.detected - 1e-12


@settings(deadline=None, max_examples=30)
@given(st.integers(20, 600), st.integers(0, 300))
def test_short_budgets_of_processors_are_kept_too(budget: int, more: int):
    few, many = (campaign("c", FLEETS["CPUs"], value) for value in (budget, budget + more))
    assert few.seconds <= budget
    assert many.detected >= few.detected - 1e-12


@pytest.mark.parametrize("fleet", FLEETS)
def test_equal_hardware_gets_the_same_work_of_the_same_seeds(fleet: str):
    made = campaign("c", FLEETS[fleet], 2 * HOUR, seed=7)
    work: dict[str, list[Any]] = {}
    for target in FLEETS[fleet]:
        own = [
            (cell.kind, cell.seed, {**cell.parameters, "peer": None}, cell.limit_s)
            for cell in cells_on(made, target)
        ]
        assert work.setdefault(target.pci_id, own) == own
    other = campaign("c", FLEETS[fleet], 2 * HOUR, seed=8)
    assert {cell.seed for plan in plans(made).values() for cell in plan.cells}.isdisjoint(
        cell.seed for plan in plans(other).values() for cell in plan.cells
    )


def test_passes_of_different_cells_have_different_seeds():
    made = campaign("c", FLEETS["H200 x8"], 24 * HOUR)
    seeds = sorted(
        cell.seed for cell in cells_on(made, FLEETS["H200 x8"][0]) if cell.kind == "gemm"
    )
    # A pass counts the seed up by one; a cell has some hundred.
    assert min(later - sooner for sooner, later in pairwise(seeds)) > 1000


def test_what_is_made_together_comes_after_what_each_does_alone():
    made = campaign("c", FLEETS["H200 x8"], HOUR)
    names = [cell.device for cell in plans(made)["a"].cells]
    together = "cuda:0,1,2,3,4,5,6,7"
    assert together in names
    assert set(names[names.index(together) :]) == {together}


def test_copies_between_gpus_go_in_pairs_and_to_all():
    targets = FLEETS["H200 x8"]
    made = campaign("c", targets, 20 * MINUTE)
    peers = {
        int(target.device[-1]): [
            cell.parameters["peer"] for cell in cells_on(made, target) if "peer" in cell.parameters
        ]
        for target in targets
    }
    for number, own in peers.items():
        assert set(own) == set(range(8)) - {number}
        assert [peers[peer][turn] for turn, peer in enumerate(own)] == [number] * len(own)


def test_devices_of_a_host_begin_one_after_the_other():
    made = campaign("c", FLEETS["H200 x8"], 2 * HOUR)
    assert made.plans["a"]["stagger_s"] == 10
    assert campaign("c", FLEETS["H200 x8"], 20 * MINUTE).plans["a"]["stagger_s"] < 9
    assert campaign("c", FLEETS["CPUs"], 60).plans["a"]["stagger_s"] == 0
