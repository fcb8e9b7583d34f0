"""Who is slow: robust statistics of a fleet and of a GPU's own past, with every metric's own noise.

The median and the median absolute deviation (MAD) do not move with the outliers that they are to
find, and a bound in units of a metric's noise fits metrics that vary by 0.2 % and by 5 % alike.
Who is outside in the first stage is a suspect; measured again, it is judged by the second stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeVar

from aiprov.checks.model import Bound

Better = Literal["higher", "lower"]
S = TypeVar("S")

FEWEST = 5
"""Values from which a spread is estimated; with fewer there is no bound, and that is said."""

SUSPECT_Z = 3.0
"""First stage: a good GPU is measured again once in 741 times (Gaussian noise)."""
FAILED_Z = 4.0
"""Second stage: beyond it is 1 good GPU in 31,574, before it is measured again."""
REPEATS = 3
"""Measurements of a suspect in the second stage; their median is judged."""

_GAUSSIAN = 1.482602218505602
"""MAD of a Gaussian is its standard deviation divided by this: 1 / Phi^-1(3/4)."""
_SMALL = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}
"""By how much the MAD of so few values is too small on average.

C. Croux and P. Rousseeuw, Time-efficient algorithms for two highly robust estimators of scale
(1992); n / (n - 0.8) for more.
"""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric. ``noise``: its least relative noise; a smaller measured one is an accident.

    Good GPUs of a model differ by some tenths of a percent at least, by their leakage and place in
    the rack; half a percent keeps those that are 2 % below the median out of a verdict.
    """

    name: str
    unit: str = ""
    better: Better = "higher"
    noise: float = 0.005


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Where values lie and how far apart: ``sigma`` is comparable to a standard deviation."""

    median: float
    sigma: float
    count: int

    def z(self, value: float, better: Better) -> float:
        """How many sigma a value is better than the median; negative: worse."""
        away = (value - self.median) / self.sigma
        return away if better == "higher" else -away


def mad_sigma(values: Sequence[float]) -> float:
    """The standard deviation by the MAD, without the bias that it has for few values."""
    count = len(values)
    centre = median(values)
    mad = median(abs(value - centre) for value in values)
    return _GAUSSIAN * mad * _SMALL.get(count, count / (count - 0.8))


def spread(values: Iterable[float], metric: Metric) -> Spread | None:
    """Where the values of a fleet lie; ``None`` where there are too few, or their median is 0.

    What is no finite number does not count: it is its subject's own failure to measure.
    """
    known = [value for value in values if math.isfinite(value)]
    if len(known) < FEWEST:
        return None
    centre = median(known)
    sigma = max(mad_sigma(known), metric.noise * abs(centre))
    return Spread(median=centre, sigma=sigma, count=len(known)) if sigma else None


def outside(
    values: Mapping[S, float], fleet: Spread | None, metric: Metric, z: float = SUSPECT_Z
) -> tuple[S, ...]:
    """Who is worse than a fleet allows, the worst first; nobody where there is no fleet."""
    if fleet is None:
        return ()
    worse = {
        who: fleet.z(value, metric.better)
        for who, value in values.items()
        if math.isfinite(value) and fleet.z(value, metric.better) < -z
    }
    return tuple(sorted(worse, key=lambda who: worse[who]))


def fleet_bound(
    values: Iterable[float], metric: Metric, what: str = "GPUs", z: float = FAILED_Z
) -> Bound | None:
    """What a member of a fleet must reach, by the first stage's values of all of them.

    ``what``: whose values they are, in words. ``None`` where there are too few.
    """
    fleet = spread(values, metric)
    if fleet is None:
        return None
    return _bound(fleet, metric, "fleet", f"{fleet.count} {what}", z)


def pooled_noise(histories: Iterable[Sequence[float]], metric: Metric) -> float:
    """The relative noise of one GPU from run to run, by the pasts of all GPUs of its model.

    Few runs of one GPU say little of their spread; the runs of many say much.
    """
    residuals = [
        (value / median(past) - 1) * math.sqrt(len(past) / (len(past) - 1))
        for past in histories
        if len(past) > 1 and median(past)
        for value in past
    ]
    measured = mad_sigma(residuals) if len(residuals) >= FEWEST else 0.0
    return max(measured, metric.noise)


def history_bound(
    past: Sequence[float], metric: Metric, noise: float, z: float = FAILED_Z
) -> Bound | None:
    """What a GPU must reach by its own past: the same serial number, metric and software.

    ``past``: oldest first; ``noise``: relative, of ``pooled_noise``. It must reach the better of
    first and last runs, so that it cannot get worse by small steps. ``None``: too few runs.
    """
    known = [value for value in past if math.isfinite(value)]
    if len(known) < FEWEST:
        return None
    best = max if metric.better == "higher" else min
    reference = best(median(known[:FEWEST]), median(known[-FEWEST:]))
    # The median of n values has itself pi/2 of the variance of their mean.
    sigma = noise * abs(reference) * math.sqrt(1 + math.pi / 2 / FEWEST)
    own = Spread(median=reference, sigma=sigma, count=len(known))
    return _bound(own, metric, "history", f"its {len(known)} runs before", z) if sigma else None


def _bound(
    where: Spread, metric: Metric, basis: Literal["fleet", "history"], whose: str, z: float
) -> Bound:
    sign = -1 if metric.better == "higher" else 1
    return Bound(
        relation="at least" if metric.better == "higher" else "at most",
        value=where.median + sign * z * where.sigma,
        basis=basis,
        reason=f"{whose} have {where.median:.5g}, sigma {where.sigma / abs(where.median):.2%}, "
        f"{z:g} sigma {'below' if metric.better == 'higher' else 'above'}",
    )
