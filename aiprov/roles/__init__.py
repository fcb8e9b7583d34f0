"""Roles: pure functions from settings and facts to the resources that a host should have.

A role is a module ``aiprov/roles/<slug>.py`` with

``Vars``          its settings, a ``RoleVars`` whose fields are all prefixed ``<slug>_``
``REQUIRES``      slugs of roles that come before it, and without which it makes no sense
``AFTER``         slugs of roles that come before it on hosts that have them (may be left out)
``GROUPS``        groups of hosts that are there for this role (may be left out)
``unsuitable``    ``(vars, host) -> str | None``: why this host has no use for the role
``outside``       ``(vars, host, cluster) -> str | None``: why this host has no part in what the
                  role makes of several hosts (may be left out)
``resources``     ``(vars, host, cluster) -> list[Resource]``: what should be so
``notes``         ``(vars, host, cluster) -> list[Note]``: why it decided so, and what to know of
                  that (may be left out)
``doubts``        ``(cluster) -> list[str]``: what every plan would refuse of an inventory in which
                  hosts have the role (may be left out)

It touches nothing: no network, no process, no file of the host, no clock.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict

from aiprov.errors import UsageError
from aiprov.resources import Resource
from aiprov.survey.facts import Facts

if TYPE_CHECKING:
    from aiprov.cluster_secrets.loaded import LoadedSecrets


class RoleVars(BaseModel):
    """Typed settings of one role. Frozen; an unknown name is an error.

    Each field carries ``Field(description=...)``: the text users read in docs and Ansible's
    argument specs. A value that must never be shown is typed ``SecretStr``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


@dataclass(frozen=True, kw_only=True)
class ClusterHost:
    """What every host may know of another one, from the inventory alone.

    ``variables``: its variables in plain types, unchecked, each templated when it is asked for.
    """

    name: str
    address: str
    groups: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """All hosts of the inventory (not only those a run is limited to).

    ``groups``: names of hosts by group, those of its child groups too, in the inventory's order.
    ``settings``: those of all roles of the host that is asked about, by slug, whichever roles a
    run is narrowed to. By them roles agree about what they share.
    ``hosts`` are in the inventory's order.
    ``secrets`` loads the secrets of the inventory's Kubernetes cluster, once a run. It raises
    ``InventoryError`` where there are none or no password: only roles that need them call it.
    """

    hosts: Mapping[str, ClusterHost] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    settings: Mapping[str, RoleVars] = field(default_factory=dict)
    secrets: Callable[[], LoadedSecrets] | None = None


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something to tell with a host's plan: why a role decided so, or a warning about it."""

    level: Literal["reason", "warning"]
    text: str


class Role(Protocol):
    """What a role module offers."""

    __name__: str
    REQUIRES: tuple[str, ...]
    Vars: type[RoleVars]

    def unsuitable(self, vars: Any, host: Facts) -> str | None: ...

    def resources(self, vars: Any, host: Facts, cluster: Cluster) -> list[Resource]: ...


@cache
def slugs() -> tuple[str, ...]:
    """Names of all roles, found by listing this package."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__)))


def load(slug: str) -> Role:
    """The role module of that name. Raises ``UsageError`` with the nearest name."""
    if slug not in slugs():
        raise UsageError(f"there is no role {slug!r}", hint=f"roles are {', '.join(slugs())}")
    module: ModuleType = importlib.import_module(f"{__name__}.{slug}")
    return cast("Role", module)


def order(wanted: Iterable[str]) -> Sequence[str]:
    """The wanted roles and all that they require, each after what it requires or comes after."""
    wanted = tuple(wanted)
    there = set(required(wanted))
    done: dict[str, None] = {}

    def visit(slug: str, path: tuple[str, ...]) -> None:
        if slug in path:
            raise UsageError(f"roles come after each other: {' -> '.join((*path, slug))}")
        if slug not in done:
            before = [name for name in after(slug) if name in there]
            for name in (*load(slug).REQUIRES, *before):
                visit(name, (*path, slug))
            done[slug] = None

    for slug in wanted:
        visit(slug, ())
    return tuple(done)


def required(wanted: Iterable[str]) -> Sequence[str]:
    """The wanted roles and all that they require, in no order."""
    found: dict[str, None] = {}
    todo = list(wanted)
    while todo:
        slug = todo.pop()
        if slug not in found:
            found[slug] = None
            todo += load(slug).REQUIRES
    return tuple(found)


def before(slug: str, there: Iterable[str]) -> tuple[str, ...]:
    """The roles, of those that are there, on whose work this one builds."""
    return tuple(name for name in order([*there, slug]) if name != slug and _builds_on(slug, name))


def _builds_on(slug: str, other: str) -> bool:
    return any(
        name == other or _builds_on(name, other) for name in (*load(slug).REQUIRES, *after(slug))
    )


def notes(slug: str, vars: RoleVars, host: Facts, cluster: Cluster) -> list[Note]:
    """What the role has to tell of its decisions for a host."""
    told: list[Note] = getattr(load(slug), "notes", lambda *_: [])(vars, host, cluster)
    return told


def outside(slug: str, vars: RoleVars, host: Facts, cluster: Cluster) -> str | None:
    """Why the host has no part in what the role makes of several; ``None`` where it has one."""
    why_not: str | None = getattr(load(slug), "outside", lambda *_: None)(vars, host, cluster)
    return why_not


def doubts(slug: str, cluster: Cluster) -> list[str]:
    """What plans of the role would refuse, as far as the inventory alone tells."""
    found: list[str] = getattr(load(slug), "doubts", lambda _: [])(cluster)
    return found


def unheeded(groups: Sequence[str], there: Sequence[str]) -> list[tuple[str, str]]:
    """Groups of a host that are there for a role, with the role, where the host has it not."""
    missing = [slug for slug in slugs() if slug not in there]
    return [
        (group, slug)
        for slug in missing
        for group in groups
        if group in getattr(load(slug), "GROUPS", ())
    ]


def after(slug: str) -> tuple[str, ...]:
    """The roles that come before this one on hosts that have them."""
    return tuple(getattr(load(slug), "AFTER", ()))
