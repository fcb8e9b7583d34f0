"""What was measured alike on many: its spread over the fleet, its bounds, and a plot of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from aiprov.checks.model import Basis, Measurement, Relation, Verdict
from aiprov.report.verdicts.places import Place, natural

LEFT, RIGHT, TOP, BASE = 14.0, 346.0, 40.0, 102.0
"""The frame of a plot of 360 by 128 CSS pixels: it fits a telephone as it is."""
STEP = 6.0
"""Between dots."""
MOST_DOTS = 120
"""That can be pointed at one by one; above it those that are ok are one drawing."""
FEWEST_DOTS = 3
MOST_PLOTS = 60

Value = tuple[Place, Measurement, float]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Bounds of one kind: all the same, or from ``low`` to ``high``, each GPU its own."""

    relation: Relation
    basis: Basis
    low: float
    high: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measurement of one check on all of one model."""

    model: str
    check: str
    name: str
    unit: str
    values: tuple[Value, ...]
    missing: int
    limits: tuple[Limit, ...]

    @property
    def title(self) -> str:
        """In words; a check that is named by what it measures is not named twice."""
        return self.check if self.name in self.check.split()[1:] else f"{self.check}: {self.name}"

    @cached_property
    def median(self) -> float:
        return median(value for *_, value in self.values)

    @cached_property
    def lowest(self) -> float:
        return min(value for *_, value in self.values)

    @cached_property
    def highest(self) -> float:
        return max(value for *_, value in self.values)

    @cached_property
    def bad(self) -> list[Value]:
        """What is not ok, the least margin first."""
        return sorted(
            (one for one in self.values if one[1].verdict != "ok"),
            key=lambda one: one[1].margin or 0.0,
        )

    @cached_property
    def margins(self) -> list[float | None]:
        """Of each value; finding them takes time."""
        return [item.margin for _, item, _ in self.values]

    @cached_property
    def plotted(self) -> bool:
        """Whether a plot says more than a line of a table."""
        enough = len(self.values) >= FEWEST_DOTS and bool(self.limits)
        return enough and self.lowest != self.highest


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A value on a plot."""

    x: float
    y: float
    verdict: Verdict
    place: Place
    value: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """A bound on a plot. ``beyond``: it lies outside, on the left (-1) or right (1)."""

    x: float
    row: int
    limit: Limit
    beyond: int


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The geometry of a metric's plot, in CSS pixels."""

    metric: Metric
    median_x: float
    dots: tuple[Dot, ...]
    cloud: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]


def metrics(places: Iterable[Place]) -> list[Metric]:
    """All numbers of all places; what is not ok first, then the least margin."""
    values: dict[tuple[str, str, str, str], list[Value]] = {}
    missing: dict[tuple[str, str, str, str], int] = {}
    for place in places:
        model = place.gpu.model if place.gpu else place.subject.kind
        for check in place.checks:
            for item in check.measurements:
                key = (model, check.name, item.name, item.unit)
                value = item.value
                if isinstance(value, bool | str):
                    continue
                if value is None or not math.isfinite(value):
                    missing[key] = missing.get(key, 0) + 1
                else:
                    values.setdefault(key, []).append((place, item, float(value)))
    made = [
        Metric(
            model=key[0], check=key[1], name=key[2], unit=key[3], values=tuple(found),
            missing=missing.get(key, 0), limits=_limits(item for _, item, _ in found),
        )
        for key, found in values.items()
    ]  # fmt: skip
    return sorted(made, key=_order)


def _order(metric: Metric) -> tuple[bool, float, object]:
    least = math.inf
    if metric.plotted and not metric.bad:
        least = min((one for one in metric.margins if one is not None), default=math.inf)
    return not metric.bad, least, (natural(metric.title), metric.model)


def _limits(items: Iterable[Measurement]) -> tuple[Limit, ...]:
    found: dict[tuple[Relation, Basis], list[tuple[float, str]]] = {}
    for item in items:
        for bound in item.bounds:
            if isinstance(bound.value, int | float) and not isinstance(bound.value, bool):
                told = (float(bound.value), bound.reason)
                found.setdefault((bound.relation, bound.basis), []).append(told)
    return tuple(
        Limit(
            relation=relation, basis=basis, low=min(own)[0], high=max(own)[0],
            reason=own[0][1] if len(set(own)) == 1 else f"each its own, such as: {own[0][1]}",
        )
        for (relation, basis), own in found.items()
    )  # fmt: skip


# ---------------------------------------------------------------- the plot


def plot(metric: Metric) -> Plot:
    """Its dots above an axis: each GPU one, and the bounds that lie near enough to be seen."""
    low, high = _domain(metric)

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (RIGHT - LEFT), 1)

    dots = _swarm(metric.values, x)
    shown = dots if len(dots) <= MOST_DOTS else [dot for dot in dots if dot.verdict != "ok"]
    rest = [] if len(dots) <= MOST_DOTS else [dot for dot in dots if dot.verdict == "ok"]
    seen = dict.fromkeys((round(dot.x), round(dot.y)) for dot in rest)
    return Plot(
        metric=metric,
        median_x=x(metric.median),
        dots=tuple(sorted(shown, key=lambda dot: dot.verdict != "ok")),
        cloud="".join(f"M{across} {down}h0" for across, down in seen),
        lines=_lines(metric.limits, low, high, x),
        ticks=tuple((x(value), f"{value:g}") for value in ticks(low, high, 4)),
    )


def _domain(metric: Metric) -> tuple[float, float]:
    """All values, and the bounds that are not far from them."""
    low, high = metric.lowest, metric.highest
    width = high - low
    for limit in metric.limits:
        for value in (limit.low, limit.high):
            if low - width <= value <= high + width:
                low, high = min(low, value), max(high, value)
    space = (high - low) * 0.06
    return low - space, high + space


def _swarm(values: Sequence[Value], x: Callable[[float], float]) -> list[Dot]:
    heaps: dict[int, list[Value]] = {}
    for one in sorted(values, key=lambda one: one[2]):
        heaps.setdefault(round(x(one[2]) / STEP), []).append(one)
    highest = max(len(heap) for heap in heaps.values())
    step = min(STEP, (BASE - TOP - 6.0) / highest)
    return [
        Dot(
            x=round(column * STEP, 1), y=round(BASE - 5.0 - row * step, 1), place=place,
            verdict=item.verdict, value=value,
        )
        for column, heap in heaps.items()
        for row, (place, item, value) in enumerate(heap)
    ]  # fmt: skip


def _lines(
    limits: Sequence[Limit], low: float, high: float, x: Callable[[float], float]
) -> tuple[Line, ...]:
    made: list[Line] = []
    for limit in sorted(limits, key=lambda limit: limit.high):
        value = limit.high if limit.relation == "at least" else limit.low
        beyond = -1 if value < low else 1 if value > high else 0
        at = LEFT if beyond < 0 else RIGHT if beyond else x(value)
        made.append(Line(x=at, row=len(made) % 3, limit=limit, beyond=beyond))
    return tuple(made)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About so many round numbers between the two."""
    width = (high - low) / count
    if not width > 0 or not math.isfinite(width):
        return [low]
    power = 10.0 ** math.floor(math.log10(width))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= width * 0.999)
    first = math.ceil(low / step)
    return [float(f"{number * step:.10g}") for number in range(first, math.floor(high / step) + 1)]
