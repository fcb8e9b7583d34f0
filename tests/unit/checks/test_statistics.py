"""Outliers and regressions against the theory of Gaussian noise, by seeded simulation."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from statistics import fmean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.checks.statistics import (
    FAILED_Z,
    FEWEST,
    REPEATS,
    Metric,
    fleet_bound,
    history_bound,
    mad_sigma,
    outside,
    pooled_noise,
    spread,
)

SPEED = Metric(name="bf16", unit="TFLOPS")
LATENCY = Metric(name="latency", unit="us", better="lower")


def fleet(rng: random.Random, size: int, cv: float) -> list[float]:
    return [rng.gauss(800, 800 * cv) for _ in range(size)]


def suspects(values: Mapping[int, float], metric: Metric) -> tuple[int, ...]:
    return outside(values, spread(values.values(), metric), metric)


def slow_found_and_false_alarms(
    *, size: int, cv: float, slow: float, trials: int, seed: int = 1
) -> tuple[float, float]:
    """How often one slow GPU is found, and how many good ones are blamed, a fleet; one stage."""
    rng, found, blamed = random.Random(seed), 0, 0
    for _ in range(trials):
        values = fleet(rng, size, cv)
        values[0] *= 1 - slow
        bound = fleet_bound(values, SPEED)
        assert bound is not None
        bad = [index for index, value in enumerate(values) if not bound.holds(value)]
        found += 0 in bad
        blamed += len(set(bad) - {0})
    return found / trials, blamed / trials


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7, 8, 9, 10, 64])
def test_the_mad_of_few_values_is_no_smaller_than_their_spread(count: int):
    rng = random.Random(count)
    estimates = [mad_sigma([rng.gauss(0, 1) for _ in range(count)]) for _ in range(4000)]
    assert fmean(estimates) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize(
    ("slow", "at_least"),
    [(0.03, 0.93), (0.05, 0.995), (0.08, 1.0)],
)
def test_a_slow_gpu_of_64_is_found_when_noise_is_half_a_percent(slow: float, at_least: float):
    found, blamed = slow_found_and_false_alarms(size=64, cv=0.005, slow=slow, trials=400)
    assert found >= at_least
    assert blamed <= 0.02


def test_a_noisy_metric_of_a_large_fleet_raises_no_alarms():
    # A rule of 5 % off the mean raises 62 for each such fleet, one of 10 % off the best 357.
    _, blamed = slow_found_and_false_alarms(size=1024, cv=0.03, slow=0.0, trials=40)
    assert blamed <= 0.15


def test_one_host_of_eight_seldom_blames_a_good_gpu():
    _, blamed = slow_found_and_false_alarms(size=8, cv=0.005, slow=0.0, trials=3000)
    assert blamed <= 0.12  # which is why there is a second stage


def two_stages(rng: random.Random, values: list[float], true: list[float], cv: float) -> set[int]:
    first = dict(enumerate(values))
    again = {
        who: [rng.gauss(true[who], 800 * cv) for _ in range(REPEATS)]
        for who in suspects(first, SPEED)
    }
    bound = fleet_bound(values, SPEED)
    assert bound is not None
    judged = {**first, **{who: median(values) for who, values in again.items()}}
    return {who for who, value in judged.items() if not bound.holds(value)}


@pytest.mark.parametrize("size", [8, 64])
def test_measuring_suspects_again_acquits_the_good_and_keeps_the_slow(size: int):
    rng, cv = random.Random(2), 0.005
    found = blamed = 0
    trials = 1500 if size == 8 else 300
    for _ in range(trials):
        true = [800.0] * size
        true[0] *= 0.96
        blame = two_stages(rng, [rng.gauss(one, 800 * cv) for one in true], true, cv)
        found += 0 in blame
        blamed += len(blame - {0})
    assert blamed / trials <= (0.01 if size == 8 else 0.002)
    assert found / trials >= (0.80 if size == 8 else 0.995)


def test_a_third_of_a_fleet_may_be_slow_and_is_found():
    rng = random.Random(3)
    values = fleet(rng, 30, 0.005)
    values[:10] = [value * 0.8 for value in values[:10]]
    assert sorted(suspects(dict(enumerate(values)), SPEED)) == list(range(10))


def test_equal_values_do_not_make_a_hair_an_outlier():
    values = dict.fromkeys(range(8), 800.0) | {8: 799.0}
    assert suspects(values, SPEED) == ()
    assert suspects({**values, 8: 780.0}, SPEED) == (8,)


def test_suspects_are_told_the_worst_first_and_lower_can_be_better():
    rng = random.Random(4)
    values = dict(enumerate(rng.gauss(10, 0.05) for _ in range(20)))
    values |= {3: 14.0, 7: 19.0, 9: 2.0}
    assert suspects(values, LATENCY) == (7, 3)
    bound = fleet_bound(values.values(), LATENCY)
    assert bound is not None
    assert (bound.relation, bound.basis) == ("at most", "fleet")
    assert "20 GPUs have 10" in bound.reason


@pytest.mark.parametrize("values", [[], [1.0] * (FEWEST - 1), [0.0] * 9, [math.nan] * 9])
def test_too_few_values_give_no_bound(values: list[float]):
    assert fleet_bound(values, SPEED) is None
    assert suspects(dict(enumerate(values)), SPEED) == ()


def test_what_is_no_number_is_nobodys_noise():
    values = [*fleet(random.Random(5), 9, 0.005), math.nan, math.inf]
    known = spread(values, SPEED)
    assert known is not None
    assert known.count == 9


@settings(deadline=None)
@given(
    st.lists(st.floats(1, 1e6), min_size=FEWEST, max_size=30),
    st.floats(1e-3, 1e3),
)
def test_units_do_not_matter(values: list[float], factor: float):
    mine, other = spread(values, SPEED), spread([value * factor for value in values], SPEED)
    assert mine is not None
    assert other is not None
    assert other.median == pytest.approx(mine.median * factor)
    assert other.sigma == pytest.approx(mine.sigma * factor, rel=1e-6)


# ---------------------------------------------------------------- its own past


def test_the_noise_of_runs_is_pooled_over_gpus_that_differ():
    rng = random.Random(6)
    histories = [
        [rng.gauss(level, level * 0.01) for _ in range(4)]
        for level in (700 + 5 * index for index in range(40))
    ]
    assert pooled_noise(histories, SPEED) == pytest.approx(0.01, rel=0.2)
    assert pooled_noise([], SPEED) == SPEED.noise
    assert pooled_noise([[800.0], [0.0, 0.0]], SPEED) == SPEED.noise


def runs(rng: random.Random, count: int, level: float) -> Iterator[float]:
    return (rng.gauss(level, 800 * 0.004) for _ in range(count))


def test_a_gpu_that_lost_three_percent_is_found_by_its_past():
    rng, found, blamed, trials = random.Random(7), 0, 0, 2000
    for _ in range(trials):
        past = list(runs(rng, 8, 800))
        bound = history_bound(past, SPEED, noise=0.004)
        assert bound is not None
        found += not bound.holds(next(runs(rng, 1, 800 * 0.97)))
        blamed += not bound.holds(next(runs(rng, 1, 800)))
    assert found / trials >= 0.99
    assert blamed / trials <= 0.002


def test_a_gpu_cannot_get_worse_by_small_steps():
    past = [800 * (1 - 0.002 * step) for step in range(30)]
    bound = history_bound(past, SPEED, noise=0.004)
    assert bound is not None
    assert not bound.holds(past[-1] * 0.998)


def test_a_short_past_gives_no_bound():
    assert history_bound([800.0] * (FEWEST - 1), SPEED, noise=0.004) is None


def test_a_past_in_which_lower_is_better():
    bound = history_bound([10.0] * 6, LATENCY, noise=0.01)
    assert bound is not None
    assert bound.relation == "at most"
    assert bound.value == pytest.approx(10 * (1 + FAILED_Z * 0.01 * math.sqrt(1 + math.pi / 10)))
    assert bound.basis == "history"
