"""What a validation can have missed: bounds on fault rates, chances of detection, a budget's use.

Faults come as a Poisson process of a rate under load: the chance to see none in a time T is
exp(-rate T c), c being the share of the work that is verified times the share of wrong results that
the check can see.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

CONFIDENCE = 0.95
MOST_EXACT = 500
"""Faults up to which a bound is computed exactly; exp(-mean) is 0 for many."""
SLICE_S = 30.0
"""What a budget is given out by, in seconds."""


def upper_rate(faults: int, exposure: float, confidence: float = CONFIDENCE) -> float:
    """The highest fault rate that still makes so few faults likely; exact up to 500 faults.

    Per unit of ``exposure`` (hours, products); without faults it is 3.0 / exposure (rule of three).
    Infinite without exposure: nothing is known.
    """
    if exposure <= 0:
        return math.inf
    if faults > MOST_EXACT:
        return _chi_squared(2 * (faults + 1), confidence) / 2 / exposure
    low, high = 0.0, float(faults) + 1.0
    while _poisson_at_most(faults, high) > 1 - confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if _poisson_at_most(faults, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high / exposure


def _chi_squared(degrees: int, probability: float) -> float:
    """A quantile by Wilson and Hilferty, 1931; for many degrees of freedom."""
    share = 2 / (9 * degrees)
    return degrees * float(1 - share + NormalDist().inv_cdf(probability) * math.sqrt(share)) ** 3


def _poisson_at_most(count: int, mean: float) -> float:
    term = total = math.exp(-mean)
    for number in range(1, count + 1):
        term *= mean / number
        total += term
    return total


def detection_probability(rate_per_hour: float, seconds: float, coverage: float = 1.0) -> float:
    """The chance that a fault of this rate is seen at least once. ``coverage``: see above."""
    return -math.expm1(-rate_per_hour * seconds / 3600 * coverage)


# ---------------------------------------------------------------- a budget


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of fault. ``weight``: how common among all; ``rate_per_hour``: how often it shows.

    A rate of infinity: it is there all the time.
    """

    name: str
    weight: float
    rate_per_hour: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Option:
    """A test that a budget can be spent on.

    ``sees``: for each fault the chance that the test shows it at all, given time. ``setup_s`` is
    spent before it sees anything; ``least_s`` is the shortest time that makes sense after that,
    ``most_s`` the longest. ``coverage``: the share of that in which it looks. ``needed``: it is
    made first, whatever it gains.
    """

    name: str
    sees: Mapping[str, float]
    setup_s: float = 0.0
    least_s: float = SLICE_S
    most_s: float = math.inf
    coverage: float = 1.0
    needed: bool = False

    def seen(self, fault: Fault, seconds: float) -> float:
        """The chance that the test shows the fault in this time, set-up included."""
        working = min(seconds - self.setup_s, self.most_s)
        if working < self.least_s:
            return 0.0
        shows = 1.0 if math.isinf(fault.rate_per_hour) else detection_probability(
            fault.rate_per_hour, working, self.coverage
        )  # fmt: skip
        return self.sees.get(fault.name, 0.0) * shows


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a budget is spent: seconds for each test that is made, set-up included.

    ``detected``: the chance that a fault is found, given that there is one; ``by_fault``: of each
    kind. ``left_out``: tests that are not made.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    detected: float = 0.0
    by_fault: Mapping[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def choose(
    options: Sequence[Option],
    faults: Sequence[Fault],
    budget_s: float,
    *,
    slice_s: float = SLICE_S,
    growth: float = 0.0,
) -> Choice:
    """Spend a budget where each second gains the most detection, a slice at a time.

    The gain of a slice shrinks with what is spent already (the chances multiply), so the greedy way
    is near the best. A test that gains only after its set-up is begun with set-up and least time
    as its first slice. ``growth``: the share of what a test has already that its next slice is, if
    that is more than ``slice_s``; so days are given out as fast as minutes.

    Slices do not depend on the budget. Without set-up times a test's slices gain less and less a
    second, and then a larger budget never finds less: what does not fit in the smaller one gains
    more than all that is taken in its place.
    """
    spent: dict[str, float] = {}
    left = budget_s
    for option in options:
        first = option.setup_s + option.least_s
        if option.needed and first <= left:
            spent[option.name] = first
            left -= first
    ahead = {option.name: _Ahead.of(option, faults, spent, (slice_s, growth)) for option in options}
    while best := _best_step(ahead.values(), faults, left):
        name = best.option.name
        spent[name] = spent.get(name, 0.0) + best.step_s
        left -= best.step_s
        ahead[name] = _Ahead.of(best.option, faults, spent, (slice_s, growth))
    by_fault = {fault.name: _found(fault, options, spent) for fault in faults}
    return Choice(
        seconds=spent,
        detected=_detected(options, faults, spent),
        by_fault=by_fault,
        left_out=tuple(option.name for option in options if option.name not in spent),
    )


@dataclass(frozen=True, kw_only=True)
class _Ahead:
    """A test, its next step in seconds, and of each fault the chances without it and with it."""

    option: Option
    step_s: float
    now: Sequence[float]
    then: Sequence[float]

    @classmethod
    def of(
        cls,
        option: Option,
        faults: Sequence[Fault],
        spent: Mapping[str, float],
        slices: tuple[float, float],
    ) -> _Ahead:
        so_far = spent.get(option.name)
        step = option.setup_s + option.least_s
        if so_far:
            step = max(slices[0], slices[1] * so_far)
        step = min(step, option.setup_s + option.most_s - (so_far or 0.0))
        return cls(
            option=option,
            step_s=step,
            now=[0.0 if so_far is None else option.seen(fault, so_far) for fault in faults],
            then=[option.seen(fault, (so_far or 0.0) + step) for fault in faults],
        )


def _best_step(ahead: Iterable[_Ahead], faults: Sequence[Fault], left: float) -> _Ahead | None:
    """What gains the most a second; ``None`` where nothing gains or fits any more."""
    every = list(ahead)
    missed = [math.prod(1 - chance for chance in of_fault) for of_fault in zip(
        *(one.now for one in every), strict=True)]  # fmt: skip
    best: tuple[float, _Ahead] | None = None
    for one in every:
        if not 0 < one.step_s <= left:
            continue
        gain = sum(
            fault.weight * miss / (1 - now) * (then - now)
            for fault, miss, now, then in zip(faults, missed, one.now, one.then, strict=True)
            if then > now
        )
        if gain > 0 and (best is None or gain / one.step_s > best[0]):
            best = gain / one.step_s, one
    return None if best is None else best[1]


def _found(fault: Fault, options: Sequence[Option], spent: Mapping[str, float]) -> float:
    missed = math.prod(
        1 - option.seen(fault, spent[option.name]) for option in options if option.name in spent
    )
    return 1 - missed


def _detected(
    options: Sequence[Option], faults: Sequence[Fault], spent: Mapping[str, float]
) -> float:
    total = sum(fault.weight for fault in faults)
    found = sum(fault.weight * _found(fault, options, spent) for fault in faults)
    return found / total if total else 0.0
