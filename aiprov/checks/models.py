"""Judges training steps and decoding: alike each time, and how fast against what is possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiprov.catalog.performance import Performance, peak_tflops, performance
from aiprov.checks.model import Bound, Measurement
from aiprov.checks.physics import TOLERANCE
from aiprov.checks.told import number

TOGETHER = "train together"
"""The kind of cell that trains on several devices."""
SHARE = "share of what is possible"


def name(parameters: Mapping[str, Any], kind: str) -> str:
    """Of the check: ``train 1b bf16``, ``train 8b bf16 fsdp``."""
    strategy = f" {parameters.get('strategy')}" if kind == TOGETHER else ""
    own = kind.removesuffix(" together")
    return f"{own} {parameters.get('model')} {parameters.get('dtype')}{strategy}"


def model(
    kind: str, parameters: Mapping[str, Any], result: Mapping[str, Any], pci_id: str
) -> tuple[Measurement, ...]:
    """What a cell of a model is judged by.

    Its speed has no floor of physics, because a model that is small leaves a GPU waiting: the
    fleet and the past judge it. The share of what is possible is recorded, and more than all of it
    is a broken measurement.
    """
    faults, steps, tokens, seconds = (
        number(result.get(key)) for key in ("faults", "steps", "tokens", "seconds")
    )
    none = Bound(relation="at most", value=0, basis="exact", reason="the same work twice is alike")
    some = Bound(relation="at least", value=1, basis="exact", reason="something was done")
    rate = tokens / seconds if tokens and seconds else None
    row = performance(pci_id) if pci_id else None
    share, broken = _share(kind, parameters, result, row, rate), ""
    if share is not None and share > TOLERANCE:
        broken = f"{share:.0%} of what is possible: the measurement is wrong"
    return (
        Measurement(name="unlike steps", value=faults, bounds=(none,), reason="it is not told"),
        *(
            [
                Measurement(
                    name="steps whose loss is no number", value=number(result.get("not_finite")),
                    bounds=(none,), reason="it is not told",
                )
            ]
            if kind == "train"
            else []
        ),
        Measurement(name="steps", value=steps, bounds=(some,), reason="it is not told"),
        Measurement(
            name="rate", value=None if broken else rate, unit=_unit(result), required=bool(broken),
            reason=broken or "no time is told",
        ),
        Measurement(
            name=SHARE, value=share, required=False,
            reason="the GPU's limits are not known",
        ),
    )  # fmt: skip


def together(
    parameters: Mapping[str, Any],
    result: Mapping[str, Any],
    pci_id: str,
    ranks: int,
    faults: int = 0,
) -> tuple[Measurement, ...]:
    """What training on several devices is judged by: as one, and by what all must agree on.

    ``ranks``: how many of them this host has; ``faults``: those that the journal tells of.
    """
    told = result.get("ranks")
    own = list(told.values()) if isinstance(told, Mapping) else []
    everyone = Bound(relation="exactly", value=ranks, basis="exact", reason="all take part")
    none = Bound(relation="at most", value=0, basis="exact", reason="all have the same gradients")
    one = {
        "faults": _at_least(_of_all(own, "faults", sum), faults),
        "steps": _of_all(own, "steps", min),
        "not_finite": _of_all(own, "not_finite", sum),
        "tokens": _of_all(own, "tokens", sum),
        "seconds": _of_all(own, "seconds", max),
        "unit": own[0].get("unit") if own else None,
    }
    alone = [item for item in own if number(item.get("tokens"))]
    share = _share("train", parameters, alone[0], performance(pci_id) if pci_id else None,
                   _rate(alone[0])) if alone else None  # fmt: skip
    return (
        Measurement(name="ranks", value=len(own), bounds=(everyone,)),
        *(item for item in model("train", parameters, one, "") if item.name != SHARE),
        Measurement(
            name="ranks with other weights", value=_of_all(own, "unlike", max), bounds=(none,),
            reason="it is not told",
        ),
        Measurement(
            name=SHARE, value=share, required=False, reason="the GPU's limits are not known"
        ),
    )  # fmt: skip


def _rate(result: Mapping[str, Any]) -> float | None:
    tokens, seconds = number(result.get("tokens")), number(result.get("seconds"))
    return tokens / seconds if tokens and seconds else None


def _of_all(
    ranks: Sequence[Mapping[str, Any]], key: str, together: Callable[[list[float]], float]
) -> float | None:
    """What the ranks say, put together; ``None`` where one of them does not say it."""
    found = [number(rank.get(key)) for rank in ranks]
    known = [value for value in found if value is not None]
    return together(known) if known and len(known) == len(found) else None


def _at_least(value: float | None, least: int) -> float | None:
    return None if value is None else max(value, float(least))


def _unit(result: Mapping[str, Any]) -> str:
    return "images/s" if result.get("unit") == "images" else "tokens/s"


def _share(
    kind: str,
    parameters: Mapping[str, Any],
    result: Mapping[str, Any],
    row: Performance | None,
    rate: float | None,
) -> float | None:
    """Of the tensor cores in training (MFU); of the memory in decoding, which reads all weights."""
    if row is None or not rate:
        return None
    if kind == "train":
        flop, tokens = number(result.get("flop")), number(result.get("tokens"))
        peak = peak_tflops(row, str(parameters.get("dtype")))
        return flop / tokens * rate / 1e12 / peak if flop and tokens and peak else None
    weight, batch = number(result.get("weight_bytes")), number(parameters.get("batch"))
    return rate / batch * weight / 1e9 / row.memory_gbs if weight and batch else None
