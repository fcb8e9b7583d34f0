"""How others judge, written anew from their descriptions, so that it can be set beside ours.

Rules for rates: which GPUs of a fleet are too slow. Read 2026-08: superbenchmark 700d650 (docs and
quickscan rule.yaml), gpu-fryer 704ba85, Megatron-LM pull request 4662 (sniff test), DCGM 4.6.0
(TargetedStress: 0.95 of a target that is 0.75 of a healthy GPU).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev

from aiprov.checks import fleet
from aiprov.checks.model import Check, Measurement, Subject
from aiprov.checks.statistics import REPEATS

PER_HOST = 8

Measure = Callable[[int], float]
"""Measures a GPU, by its number, once more."""
Rule = Callable[[Sequence[float], Measure, float], set[int]]
"""By the rates of a fleet, and what a healthy GPU does: who is too slow."""


def below_mean(share: float) -> Rule:
    """Further below the mean than a share of it."""

    def rule(rates: Sequence[float], _measure: Measure, _healthy: float) -> set[int]:
        floor = fmean(rates) * (1 - share)
        return {number for number, rate in enumerate(rates) if rate < floor}

    return rule


def below_best_of_host(rates: Sequence[float], _measure: Measure, _healthy: float) -> set[int]:
    """More than 10 % below the best GPU of the same host."""
    found = set()
    for first in range(0, len(rates), PER_HOST):
        host = rates[first : first + PER_HOST]
        found |= {first + place for place, rate in enumerate(host) if rate < 0.9 * max(host)}
    return found


def sniff_test(rates: Sequence[float], _measure: Measure, _healthy: float) -> set[int]:
    """More than a standard deviation and more than 10 % below the mean."""
    mean, sigma = fmean(rates), pstdev(rates)
    return {
        number
        for number, rate in enumerate(rates)
        if mean - rate > sigma and mean - rate > 0.1 * mean
    }


def fixed_floor(rates: Sequence[float], _measure: Measure, healthy: float) -> set[int]:
    """Below 0.95 of a target that is 0.75 of what a healthy GPU does."""
    return {number for number, rate in enumerate(rates) if rate < 0.95 * 0.75 * healthy}


def two_stages(rates: Sequence[float], measure: Measure, _healthy: float) -> set[int]:
    """Ours: suspects by the fleet's own noise are measured three times more, then judged."""
    gpus = [
        Subject(host=f"gpu{number // PER_HOST}", kind="gpu", id=str(number))
        for number in range(len(rates))
    ]
    models = dict.fromkeys(gpus, "H200")
    first = [_check(gpu, rate) for gpu, rate in zip(gpus, rates, strict=True)]
    again = [
        _check(one.subject, measure(int(one.subject.id)))
        for one in fleet.to_measure_again(first, models)
        for _ in range(REPEATS)
    ]
    judged = fleet.judged(first, again, models)
    return {int(check.subject.id) for check in judged if check.verdict == "failed"}


def _check(gpu: Subject, rate: float) -> Check:
    throughput = Measurement(name="throughput", value=rate, unit="TFLOPS", required=False)
    return Check(name="products bf16 A", subject=gpu, measurements=(throughput,))


RULES: Mapping[str, Rule] = {
    "ours": two_stages,
    "SuperBench, mean - 5 %": below_mean(0.05),
    "SuperBench quickscan, mean - 10 %": below_mean(0.10),
    "gpu-fryer, best of host - 10 %": below_best_of_host,
    "Megatron-LM sniff test": sniff_test,
    "DCGM targeted stress": fixed_floor,
}
