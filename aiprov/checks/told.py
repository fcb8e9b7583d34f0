"""What a journal tells as numbers, and what good hardware has none of."""

from __future__ import annotations

import math
from typing import Any

from aiprov.checks.model import Bound, Measurement


def number(value: Any) -> float | None:
    """What a journal has as a number; ``None`` for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def finite(value: Any) -> float | None:
    """The same; ``None`` also for what is infinite or no number."""
    known = number(value)
    return known if known is not None and math.isfinite(known) else None


def none(name: str, value: float | None) -> Measurement:
    """A count that has to be 0; without a value it was not told."""
    bound = Bound(relation="at most", value=0, basis="exact", reason="good hardware has none")
    return Measurement(name=name, value=value, bounds=(bound,), reason="it is not told")
