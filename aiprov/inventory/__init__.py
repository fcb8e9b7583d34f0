"""The inventory: a normal Ansible inventory, read by ansible-core itself, as hosts and groups.

``load`` reads every source once. A host's variables are merged and templated when they are asked
for, in the thread that asks: read what you need before work fans out to threads.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiprov.connection import Connection
from aiprov.errors import InventoryError, UsageError
from aiprov.inventory.connections import NO_OPTIONS, Options, address, connection
from aiprov.inventory.variables import Location, Variables

if TYPE_CHECKING:
    from aiprov.inventory.loader import Loaded

__all__ = ["Group", "Host", "Inventory", "Location", "Options", "Variables", "load"]

DEFAULT_ROLES = ("base",)


def role_names(value: object) -> tuple[str, ...] | None:
    """What ``aiprov_roles`` says: a list, or names with commas. ``None`` where it is neither."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(str(name) for name in names if name)


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host. ``groups`` are all groups that it is in, but ``all``, in Ansible's order."""

    name: str
    groups: tuple[str, ...]
    variables: Variables
    options: Options = NO_OPTIONS

    @functools.cached_property
    def address(self) -> str:
        """Where it is reached: ``ansible_host``, or its name."""
        return address(self.name, self.variables)

    @functools.cached_property
    def connection(self) -> Connection:
        """How it is reached. Raises ``InventoryErrors``."""
        return connection(self.name, self.variables, self.options)

    @functools.cached_property
    def roles(self) -> tuple[str, ...]:
        """The roles it is given (``aiprov_roles``), as written: neither checked nor ordered.

        Raises ``InventoryError`` when that is not a list of names.
        """
        value = self.variables.value("aiprov_roles", list(DEFAULT_ROLES))
        names = role_names(value)
        if names is None:
            raise self.variables.error(
                f"aiprov_roles: {value!r} is not a list of roles",
                "aiprov_roles",
                hint="write it as [base, docker]",
            )
        return names


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group, with its own children and hosts, and all members in Ansible's order."""

    children: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    members: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What was read. ``hosts`` are those that the limit leaves, ``everyone`` is all of them."""

    hosts: tuple[Host, ...]
    everyone: tuple[Host, ...]
    groups: Mapping[str, Group] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def load(
    sources: Sequence[str] = (),
    *,
    limit: str | None = None,
    options: Options = NO_OPTIONS,
    vault_password_files: Sequence[str] = (),
    vault_ids: Sequence[str] = (),
    ask_vault: bool = False,
) -> Inventory:
    """Read the inventory. Without sources, those that Ansible's configuration names.

    Raises ``InventoryErrors`` for all that cannot be read, ``UsageError`` for a limit that leaves
    no host.
    """
    from aiprov.inventory import loader

    given = list(sources) or loader.default_sources()
    loaded = loader.read(
        given,
        vault_ids=vault_ids,
        vault_password_files=vault_password_files,
        ask_vault=ask_vault,
    )
    everyone = {name: _host(loaded, name, options) for name in loaded.manager.hosts}
    found = loader.select(loaded, limit)
    if not everyone and not found:
        raise InventoryError(f"no hosts in {', '.join(given)}", hint="give an inventory with -i")
    if not found:
        raise UsageError(
            f"--limit {limit!r} leaves no host",
            hint=_nearest(limit or "", [*everyone, *loaded.manager.groups]),
        )
    # A limit can name Ansible's implicit localhost, which is in no group.
    hosts = [everyone.get(host.name) or _host(loaded, host.name, options) for host in found]
    return Inventory(
        hosts=tuple(hosts),
        everyone=tuple(everyone.values()),
        groups={str(name): _group(group) for name, group in loaded.manager.groups.items()},
        sources=tuple(str(source) for source in given),
        warnings=tuple(dict.fromkeys(loaded.warnings)),
    )


def _host(loaded: Loaded, name: str, options: Options) -> Host:
    host = loaded.manager.get_host(name)
    groups = tuple(str(group) for group in host.get_magic_vars()["group_names"])
    return Host(
        name=str(name), groups=groups, variables=loaded.host_variables(host), options=options
    )


def _group(group: Any) -> Group:
    return Group(
        children=tuple(str(child.name) for child in group.child_groups),
        hosts=tuple(str(host.name) for host in group.hosts),
        members=tuple(str(host.name) for host in group.get_hosts()),
    )


def _nearest(wanted: str, names: Sequence[str]) -> str:
    import difflib

    known = [str(name) for name in names if name not in ("all", "ungrouped")]
    near = difflib.get_close_matches(wanted, known, n=1)
    return f"did you mean {near[0]}?" if near else "aiprov inventory graph shows hosts and groups"
