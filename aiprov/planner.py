"""From what is wanted and what is so to one host's plan: order, stages, unknowns, restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from aiprov.diff import differing, no_candidate, reason, refuse, wanted
from aiprov.errors import HostError, UnsupportedError
from aiprov.merge import UnreadableError, has_secret, merged
from aiprov.plan import (
    NEWEST,
    Change,
    Desired,
    HostPlan,
    Skipped,
    Unknown,
)
from aiprov.resources import (
    Absent,
    AptRepository,
    Command,
    DnfRepository,
    File,
    HostState,
    KernelModule,
    Merge,
    Package,
    PathExists,
    Reboot,
    Resource,
    Secret,
    Service,
    State,
    Sysctl,
    UpToDate,
    address,
    previous_path,
)
from aiprov.roles import Note
from aiprov.sets import levelled
from aiprov.survey.state import PACKAGE_LISTS
from aiprov.united import united

LISTS_MAX_AGE_S = 24 * 3600
INCOMPLETE_MAX_AGE_S = 60
REFRESH = "Command[refresh package lists]"

BUILT_IN = "aiprov"
"""Stands in a change's ``role`` where no role asked for it but the pipeline needs it."""


def plan(
    host: str,
    desired: Iterable[Desired],
    state: HostState,
    *,
    skipped: Sequence[Skipped] = (),
    notes: Sequence[Note] = (),
    requires: Mapping[str, Sequence[str]] | None = None,
) -> HostPlan:
    """One host's plan.

    ``requires`` gives each role's required roles: what waits in one also waits in those above.
    Raises ``HostError`` when something that is wanted cannot be had on this host.
    """
    try:
        items = levelled(united(desired), state)
    except UnsupportedError as error:
        raise HostError(host, error.message, hint=error.hint) from error
    planner = _Planner(state=state, requires=requires or {}, wanted=items)
    for item in items:
        try:
            planner.add(item)
        except (UnsupportedError, UnreadableError) as error:
            what = f"role {item.role}: {address(item.resource)}: {error.message}"
            raise HostError(host, what, hint=error.hint) from error
    changes = planner.finished()
    return HostPlan(
        host=host,
        changes=changes,
        unknown=tuple(planner.unknown),
        skipped=tuple(skipped),
        notes=tuple(notes),
        unchanged=planner.unchanged,
    )


_INDEPENDENT = (Package, AptRepository, DnfRepository, KernelModule, Sysctl)


