"""Curves of a GPU over time, beside what its fleet did meanwhile.

All GPUs share the scales, so that curves can be compared by eye. Throughput of many precisions
shares a scale as well: that of the fleet's median of each.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from aiprov.checks.coverage import thinned
from aiprov.checks.validation import Series
from aiprov.report.verdicts.metrics import ticks
from aiprov.report.verdicts.places import Place

LEFT, RIGHT, TOP, BASE = 34.0, 276.0, 8.0, 110.0
"""The frame of a panel of 280 by 128 CSS pixels."""
MOST_POINTS = 160
"""Of a drawn curve: more than a screen shows; the highest and the lowest of each part are kept."""
MOST_TIMES = 60
"""At which the fleet is looked at."""
FEWEST = 5
"""GPUs whose curves make a band."""
MOST = 400
"""GPUs that a band is made of; of more, every so many are taken."""
PERCENT = "% of the fleet's median"
PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("temperature", ("temperature", "memory temperature")),
    ("power", ("power",)),
    ("clock", ("clock",)),
    ("throughput", ("throughput",)),
)
"""Each with the names of the series in it; a name that is not here has a panel of its own."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel that all GPUs share: its scales and the band in which the fleet's middle 80 % lie."""

    name: str
    unit: str
    names: tuple[str, ...]
    anchor: str
    times: tuple[float, float]
    values: tuple[float, float]
    across: tuple[tuple[float, str], ...]
    down: tuple[tuple[float, str], ...]
    band: str
    middle: str
    bases: Mapping[str, float]
    """By label: the fleet's median, which is 100 %; empty where values are as they are."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A drawn curve. ``times``: its value is that of the panel times this, in ``unit``."""

    name: str
    number: int
    points: str
    times: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A panel with one GPU's curves in it, and what they say in words."""

    panel: Panel
    curves: tuple[Curve, ...]
    words: str


def panels(places: Iterable[Place], shown: Container[str]) -> list[Panel]:
    """The panels of a fleet. ``shown``: the anchors of those whose curves are drawn."""
    measured = [place for place in places if place.series]
    step = -(-len(measured) // MOST) or 1
    taken = [
        place
        for number, place in enumerate(measured)
        if number % step == 0 or place.anchor in shown
    ]
    every = [one for place in taken for one in place.series if one.points]
    if not every:
        return []
    last = max(one.points[-1][0] for one in every)
    named = {name for _, names in PANELS for name in names}
    others = dict.fromkeys(one.name for one in every if one.name not in named)
    wanted = [*PANELS, *((name, (name,)) for name in others)]
    made: list[Panel] = []
    for title, names in wanted:
        own = [one for one in every if one.name in names]
        if own:
            made.append(_panel(title, names, own, last, f"band{len(made)}"))
    return made


def _panel(
    title: str, names: tuple[str, ...], own: Sequence[Series], last: float, anchor: str
) -> Panel:
    bases: dict[str, float] = {}
    if title == "throughput":
        labels = dict.fromkeys((one.label, one.unit) for one in own)
        for label, unit in labels:
            found = [
                v for one in own if (one.label, one.unit) == (label, unit) for _, v in one.points
            ]
            bases[f"{label}\0{unit}"] = median(found) or 1.0
    scaled = [[(at, v / _base(bases, one)) for at, v in one.points] for one in own]
    main = [points for points, one in zip(scaled, own, strict=True) if one.name == names[0]]
    values = [value for points in scaled for _, value in points if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if bases:
        low, high = min(low, 90.0), max(high, 105.0)
    elif title != "temperature":
        low = min(low, 0.0)
    space = (high - low) * 0.05 or 1.0
    low, high = (low - space if low else 0.0), high + space
    shape = _Scale(times=(0.0, last or 1.0), values=(low, high))
    middle, band = _band(main, shape)
    minutes = [60.0 * value for value in ticks(0.0, last / 60, 4)]
    return Panel(
        name=title, unit=PERCENT if bases else own[0].unit, names=names, anchor=anchor,
        times=shape.times, values=shape.values, bases=bases, band=band, middle=middle,
        across=tuple((shape.x(at), f"{at / 60:g}") for at in minutes),
        down=tuple((shape.y(value), f"{value:g}") for value in ticks(low, high, 4)),
    )  # fmt: skip


def _base(bases: Mapping[str, float], one: Series) -> float:
    return bases.get(f"{one.label}\0{one.unit}", 100.0) / 100.0 if bases else 1.0


def drawn(panel: Panel, place: Place) -> Drawn | None:
    """The curves of one GPU in a panel; ``None`` where it has none."""
    own = [one for one in place.series if one.name in panel.names and one.points]
    if not own:
        return None
    shape = _Scale(times=panel.times, values=panel.values)
    curves, words = [], []
    for one in own:
        base = _base(panel.bases, one)
        points = [(at, value / base) for at, value in one.points if math.isfinite(value)]
        shown = " ".join(
            f"{shape.x(at)},{shape.y(value)}" for at, value in thinned(points, MOST_POINTS)
        )
        name = f"{one.name} {one.label}".strip() if one.label or len(panel.names) > 1 else one.name
        curves.append(
            Curve(
                name=name, number=panel.names.index(one.name), times=base, unit=one.unit,
                points=shown,
            )
        )  # fmt: skip
        if points:
            low, high = min(value for _, value in points), max(value for _, value in points)
            words.append(f"{name} {low * base:.4g} to {high * base:.4g} {one.unit}")
    return Drawn(panel=panel, curves=tuple(curves), words="; ".join(words))


@dataclass(frozen=True, kw_only=True)
class _Scale:
    times: tuple[float, float]
    values: tuple[float, float]

    def x(self, at: float) -> float:
        first, last = self.times
        return round(LEFT + (at - first) / (last - first) * (RIGHT - LEFT), 1)

    def y(self, value: float) -> float:
        low, high = self.values
        return round(BASE - (value - low) / (high - low) * (BASE - TOP), 1)


def _band(curves: Sequence[Points], shape: _Scale) -> tuple[str, str]:
    """The fleet's median over time and its middle 80 %, as points; empty for few GPUs."""
    if len(curves) < FEWEST:
        return "", ""
    width = (shape.times[1] - shape.times[0]) / MOST_TIMES or 1.0
    parts: dict[int, list[float]] = {}
    for points in curves:
        own: dict[int, list[float]] = {}
        for at, value in points:
            if math.isfinite(value):
                own.setdefault(min(int(at / width), MOST_TIMES - 1), []).append(value)
        for part, values in own.items():
            parts.setdefault(part, []).append(sum(values) / len(values))
    upper, lower, middle = [], [], []
    for part in sorted(parts):
        if len(parts[part]) >= FEWEST:
            cut = quantiles(parts[part], n=10, method="inclusive")
            x = shape.x((part + 0.5) * width)
            lower.append(f"{x},{shape.y(cut[0])}")
            middle.append(f"{x},{shape.y(cut[4])}")
            upper.append(f"{x},{shape.y(cut[8])}")
    return " ".join(middle), " ".join([*lower, *reversed(upper)])
