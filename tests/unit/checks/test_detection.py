"""Bounds and chances against closed forms and simulation; budgets against every other way."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.checks.detection import (
    SLICE_S,
    Choice,
    Fault,
    Option,
    choose,
    detection_probability,
    upper_rate,
)

HOUR = 3600.0


@pytest.mark.parametrize(
    ("faults", "bound"),
    # The exact upper limits of a Poisson mean at 95 %, as in tables of Poisson limits.
    [(0, 2.996), (1, 4.744), (2, 6.296), (5, 10.513), (10, 16.962), (100, 118.08)],
)
def test_the_upper_bound_is_the_exact_one(faults: int, bound: float):
    assert upper_rate(faults, 1) == pytest.approx(bound, rel=3e-4)
    assert upper_rate(faults, 24) == pytest.approx(bound / 24, rel=3e-4)


def test_the_bound_of_many_faults_goes_on_where_the_exact_one_ends():
    assert upper_rate(501, 1) == pytest.approx(upper_rate(500, 1) + 1, abs=0.1)
    assert upper_rate(10**6, 1) == pytest.approx(10**6 + 1.645 * 10**3, rel=1e-4)


def test_the_bound_of_a_day_of_products():
    # 24 h of bf16 at n = 8192 and 730 TFLOPS are 5.7e7 products.
    products = 24 * HOUR * 730e12 / (2 * 8192**3)
    assert products == pytest.approx(5.7e7, rel=0.01)
    assert upper_rate(0, products) == pytest.approx(5.2e-8, rel=0.02)


def test_without_exposure_nothing_is_known():
    assert upper_rate(0, 0) == math.inf


def test_the_bound_holds_in_95_of_100_cases():
    rng, held, trials, rate = random.Random(1), 0, 3000, 0.7
    for _ in range(trials):
        hours, faults = 0.0, -1
        while hours < 10:
            hours += rng.expovariate(rate)
            faults += 1
        held += upper_rate(faults, 10) >= rate
    assert held / trials >= 0.94


@pytest.mark.parametrize(
    ("rate", "hours", "chance"),
    [(1, 0.05, 0.05), (1, 0.25, 0.22), (1, 1, 0.63), (1, 3, 0.95), (0.3, 8, 0.91), (0.1, 24, 0.91)],
)
def test_the_chance_to_see_a_fault(rate: float, hours: float, chance: float):
    assert detection_probability(rate, hours * HOUR) == pytest.approx(chance, abs=0.006)
    assert detection_probability(rate, hours * HOUR, coverage=0) == 0


# ---------------------------------------------------------------- budgets

FAULTS = (
    Fault(name="computes wrong", weight=6, rate_per_hour=1.0),
    Fault(name="memory", weight=72, rate_per_hour=6.0),
    Fault(name="slow", weight=20),
    Fault(name="link", weight=35),
)
OPTIONS = (
    Option(name="inventory", sees={"link": 0.5}, least_s=5, most_s=5, needed=True),
    Option(name="gemm", sees={"computes wrong": 1.0, "slow": 0.9, "memory": 0.3}, setup_s=15),
    Option(name="memory", sees={"memory": 0.95}, setup_s=10, least_s=60, most_s=1800),
    Option(name="nccl", sees={"link": 0.95, "slow": 0.1}, setup_s=40, least_s=60, most_s=60),
)


def equal_shares(options: tuple[Option, ...], budget: float) -> Choice:
    """What a fixed plan does: the same time for each test."""
    share = budget / len(options)
    by_fault = {
        fault.name: 1 - math.prod(1 - option.seen(fault, share) for option in options)
        for fault in FAULTS
    }
    total = sum(fault.weight for fault in FAULTS)
    detected = sum(fault.weight * by_fault[fault.name] for fault in FAULTS) / total
    return Choice(detected=detected, by_fault=by_fault)


@pytest.mark.parametrize("minutes", [5, 20, 120, 1440])
def test_a_budget_finds_more_than_equal_shares_and_is_not_overspent(minutes: int):
    budget = minutes * 60
    choice = choose(OPTIONS, FAULTS, budget)
    assert sum(choice.seconds.values()) <= budget
    assert choice.detected > equal_shares(OPTIONS, budget).detected
    assert set(choice.seconds) | set(choice.left_out) == {option.name for option in OPTIONS}
    for option in OPTIONS:
        if option.name in choice.seconds:
            assert choice.seconds[option.name] >= option.setup_s + option.least_s
            assert choice.seconds[option.name] <= option.setup_s + option.most_s


def test_a_small_budget_takes_what_is_needed_and_says_what_is_left_out():
    choice = choose(OPTIONS, FAULTS, 20)
    assert choice.seconds == {"inventory": 5}
    assert choice.left_out == ("gemm", "memory", "nccl")
    assert choose(OPTIONS, FAULTS, 2).left_out == ("inventory", "gemm", "memory", "nccl")
    assert choose((), FAULTS, 100).detected == 0
    assert choose(OPTIONS, (), 100).detected == 0


def test_a_budget_of_days_goes_into_the_rare_fault():
    choice = choose(OPTIONS, FAULTS, 24 * HOUR)
    assert choice.seconds["gemm"] > 4 * HOUR
    assert choice.by_fault["computes wrong"] > 0.98


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(1, 60))
def test_more_time_does_not_find_much_less(seed: int, minutes: int):
    rng = random.Random(seed)
    options = tuple(
        Option(name=str(index), setup_s=rng.uniform(0, 60), least_s=rng.uniform(10, 90),
               sees={fault.name: rng.random() for fault in FAULTS})
        for index in range(3)
    )  # fmt: skip
    less, more = choose(options, FAULTS, minutes * 60), choose(options, FAULTS, minutes * 120)
    assert more.detected >= less.detected - 0.03  # a first slice may push out a better one


def test_the_greedy_way_is_near_the_best_of_all():
    for seed in range(15):
        rng = random.Random(seed)
        options = tuple(
            Option(name=str(index), sees={fault.name: rng.random() for fault in FAULTS})
            for index in range(3)
        )
        slices = 12
        greedy = choose(options, FAULTS, slices * SLICE_S).detected
        best = 0.0
        for shares in itertools.product(range(slices + 1), repeat=3):
            if sum(shares) == slices:
                found = {
                    fault.name: 1 - math.prod(
                        1 - option.seen(fault, share * SLICE_S)
                        for option, share in zip(options, shares, strict=True)
                    )
                    for fault in FAULTS
                }  # fmt: skip
                total = sum(fault.weight for fault in FAULTS)
                best = max(best, sum(f.weight * found[f.name] for f in FAULTS) / total)
        assert greedy >= 0.99 * best


def test_a_simulated_campaign_finds_what_was_promised():
    rng, budget, trials = random.Random(9), 20 * 60, 4000
    choice = choose(OPTIONS, FAULTS, budget)
    by_name = {option.name: option for option in OPTIONS}
    found = 0
    for _ in range(trials):
        fault = rng.choices(FAULTS, weights=[fault.weight for fault in FAULTS])[0]
        for name, seconds in choice.seconds.items():
            option = by_name[name]
            working = seconds - option.setup_s
            always = math.isinf(fault.rate_per_hour)
            shows = 0.0 if always else rng.expovariate(fault.rate_per_hour) * HOUR
            if rng.random() < option.sees.get(fault.name, 0) and shows <= working:
                found += 1
                break
    assert found / trials == pytest.approx(choice.detected, abs=0.025)
