"""systemd units: enabled, running, restarted once when what they read has changed."""

import contextlib
import os
import time
from typing import Any, Dict, List, Optional

from .commands import LOG, StepFailedError, must, run
from .paths import previous_path
from .questions import changed_at

Step = Dict[str, Any]
MARGIN_S = 0.05
"""File times come from a clock that ticks every few milliseconds; a restart too many is no harm."""
SETTLE_S = 2

_PROPERTIES = (
    "LoadState,ActiveState,UnitFileState,Type,NeedDaemonReload,InactiveExitTimestampMonotonic"
)


def ensure_service(step: Step) -> bool:
    """The unit as wanted. Does it not come (back) up, its files are put back, and it fails."""
    unit = _show(step["name"])
    changed = False
    if unit["NeedDaemonReload"] == "yes" or unit["LoadState"] == "not-found":
        must(["systemctl", "daemon-reload"])
        unit = _show(step["name"])
    if step["masked"] is not None and step["masked"] != (unit["LoadState"] == "masked"):
        must(["systemctl", "mask" if step["masked"] else "unmask", step["name"]])
        changed = True
    if step["enabled"] is not None and step["enabled"] != _enabled(step["name"]):
        must(["systemctl", "enable" if step["enabled"] else "disable", step["name"]])
        changed = True
    changed |= _run_state(step, unit)
    for path in step["releases"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(previous_path(path))
    return changed


def _run_state(step: Step, unit: Dict[str, str]) -> bool:
    active = unit["ActiveState"] == "active"
    if step["running"] is False:
        if active or unit["ActiveState"] == "activating":
            must(["systemctl", "stop", step["name"]])
            return True
        return False
    if active and any(_changed_since_start(path, unit) for path in step["restart_on"]):
        return _up(step, "restart")
    if step["running"] and not active:
        return _up(step, "start")
    return False


def _up(step: Step, verb: str) -> bool:
    why = _attempt(step["name"], verb)
    if why is None:
        return True
    back = [path for path in step["restart_on"] if _put_back(path, step["created"])]
    if not back:
        raise StepFailedError(f"does not {verb}: {why}")
    again = _attempt(step["name"], "restart")
    now = "it runs with them again" if again is None else "and still it does not run"
    raise StepFailedError(
        "does not {}: {}; put back {}, {}".format(verb, why, ", ".join(back), now)
    )


def _attempt(name: str, verb: str) -> Optional[str]:
    """Why the unit is not up after the attempt; ``None`` when it is."""
    run(["systemctl", "reset-failed", name], quiet=True)
    result = run(["systemctl", verb, name])
    if result.code != 0:
        return result.last_lines
    if _show(name)["Type"] == "oneshot":
        return None
    time.sleep(SETTLE_S)  # a daemon that dies of its configuration does so at once
    state = _show(name)["ActiveState"]
    return None if state == "active" else f"it is {state} after {SETTLE_S} s"


def _put_back(path: str, created: List[str]) -> bool:
    previous = previous_path(path)
    if os.path.lexists(previous):
        os.replace(previous, path)
    elif path in created and os.path.lexists(path):
        os.unlink(path)
    else:
        return False
    LOG.info("put back %s", path)
    return True


def _show(name: str) -> Dict[str, str]:
    text = must(["systemctl", "show", "-p", _PROPERTIES, "--", name], quiet=True)
    pairs = (line.partition("=") for line in text.splitlines())
    shown = {key: value for key, _, value in pairs}
    return {**dict.fromkeys(_PROPERTIES.split(","), ""), **shown}


def _enabled(name: str) -> bool:
    return run(["systemctl", "is-enabled", "--quiet", "--", name], quiet=True).code == 0


def _changed_since_start(path: str, unit: Dict[str, str]) -> bool:
    changed = changed_at(path) or changed_at(previous_path(path))  # kept when the file went
    if changed is None:
        return False
    since_boot = int(unit["InactiveExitTimestampMonotonic"] or 0) / 1e6
    started = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + since_boot
    return changed > started - MARGIN_S
