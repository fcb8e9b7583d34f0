"""The fleet's judgement of rates: who is outside is measured again, and then judged.

Rates of GPUs of one model are compared by check and measurement, each by its own noise. What a
check found by itself stays: the fleet adds bounds and takes none away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import TypeGuard

from aiprov.checks.model import Bound, Check, Measurement, Planned, Subject
from aiprov.checks.statistics import (
    FEWEST,
    Better,
    Metric,
    fleet_bound,
    history_bound,
    outside,
    pooled_noise,
    spread,
)

_BETTER: Mapping[str, Better] = {
    "TFLOPS": "higher",
    "TOPS": "higher",
    "GB/s": "higher",
    "tokens/s": "higher",
    "images/s": "higher",
    "us": "lower",
}
"""Units of what is compared across a fleet."""

Key = tuple[str, str, str]
"""Model, check, measurement."""
Models = Mapping[Subject, str]
Past = Mapping[tuple[str, str, str], Sequence[float]]
"""By the subject's id (a host's name), check and measurement: values, the oldest first, of the same
software."""


def to_measure_again(checks: Sequence[Check], models: Models) -> tuple[Planned, ...]:
    """The checks of who is outside of its fleet in any rate; to be made three times more."""
    found: dict[Planned, None] = {}
    turns = _turns(checks, models)
    for key, values in _rates(checks, models).items():
        _, check, name = key
        metric = _metric(checks, check, name)
        fleet = spread(values.values(), metric)
        worst = {subject: _worst(every, metric) for subject, every in turns[key].items()}
        for subject in outside(worst, fleet, metric):
            found[Planned(name=check, subject=subject)] = None
    return tuple(found)


def judged(
    first: Sequence[Check], again: Sequence[Check], models: Models, past: Past | None = None
) -> tuple[Check, ...]:
    """The checks with bounds of the fleet and of each GPU's own past.

    Rates of who was measured again are the medians of that. Faults found in either stage stay
    found: a check that failed in the second stage is among the result.
    """
    known = past or {}
    bounds = _fleet_bounds(first, models)
    noise = _noise(known)
    repeated = _values(again)
    made = tuple(
        replace(
            check,
            measurements=tuple(
                _with_bounds(check, item, models, bounds, known, noise, repeated)
                for item in check.measurements
            ),
            not_tested=(*check.not_tested, *_too_few(check, models, bounds)),
        )
        for check in first
    )
    return (*made, *(check for check in again if check.verdict != "ok"))


def _with_bounds(
    check: Check,
    item: Measurement,
    models: Models,
    fleet: Mapping[Key, Bound],
    past: Past,
    noise: Mapping[tuple[str, str], float],
    repeated: Mapping[tuple[Subject, str, str], list[float]],
) -> Measurement:
    if item.unit not in _BETTER or (item.problem and item.required):
        return item
    values = repeated.get((check.subject, check.name, item.name))
    added = []
    key = (models.get(check.subject, ""), check.name, item.name)
    if key in fleet:
        added.append(fleet[key])
    own = past.get((check.subject.serial, check.name, item.name))
    if own:
        metric = Metric(name=item.name, unit=item.unit, better=_BETTER[item.unit])
        bound = history_bound(own, metric, noise[check.name, item.name])
        added += [bound] if bound else []
    # What broke the check's own bounds did so, however fast it was later.
    value = median(values) if values and not item.broken else item.value
    return replace(item, value=value, bounds=(*item.bounds, *added))


def _too_few(check: Check, models: Models, fleet: Mapping[Key, Bound]) -> Iterable[str]:
    for item in check.measurements:
        key = (models.get(check.subject, ""), check.name, item.name)
        if item.unit in _BETTER and key not in fleet:
            yield f"{item.name} against the fleet: fewer than {FEWEST} of the model have a value"


def _fleet_bounds(checks: Sequence[Check], models: Models) -> dict[Key, Bound]:
    found = {}
    for key, values in _rates(checks, models).items():
        model, check, name = key
        bound = fleet_bound(values.values(), _metric(checks, check, name), what=model)
        if bound:
            found[key] = bound
    return found


def _rates(checks: Iterable[Check], models: Models) -> dict[Key, dict[Subject, float]]:
    """One rate of each: the median over its turns, of which none may stand for the others."""
    turns = _turns(checks, models)
    return {key: {who: median(every) for who, every in of.items()} for key, of in turns.items()}


def _worst(values: Sequence[float], metric: Metric) -> float:
    return min(values) if metric.better == "higher" else max(values)


def _turns(checks: Iterable[Check], models: Models) -> dict[Key, dict[Subject, list[float]]]:
    found: dict[Key, dict[Subject, list[float]]] = {}
    for check in checks:
        model = models.get(check.subject)
        for item in check.measurements:
            if model and item.unit in _BETTER and _is_finite(item.value):
                key = (model, check.name, item.name)
                found.setdefault(key, {}).setdefault(check.subject, []).append(float(item.value))
    return found


def _values(checks: Iterable[Check]) -> dict[tuple[Subject, str, str], list[float]]:
    found: dict[tuple[Subject, str, str], list[float]] = {}
    for check in checks:
        for item in check.measurements:
            if item.unit in _BETTER and _is_finite(item.value):
                key = (check.subject, check.name, item.name)
                found.setdefault(key, []).append(float(item.value))
    return found


def _noise(past: Past) -> dict[tuple[str, str], float]:
    """The noise from run to run of each measurement, pooled over all GPUs."""
    histories: dict[tuple[str, str], list[Sequence[float]]] = {}
    for (_, check, name), values in past.items():
        histories.setdefault((check, name), []).append(values)
    return {key: pooled_noise(values, Metric(name=key[1])) for key, values in histories.items()}


def _metric(checks: Iterable[Check], check: str, name: str) -> Metric:
    for one in checks:
        for item in one.measurements:
            if (one.name, item.name) == (check, name) and item.unit in _BETTER:
                return Metric(name=name, unit=item.unit, better=_BETTER[item.unit])
    return Metric(name=name)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
