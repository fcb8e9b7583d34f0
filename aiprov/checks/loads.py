"""Shapes of load (``payload/shapes.py``): how they are called, and whether they were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiprov.checks.model import Bound, Measurement
from aiprov.checks.told import number

Fields = Mapping[str, Any]

LEAST_SHARE = 0.5
"""Of the pulses a second that were asked for: large products make them longer."""


def pulsed(parameters: Fields) -> bool:
    """Whether load and rest took turns."""
    return bool(parameters.get("pulse_hz"))


def suffix(parameters: Fields) -> str:
    """What a check's name has of it: rates of other shapes are not to be compared."""
    told = [f"in pulses of {parameters['pulse_hz']:g} Hz"] if pulsed(parameters) else []
    told += [f"from {parameters['start']}"] if parameters.get("start") else []
    return "".join(f" {one}" for one in told)


def shape(parameters: Fields, result: Fields) -> tuple[Measurement, ...]:
    """Whether pulses were made, and at which temperature it began."""
    found = []
    if pulsed(parameters):
        least = LEAST_SHARE * float(parameters["pulse_hz"])
        bound = Bound(
            relation="at least", value=least, basis="exact", reason="half of what was asked for"
        )
        found.append(
            Measurement(
                name="pulses", value=number(result.get("pulse_hz")), unit="Hz", bounds=(bound,),
                reason="they are not told",
            )
        )  # fmt: skip
    if parameters.get("start"):
        start = result.get("start")
        celsius = number(start.get("celsius")) if isinstance(start, Mapping) else None
        same = Bound(relation="exactly", value=str(parameters["start"]), basis="exact")
        kind = start.get("kind") if isinstance(start, Mapping) else None
        found.append(Measurement(name="start", value=kind, bounds=(same,), reason="it is not told"))
        found.append(
            Measurement(name="temperature at the start", value=celsius, unit="C", required=False)
        )
    return tuple(found)
