"""Realises changes in memory: what a host's state would be once they had been made.

It believes every promise of a plan, so it proves one thing about a plan: that nothing is left to
do when all of it has come true. ``plan(desired, simulate(plan(desired, s), s))`` has no changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiprov.diff import text_of
from aiprov.engines import Listener, Outcome
from aiprov.plan import NEWEST, Change
from aiprov.planner import REFRESH
from aiprov.resources import (
    Absent,
    AptRepository,
    Directory,
    DnfRepository,
    File,
    HostState,
    Link,
    Package,
    Resource,
    State,
    previous_path,
)
from aiprov.survey.state import PACKAGE_LISTS

_PATH_KINDS = (File, Directory, Link, Absent)


class SimulateEngine:
    """Holds a host's state in ``state`` and replaces it by what each change promises."""

    name = "simulate"

    def __init__(self, state: HostState) -> None:
        self.state: HostState = state

    def unsupported(self, resource: Resource) -> str | None:
        """Nothing: in memory every promise can be kept."""
        return None

    def apply(self, changes: Sequence[Change], listener: Listener) -> Sequence[Outcome]:
        outcomes = []
        for change in changes:
            listener(change)
            self.state = simulate((change,), self.state)
            outcomes.append(Outcome(change=change, status="done"))
        return outcomes


def simulate(changes: Sequence[Change], state: HostState) -> HostState:
    """The state after the changes. Neither ``changes`` nor ``state`` is altered."""
    after = {name: dict(value) for name, value in state.items()}
    for change in changes:
        name = change.address
        after[name] = {**after.get(name, {}), **change.before, **_kept_promise(change)}
        _other_readers_of_the_path(change, after)
        if change.keep_previous and isinstance(change.resource, File | Absent):
            after[f"File[{previous_path(change.resource.path)}]"] = {"type": "file"}
        if name == REFRESH or isinstance(change.resource, AptRepository | DnfRepository):
            after[PACKAGE_LISTS] = {**after.get(PACKAGE_LISTS, {}), "age_s": 0}
    return after


def _kept_promise(change: Change) -> State:
    """``after`` without what is no state but a request, and with what the change brings along."""
    promised: dict[str, Any] = {key: v for key, v in change.after.items() if key != "restart"}
    if change.after.get("restart"):
        promised["stale"] = []
    match change.resource:
        case Package() if promised.get("version") == NEWEST:
            promised["version"] = next(iter(change.before.get("candidates") or ()), NEWEST)
        case File() as file:
            promised["content"] = text_of(file)
    return promised


def _other_readers_of_the_path(change: Change, after: dict[str, dict[str, Any]]) -> None:
    """One path may be asked for as several kinds; what is there now is the same for all."""
    if not isinstance(change.resource, _PATH_KINDS):
        return
    for kind in _PATH_KINDS:
        name = f"{kind.__name__}[{change.resource.path}]"
        if name in after and name != change.address:
            after[name]["type"] = change.after.get("type")
