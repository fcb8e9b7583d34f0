"""The plan: what has to change on a host, in which order, and what cannot be known yet.

A plan is a value. It is made from what roles want and what the survey read, touches nothing, and
is all that an engine gets to see. A stage ends where the future is unknown (a version that only a
repository to be added can name, a package that brings the file to be merged, a reboot); what lies
behind is ``Unknown`` and is surveyed and planned anew when it is reached.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiprov.resources import Absent, Command, Resource, State, address, kind
from aiprov.roles import Note

NEWEST = "newest"
"""A package's version in ``after``: whatever the package manager picks, known once it did."""


@dataclass(frozen=True, kw_only=True)
class Desired:
    """A resource that a role wants."""

    role: str
    resource: Resource


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing to do on one host.

    ``after`` holds what has to be so, ``before`` the same keys (and more) as they are now. The
    resource is *resolved*: a ``File`` has its full content, never a ``Merge``; a ``Package`` to
    install has its exact version in ``after`` (or ``NEWEST``). ``keep_previous`` tells the engine
    to keep the file that is there now at ``previous_path`` before the new one is put in place.
    ``after["restart"]`` on a ``Service`` means: restart, also when it runs. ``rollback`` is what
    the pipeline applies, through the same engine, when that service does not come back.
    ``undo``: the change puts back what a failed one left half done.
    """

    role: str
    resource: Resource
    before: State
    after: State
    reason: str
    keep_previous: bool = False
    undo: bool = False
    rollback: tuple[Command | Absent, ...] = ()

    @property
    def address(self) -> str:
        return address(self.resource)

    @property
    def kind(self) -> str:
        return kind(self.resource)


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """A wanted resource whose change cannot be known until something else has happened."""

    role: str
    resource: Resource
    until: str

    @property
    def address(self) -> str:
        return address(self.resource)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A role that this host has no use for, and why."""

    role: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class HostPlan:
    """One host's plan: the stage that can be applied now, and what lies behind it.

    ``notes`` tell why the roles decided as they did, and warn; they are no changes.
    """

    host: str
    changes: tuple[Change, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[Note, ...] = ()
    unchanged: int = 0

    @property
    def empty(self) -> bool:
        return not self.changes and not self.unknown
