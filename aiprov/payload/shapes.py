"""Shapes of load: power that comes and goes, and beginnings of which the temperature is known.

Faults are marginal: edges of power show weak supplies, cold and hot chips different slow paths.
Nothing here judges; a temperature that nobody tells makes a test ``not tested``.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from .untested import NotTestedError

SLOWEST_HZ, FASTEST_HZ = 0.5, 10.0
POLL_S = 2.0
ASK_S = 20.0
"""For an answer of nvidia-smi."""
COLD_C, HOT_C = 40.0, 75.0
LIMIT_S = 300.0
STABLE_S = 60.0
STABLE_C = 1.0
"""A temperature that changes by no more in ``STABLE_S`` is as low, or as high, as it gets."""


class Pulse:
    """Load for half a period, rest for the other. ``hz``: 0 is load without rest.

    ``finish`` waits until the device has done what it was given. Raises ``NotTestedError`` for a
    rate that is none.
    """

    def __init__(self, hz: float, finish: Callable[[], object]) -> None:
        if hz and not SLOWEST_HZ <= hz <= FASTEST_HZ:
            raise NotTestedError(f"pulses of {hz:g} Hz: {SLOWEST_HZ:g} to {FASTEST_HZ:g} are made")
        self._hz = hz
        self._finish = finish
        self._began = 0.0
        self._loaded = 0.0
        self.count = 0
        self.rest_s = 0.0

    def begin(self) -> None:
        """Load begins: of a pass, with operands that are made."""
        self._began = time.monotonic()

    def turn(self) -> None:
        """Before each product: rest, if the load lasted for its half of the period."""
        if not self._hz or time.monotonic() - self._began < 0.5 / self._hz:
            return
        self._finish()
        rests = time.monotonic()
        # A product that takes long makes the period longer, and the rest no shorter.
        until = max(self._began + 1.0 / self._hz, rests + 0.5 / self._hz)
        time.sleep(until - rests)  # the rest is what is tested
        now = time.monotonic()
        self.count += 1
        self._loaded += rests - self._began
        self.rest_s += now - rests
        self._began = now

    @property
    def told(self) -> Dict[str, Any]:
        """For the result; empty where there were none to be."""
        if not self._hz:
            return {}
        period = self._loaded + self.rest_s
        return {
            "pulses": self.count,
            "pulse_hz": round(self.count / period, 4) if period else 0.0,
            "rest_seconds": round(self.rest_s, 6),
        }


@dataclass(frozen=True)
class Start:
    """What the temperature is to be when a test begins. ``kind``: ``cold``, ``hot`` or empty: any.

    ``celsius``: at most of a cold start, at least of a hot one; one that is stable for ``stable_s``
    will do. ``limit_s``: how long it may take.
    """

    kind: str = ""
    celsius: float = 0.0
    limit_s: float = LIMIT_S
    stable_s: float = STABLE_S

    def reached(self, celsius: float) -> bool:
        """Whether it is as cold, or as hot, as it is to be."""
        return celsius <= self.celsius if self.kind == "cold" else celsius >= self.celsius


def start_from(parameters: Mapping[str, Any]) -> Start:
    """Of ``start``, ``start_celsius``, ``start_limit_s``, ``start_stable_s``. Raises ValueError."""
    kind = str(parameters.get("start") or "")
    if kind not in ("", "cold", "hot"):
        raise ValueError(f"a start is cold or hot, and not {kind!r}")
    return Start(
        kind=kind,
        celsius=float(parameters.get("start_celsius", COLD_C if kind == "cold" else HOT_C)),
        limit_s=float(parameters.get("start_limit_s", LIMIT_S)),
        stable_s=float(parameters.get("start_stable_s", STABLE_S)),
    )


def reach(
    start: Start, temperature: Callable[[], Optional[float]], heat: Callable[[], object]
) -> Dict[str, Any]:
    """Wait, or ``heat``, until it is so; how it then was, for the result.

    Raises ``NotTestedError`` where nobody tells the temperature, and where it takes too long.
    """
    began, seen = time.monotonic(), list[Tuple[float, float]]()
    while True:
        celsius, now = temperature(), time.monotonic()
        if celsius is None:
            raise NotTestedError(f"a {start.kind} start: nobody tells the GPU's temperature")
        seen.append((now, celsius))
        if start.reached(celsius):
            how = f"{'at most' if start.kind == 'cold' else 'at least'} {start.celsius:g} C"
        elif _stable(seen, now - start.stable_s):
            how = "stable"
        elif now - began >= start.limit_s:
            raise NotTestedError(
                f"a {start.kind} start: {celsius:g} C after {start.limit_s:g} s, and it changes"
            )
        else:
            if start.kind == "hot":
                heat()
            else:
                time.sleep(min(POLL_S, start.stable_s / 4))  # asked again, up to the limit
            continue
        waited = round(now - began, 3)
        return {"kind": start.kind, "celsius": celsius, "how": how, "waited_s": waited}


def _stable(seen: List[Tuple[float, float]], since: float) -> bool:
    """Whether it was the same since then, which has to be seen for all of the time."""
    late = [celsius for at, celsius in seen if at >= since]
    return seen[0][0] <= since and max(late) - min(late) <= STABLE_C


def thermometer(device: str) -> Callable[[], Optional[float]]:
    """Asks nvidia-smi for a GPU's temperature; ``cuda:3`` and ``cpu:3`` are its fourth GPU."""
    number = device.partition(":")[2] or "0"
    command = (
        "nvidia-smi", "-i", number, "--query-gpu=temperature.gpu", "--format=csv,noheader,nounits",
    )  # fmt: skip

    def ask() -> Optional[float]:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK_S,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        said = done.stdout.strip()
        known = done.returncode == 0 and re.fullmatch(r"-?\d+(\.\d+)?", said)
        return float(said) if known else None

    return ask
