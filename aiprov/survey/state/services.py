"""systemd units, from one ``systemctl show`` for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiprov.errors import SurveyError
from aiprov.resources import Resource, Service, State, previous_path
from aiprov.survey.facts import Facts

_RUNNING = ("active", "reloading", "refreshing")
# What ``systemctl is-enabled`` calls enabled. "alias" and "indirect" say that another unit may be.
_ENABLED = ("enabled",)
_FIXED = ("static", "generated", "transient")  # nothing can enable or disable these

Units = Mapping[str, Mapping[str, str]]


def units(facts: Facts, resources: Sequence[Resource], answer: Mapping[str, Any]) -> Units:
    """Each unit's properties by the name it was asked by. Raises ``SurveyError``."""
    names = sorted({item.name for item in resources if isinstance(item, Service)})
    if not names:
        return {}
    rc, out, err = answer["units"]
    blocks = [_properties(block) for block in out.strip("\n").split("\n\n") if block]
    if len(blocks) != len(names):
        lines = str(err).strip().splitlines()
        said = lines[-1] if lines else f"exit status {rc}"
        raise SurveyError(
            facts.name,
            f"systemd did not answer about {', '.join(names)}: {said}",
            hint="is systemd running there? try: systemctl is-system-running",
        )
    return dict(zip(names, blocks, strict=True))


def state(service: Service, found: Units, answer: Mapping[str, Any]) -> State:
    """A unit's state."""
    unit = found[service.name]
    load, file = unit.get("LoadState", ""), unit.get("UnitFileState", "")
    running = unit.get("ActiveState") in _RUNNING
    return {
        "exists": load != "not-found",
        "enabled": bool(service.enabled is not False) if file in _FIXED else file in _ENABLED,
        "running": running,
        "masked": load == "masked" or file.startswith("masked"),
        "stale": _stale(service, unit, answer) if running else [],
        "reload_needed": unit.get("NeedDaemonReload") == "yes",
    }


def _stale(service: Service, unit: Mapping[str, str], answer: Mapping[str, Any]) -> list[str]:
    """The files that changed, or went, after the unit became active.

    Of one that went, its former version was laid aside then, until the unit runs without it.

    systemd's moment is of the monotonic clock, a file's of the wall clock; the host's own reading
    of both, taken together, joins them. A change in the future (the clock was set back) says
    nothing and counts as none.
    """
    paths = service.restart_on
    now, monotonic = answer["clock"]
    active = int(unit.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    since = now - (monotonic - active)
    ctimes = answer["ctimes"]
    changed = {path: ctimes.get(path) or ctimes.get(previous_path(path)) for path in paths}
    return [path for path in paths if _between(since, changed[path], now)]


def _between(since: float, moment: float | None, now: float) -> bool:
    return moment is not None and since < moment <= now


def _properties(block: str) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition("=") for line in block.splitlines())}