@dataclass(kw_only=True)
class _Planner:
    """One pass over the wanted resources. Order in is order out, only restarts go last."""

    state: HostState
    requires: Mapping[str, Sequence[str]]
    wanted: Sequence[Desired]
    changes: list[Change] = field(default_factory=list)
    restarts: list[Change] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    unchanged: int = 0
    blocked: dict[str, str] = field(default_factory=dict)  # role -> what it waits for
    for_files: set[str] = field(default_factory=set)  # what not all wait for: see _INDEPENDENT
    everything_waits_for: str | None = None

    def __post_init__(self) -> None:
        self.watched = _watched(item.resource for item in self.wanted)

    # ------------------------------------------------------------ one resource

    def add(self, item: Desired) -> None:
        if not self._reboots_before(item.resource):
            refuse(item.resource, self._now(item.resource))
        waits_for = self._waits_for(item) or self._unknown_until(item.resource)
        if waits_for is not None:
            self.blocked.setdefault(item.role, waits_for)
            self.unknown.append(Unknown(role=item.role, resource=item.resource, until=waits_for))
            return
        now = self._now(item.resource)
        resource = _resolved(item.resource, now)
        after = self._wanted(resource, now)
        why = self._why(resource, now, after)
        if why is None:
            self.unchanged += 1
        else:
            self._change(item.role, resource, now, after, why)

    def _reboots_before(self, resource: Resource) -> bool:
        """Whether another kernel may run by the time that a module is loaded."""
        ahead = [item.resource for item in self.changes] + [item.resource for item in self.unknown]
        reboots = any(isinstance(item, Reboot) for item in ahead)
        return reboots and isinstance(resource, KernelModule)

    def _waits_for(self, item: Desired) -> str | None:
        if self.everything_waits_for is not None:
            return self.everything_waits_for
        roles = (item.role, *self.requires.get(item.role, ()))
        waits_for = next((self.blocked[role] for role in roles if role in self.blocked), None)
        if waits_for in self.for_files and isinstance(item.resource, _INDEPENDENT):
            return None  # what a configuration will say changes nothing about these
        return waits_for

    def _unknown_until(self, resource: Resource) -> str | None:
        """What has to happen before this resource's change can be known, if anything."""
        if isinstance(resource, Package | Command | Reboot):
            waited = next((name for name in resource.waits_for if self._changes(name)), None)
            if waited is not None:
                return f"{waited} has been made so"
        if isinstance(resource, Package):
            return self._version_known_after(resource)
        if (
            isinstance(resource, File)
            and isinstance(resource.content, Merge)
            and self._changes(f"Package[{resource.delivered_by}]")
        ):
            waits_for = f"package {resource.delivered_by} has brought its {resource.path}"
            self.for_files.add(waits_for)
            return waits_for
        return None

    def _changes(self, name: str) -> bool:
        """Whether the resource of that address changes in this stage; restarts are changes, too."""
        return any(change.address == name for change in (*self.changes, *self.restarts))

    def _version_known_after(self, package: Package) -> str | None:
        now = self._now(package)
        if wanted(package, now)["version"] != NEWEST:
            return None
        for change in self.changes:
            if isinstance(change.resource, AptRepository | DnfRepository):
                if package.version is None:
                    return None  # installed as whatever version the repository brings
                return f"repository {change.resource.name} has been listed"
        if not self._lists_are_old() and not self._lists_are_fetched():
            raise no_candidate(package, now)
        if package.version is None:
            return None
        self._refresh_lists()
        return "package lists have been fetched"

    def _wanted(self, resource: Resource, now: State) -> dict[str, object]:
        """What should be so; a version that fresher package lists may surpass is not promised."""
        after = dict(wanted(resource, now))
        if not isinstance(resource, Package) or resource.version is not None or resource.absent:
            return after
        if after["version"] != now.get("version") and (self._lists_are_old() or self._refreshed()):
            after["version"] = NEWEST
        return after

    def _refreshed(self) -> bool:
        """Whether this stage fetches package lists before what comes next."""
        return self._lists_are_fetched() or any(
            isinstance(change.resource, AptRepository | DnfRepository) for change in self.changes
        )

    def _lists_are_fetched(self) -> bool:
        return self._changes(REFRESH)

    def _now(self, resource: Resource) -> State:
        now = self.state.get(address(resource), {})
        if isinstance(resource, Service) and self._unit_files_change(resource.name, now):
            return {**now, "reload_needed": True}
        return now

    def _unit_files_change(self, unit: str, now: State) -> bool:
        """Whether systemd has to read the unit's files anew: in this stage, or since it started.

        systemd by itself does not notice the first drop-in of a unit, so an interrupted run would
        leave it unread.
        """
        unit_file = f"/etc/systemd/system/{unit}"
        written = [c.resource.path for c in self.changes if isinstance(c.resource, File | Absent)]
        written += now.get("stale", ())
        return any(path == unit_file or path.startswith(f"{unit_file}.d/") for path in written)

    def _why(self, resource: Resource, now: State, after: dict[str, object]) -> str | None:
        """Why there is a change, or ``None`` when there is none. May add to ``after``."""
        changed = {change.address for change in self.changes}
        match resource:
            case Service(restart_on=paths, running=running) if running:
                touched = [path for path in paths if f"File[{path}]" in changed]
                touched += [path for path in paths if f"Absent[{path}]" in changed]
                stale = [path for path in now.get("stale", ()) if path not in touched]
                if touched or (stale and now.get("running")):
                    after["restart"] = True
                if touched:
                    return f"restart: {', '.join(touched)} changed"
            case Command(after=causes, unless=UpToDate(inputs=inputs)):
                causes = (*causes, *(f"File[{path}]" for path in inputs))
                causes = (*causes, *(f"Absent[{path}]" for path in inputs))
                if touched := [cause for cause in causes if cause in changed]:
                    return f"{', '.join(touched)} changed"
            case Command(after=causes) | Reboot(after=causes):
                if touched := [cause for cause in causes if cause in changed]:
                    return f"{', '.join(touched)} changed"
        return reason(resource, now, after) if differing(now, after) else None

    # ------------------------------------------------------------ changes

    def _change(
        self, role: str, resource: Resource, now: State, after: dict[str, object], why: str
    ) -> None:
        if _needs_lists(resource) and self._lists_are_old():
            self._refresh_lists()
        change = Change(
            role=role,
            resource=resource,
            before=now,
            after=after,
            reason=why,
            keep_previous=self._keeps_previous(resource, now),
        )
        if after.get("restart"):
            self.restarts.append(change)
            return
        self.changes.append(change)
        if isinstance(resource, Reboot):
            self.everything_waits_for = "the host has rebooted"

    def _lists_are_old(self) -> bool:
        lists = self.state.get(PACKAGE_LISTS)
        if lists is None or self._lists_are_fetched():
            return False
        age = lists.get("age_s")
        # A source that cannot be fetched stays without lists: do not try again at every stage.
        most = LISTS_MAX_AGE_S if lists.get("complete", True) else INCOMPLETE_MAX_AGE_S
        return age is None or age > most

    def _refresh_lists(self) -> None:
        if self._lists_are_fetched():
            return
        age = self.state[PACKAGE_LISTS].get("age_s")
        why = "never fetched" if age is None else f"{age // 3600} hours old"
        if age is not None and age <= LISTS_MAX_AGE_S:
            why = "a source has none yet"
        refresh = Command(
            name="refresh package lists",
            argv=("apt-get", "update"),
            unless=PathExists(path="/var/lib/apt/lists"),
        )
        self.changes.append(
            Change(
                role=BUILT_IN,
                resource=refresh,
                before={"done": False},
                after={"done": True},
                reason=f"package lists: {why}",
            )
        )

    def _keeps_previous(self, resource: Resource, now: State) -> bool:
        """The last version that a service ran with is kept until the service runs with the new."""
        if not isinstance(resource, File | Absent) or resource.path not in self.watched:
            return False
        return now.get("type") == "file" and not self._has_previous(resource.path)

    def _has_previous(self, path: str) -> bool:
        return self.state.get(f"File[{previous_path(path)}]", {}).get("type") == "file"

    # ------------------------------------------------------------ the end of the stage

    def finished(self) -> tuple[Change, ...]:
        """The stage's changes: restarts last, with what to put back, then what was kept goes."""
        restarts = [replace(change, rollback=self._rollback(change)) for change in self.restarts]
        return (*self.changes, *restarts, *self._kept_files_removed(restarts))

    def _rollback(self, restart: Change) -> tuple[Command | Absent, ...]:
        service = restart.resource
        if not isinstance(service, Service):
            return ()
        by_path = {
            change.resource.path: change
            for change in self.changes
            if isinstance(change.resource, File | Absent)
        }
        return tuple(
            undo
            for path in service.restart_on
            if (undo := self._undo(path, by_path.get(path))) is not None
        )

    def _undo(self, path: str, change: Change | None) -> Command | Absent | None:
        previous = previous_path(path)
        if self._has_previous(path) or (change is not None and change.keep_previous):
            return Command(
                name=f"put back {path}",
                argv=("mv", "-f", previous, path),
                unless=PathExists(path=previous, absent=True),
            )
        if change is not None and change.before.get("type", "absent") == "absent":
            return Absent(path=path)
        return None

    def _kept_files_removed(self, restarts: Sequence[Change]) -> Iterable[Change]:
        """What was kept goes when its service runs with the new file; not while that is unknown."""
        kept = {
            change.resource.path
            for change in self.changes
            if change.keep_previous and isinstance(change.resource, File | Absent)
        }
        unknown = _watched(item.resource for item in self.unknown)
        waiting = unknown - _watched(change.resource for change in restarts)
        for path in sorted(self.watched - waiting):
            if path in kept or self._has_previous(path):
                yield Change(
                    role=BUILT_IN,
                    resource=Absent(path=previous_path(path)),
                    before={"type": "file"},
                    after={"type": "absent"},
                    reason="kept only until its service runs with the new version",
                )


def _needs_lists(resource: Resource) -> bool:
    """Whether package lists are read for it, or fetched: only its own, which then pass for new."""
    if isinstance(resource, Package):
        return not resource.absent
    return isinstance(resource, AptRepository)


def _watched(resources: Iterable[Resource]) -> set[str]:
    """The paths on whose change one of the services restarts."""
    return {path for item in resources if isinstance(item, Service) for path in item.restart_on}


def _resolved(resource: Resource, now: State) -> Resource:
    """The resource with its full content, where that depends on what the file holds now."""
    if not isinstance(resource, File) or not isinstance(resource.content, Merge):
        return resource
    present = now.get("type") == "file"
    current = now.get("content")
    if present and current is None:
        raise UnreadableError(
            f"{resource.path} is not text, or larger than 1 MiB",
            hint="move the file away; nothing was changed",
        )
    text = merged(resource.content, current if present else None)
    content = Secret(text) if has_secret(resource.content.values) else text
    return replace(resource, content=content)
