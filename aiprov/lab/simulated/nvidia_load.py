"""Stand-in of aiprov's lab: how a simulated GPU is while something works on it, and after.

A GPU works while a process has its device open, or while a process stands in for it: one that was
started with the words ``worker cpu:3`` works on the fourth. Temperature, power and clock follow
from how long it has worked, so that curves rise as those of real ones do. Runs on the host: Python
3.6 and its standard library only.
"""

# For the host's Python 3.6, and small.
# ruff: noqa: UP006, UP031, UP035, UP045
import math
import re
import time
from typing import Any, Dict, List, Optional, Tuple

import simulated_gpus as lab  # type: ignore[import-not-found]

Gpu = Tuple[int, str, Dict[str, Any], Dict[str, Any]]

_TICKS = 100.0
"""A second, as /proc/PID/stat counts it on every kernel that Linux distributions build."""
_WARMS_IN_S = 30.0
_STAND_IN = re.compile(r"(?:cpu|cuda):([0-9,]+)$")


def _stand_ins(index: int) -> List[int]:
    """The processes that stand in for a GPU."""
    found = []
    for name in lab.names_in("/proc"):
        if not name.isdigit():
            continue
        words = lab.text_of(f"/proc/{name}/cmdline").split("\0")
        for before, word in zip(words, words[1:]):  # noqa: B905, RUF007 - Python 3.6
            match = _STAND_IN.match(word)
            if before == "worker" and match and str(index) in match.group(1).split(","):
                found.append(int(name))
    return found


def _age(pid: int) -> Optional[float]:
    """Seconds since a process began; ``None`` where /proc does not tell."""
    fields = lab.text_of("/proc/%d/stat" % pid).rpartition(")")[2].split()
    uptime = lab.text_of("/proc/uptime").split()
    if len(fields) < 20 or not uptime:
        return None
    return max(0.0, float(uptime[0]) - float(fields[19]) / _TICKS)


def worked(index: int) -> Optional[float]:
    """Seconds for which a GPU has worked by now; ``None``: it rests."""
    pids = lab.workers(index) + _stand_ins(index)
    if not pids:
        return None
    ages = [_age(pid) for pid in pids]
    return max([age for age in ages if age is not None] or [10 * _WARMS_IN_S])


def readings(gpu: Gpu) -> Dict[str, Any]:
    """Celsius, watts, MHz and percent, as they are now."""
    base = gpu[3]["temperature"]
    seconds = worked(gpu[0])
    wave = math.sin(time.time() / 7.0 + gpu[0])
    if seconds is None:
        return {"temperature": base, "memory_temperature": base + 4, "power": 70.0 + 2 * wave,
                "sm": 345, "memory": 2619, "busy": 0, "state": "P0"}  # fmt: skip
    warm = 1.0 - math.exp(-seconds / _WARMS_IN_S)
    return {
        "temperature": int(base + 33 * warm + wave),
        "memory_temperature": int(base + 42 * warm + wave),
        "power": 560.0 + 110.0 * warm + 6 * wave,
        "sm": int(1980 - 190 * warm + 8 * wave),
        "memory": 2619,
        "busy": 100,
        "state": "P0",
    }


def corrected(gpu: Gpu) -> int:
    """Corrected memory errors: where the memory is bad, as many a second as the GPU works."""
    now = gpu[3]
    if now["ecc_rate"]:
        with lab.locked():
            at = time.time()
            if worked(gpu[0]) is not None:
                now["ecc_corrected"] += int(now["ecc_rate"] * max(0.0, at - now["ecc_at"]))
            now["ecc_at"] = at
            lab.save(gpu[1], gpu[2], now)
    return int(now["ecc_corrected"])
