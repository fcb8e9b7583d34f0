"""What to do after a change failed, so that the host works as before: files and packages put back.

Values only: the pipeline applies them, through the engine that made the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiprov.outcome import Outcome
from aiprov.plan import Change
from aiprov.resources import Absent, Command, Package, Resource, Service, address


def undoing(failed: Change, outcomes: Sequence[Outcome]) -> tuple[list[Change], str]:
    """The changes that put things back after a failure, and what they put back in words.

    A service that does not come back gets its former files and is started with them. Packages of a
    set that was there before get their former versions. Anything else is left as it is: nothing
    depends on it yet, and the next run goes on from there.
    """
    resource = failed.resource
    if isinstance(resource, Service) and failed.rollback:
        paths = ", ".join(path for path in resource.restart_on if _touches(failed.rollback, path))
        undo = [_undo(failed, item) for item in failed.rollback]
        return [*undo, _restarted(failed)], paths
    if isinstance(resource, Package):
        undo = _former_packages(failed, outcomes)
        return undo, ", ".join(sorted({_set_of(change) for change in undo} - {""}))
    return [], ""


def undoing_before(failed: Change, outcomes: Sequence[Outcome]) -> list[Change]:
    """What has to be put back before the packages of a set: what decided about their versions.

    A pin that was changed earlier in the run would else keep the former versions from being had.
    It takes effect with the next transaction, so it has to have one of its own. ``outcomes``: those
    of the whole run.
    """
    resource = failed.resource
    waited = resource.waits_for if isinstance(resource, Package) else ()
    return [
        _formerly(item.change, failed)
        for item in outcomes
        if item.status == "done"
        and item.change.address in waited
        and isinstance(item.change.resource, Package)
        and item.change.before.get("version") != item.change.after.get("version")
    ]


def came_back(failed: Change, what: str) -> str:
    """What to tell once everything was put back."""
    if isinstance(failed.resource, Service):
        return f"{what} was put back as it was, and {failed.resource.name} runs with it"
    return f"{what} was put back at its former versions"


def _former_packages(failed: Change, outcomes: Sequence[Outcome]) -> list[Change]:
    """The set's packages as they were, those that made room for it too.

    Only where the set had been there: a first installation that failed is gone on with, not undone.
    """
    touched = [
        item.change
        for item in outcomes
        if isinstance(item.change.resource, Package)
        and item.change.before.get("version") != item.change.after.get("version")
        and (item.status == "failed" or (item.status == "done" and _removed_for(item, failed)))
    ]
    in_a_set = any(_set_of(change) for change in touched)
    was_there = any(
        change.before.get("version") is not None for change in touched if change.role == failed.role
    )
    if not (in_a_set and was_there):
        return []
    named = {change.resource.name for change in touched if isinstance(change.resource, Package)}
    return [*(_formerly(change, failed) for change in touched), *_brought(touched, named, failed)]


def _brought(touched: Sequence[Change], named: set[str], failed: Change) -> list[Change]:
    """What the set had brought along at its version, and that no package manager takes back."""
    brought: dict[str, str] = {}
    for change in touched:
        brought |= change.before.get("companions") or {}
    return [
        Change(
            role=failed.role,
            resource=Package(name=name),
            before={"version": None},
            after={"version": version},
            reason=f"{failed.address} failed",
            undo=True,
        )
        for name, version in sorted(brought.items())
        if name not in named
    ]


def _removed_for(outcome: Outcome, failed: Change) -> bool:
    return outcome.change.role == failed.role and outcome.change.after.get("version") is None


def _set_of(change: Change) -> str:
    return change.resource.together or "" if isinstance(change.resource, Package) else ""


def _formerly(change: Change, failed: Change) -> Change:
    version, hold = change.before.get("version"), bool(change.before.get("hold"))
    name = change.resource.name if isinstance(change.resource, Package) else ""
    together = _set_of(change) or None
    package = Package(name=name, absent=version is None, together=together)
    after = {"version": version} if version is None else {"version": version, "hold": hold}
    return Change(
        role=change.role,
        resource=package,
        before={"version": change.after.get("version"), "hold": False},
        after=after,
        reason=f"{failed.address} failed",
        undo=True,
    )


def _touches(rollback: Iterable[Resource], path: str) -> bool:
    names = {address(resource) for resource in rollback}
    return f"Absent[{path}]" in names or f"Command[put back {path}]" in names


def _undo(failed: Change, resource: Command | Absent) -> Change:
    after: dict[str, object] = (
        {"type": "absent"} if isinstance(resource, Absent) else {"done": True}
    )
    return Change(
        role=failed.role,
        resource=resource,
        before={},
        after=after,
        reason=f"{failed.address} did not come back",
        undo=True,
    )


def _restarted(failed: Change) -> Change:
    return Change(
        role=failed.role,
        resource=failed.resource,
        before={**failed.before, "running": False},
        after={"running": True, "restart": True},
        reason="with its former files",
        undo=True,
    )
