"""Counters as rates: totals since a driver was loaded say nothing of today."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from aiprov.checks.model import Bound

HOUR_S = 3600.0


def per_hour(rise: float, seconds: float) -> float:
    """A rise as a rate. Over a short time one error is none: it counts as if for an hour."""
    return rise * HOUR_S / max(seconds, HOUR_S)


def risen(values: Sequence[float | None], full: int = 0) -> tuple[float | None, str]:
    """By how much a counter rose over its readings at least, and why that may not be all.

    ``full``: the value at which it stops to count; 0 where it does not.
    """
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None, "the counter is not told"
    least = sum(max(0.0, after - before) for before, after in pairwise(known))
    for before, after in pairwise(known):
        if after < before:
            return least, f"the counter fell from {before:g} to {after:g}: it was reset"
    if values[0] is None or values[-1] is None:
        return least, "the counter is not told"
    if full and known[-1] >= full:
        return least, f"the counter is full at {full}"
    return least, ""


def judged(value: float | None, why: str, bound: Bound) -> float | None:
    """The value that is to be judged: what may not be all is, where it is too much already."""
    return None if value is None or (why and bound.holds(value)) else value
