"""``aiprov inventory check``: all faults of an inventory at once, and what looks unintended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiprov import FORMAT_VERSION, roles
from aiprov.errors import InventoryError, InventoryErrors
from aiprov.inventory import Inventory
from aiprov.settings import cluster, names, problems, roles_of
from aiprov.settings.faults import holds_secret

_NAMED = 5
_IMPLICIT = {"all", "ungrouped"}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found. Warnings are no faults: the inventory works as it is."""

    hosts: int
    groups: int
    errors: tuple[InventoryError, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.errors

    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {
            "format_version": FORMAT_VERSION,
            "ok": self.ok,
            "hosts": self.hosts,
            "groups": self.groups,
            "errors": [
                {"message": e.message, "hint": e.hint, "path": e.path, "line": e.line}
                for e in self.errors
            ],
            "warnings": list(self.warnings),
        }

    def text(self) -> str:
        """The report as lines, one for each fault with its hint below."""
        lines: list[str] = []
        for error in self.errors:
            lines.append(f"error: {error}")
            lines.extend([f"       {error.hint}"] if error.hint else [])
        lines.extend(f"warning: {warning}" for warning in self.warnings)
        verdict = "ok" if self.ok else _count(len(self.errors), "error")
        lines.append(f"{_count(self.hosts, 'host')}, {_count(self.groups, 'group')}: {verdict}")
        return "\n".join(lines)


def check(load: Callable[[], Inventory]) -> Report:
    """Load and examine. What cannot be read is in the report, not raised."""
    try:
        inventory = load()
    except InventoryError as error:
        return Report(hosts=0, groups=0, errors=InventoryErrors([error]).errors)
    errors = InventoryErrors(error for host in inventory.hosts for error in problems(host)).errors
    # Warnings read the same variables: with faults in them, the faults are enough to go on with.
    warnings = tuple(_warnings(inventory)) if not errors else ()
    return Report(
        hosts=len(inventory.hosts),
        groups=len(inventory.groups.keys() - _IMPLICIT),
        errors=errors,
        warnings=(*inventory.warnings, *warnings),
    )


def _warnings(inventory: Inventory) -> Iterator[str]:
    yield from _addresses(inventory)
    for name, group in inventory.groups.items():
        if name not in _IMPLICIT and not group.hosts and not group.children:
            yield f"group {name} is empty"
    yield from _near_names(inventory)
    yield from _open_secrets(inventory)
    yield from _roles(inventory)


def _addresses(inventory: Inventory) -> Iterator[str]:
    shared: dict[tuple[str, int | None], list[str]] = defaultdict(list)
    bare: list[str] = []
    for host in inventory.hosts:
        if host.connection.kind == "local":
            continue
        shared[host.connection.address, host.connection.port].append(host.name)
        if host.address == host.name and "." not in host.name and ":" not in host.name:
            bare.append(host.name)
    for (address, _), hosts in shared.items():
        if len(hosts) > 1:
            yield f"{_several(hosts)} have the same address, {address}"
    if bare:
        verb = "has" if len(bare) == 1 else "have"
        yield f"{_several(bare)} {verb} no ansible_host: the name itself must lead there"


def _near_names(inventory: Inventory) -> Iterator[str]:
    """Names that miss a role's prefix by a letter: nobody's variables, so no faults."""
    seen: set[str] = set()
    for host in inventory.hosts:
        for name in host.variables.names():
            ours = name.startswith(("aiprov_", "ansible_")) or names.owner(name)
            if name in seen or ours or "_" not in name:
                continue
            seen.add(name)
            if meant := names.meant(name):
                where = host.variables.location(name)
                yield f"{where or host.name}: {name} is no role's variable; did you mean {meant}?"


def _open_secrets(inventory: Inventory) -> Iterator[str]:
    seen: set[str] = set()
    for host in inventory.hosts:
        for name in host.variables.names():
            owner = names.owner(name)
            if name in seen or owner is None or not host.variables.vaulted(name):
                continue
            seen.add(name)
            if not holds_secret(roles.load(owner).Vars.model_fields[name].annotation):
                where = host.variables.location(name)
                yield f"{where or host.name}: {name} is in a vault, but plans show its value"


def _roles(inventory: Inventory) -> Iterator[str]:
    """Groups of hosts without the role that they are for; what plans of the roles would refuse."""
    without: dict[tuple[str, str], list[str]] = defaultdict(list)
    used: dict[str, None] = {}
    for host in inventory.hosts:
        there = roles_of(host)
        used |= dict.fromkeys(there)
        for missing in roles.unheeded(host.groups, there):
            without[missing].append(host.name)
    for (group, slug), hosts in without.items():
        yield f"{_several(hosts)}: in {group}, and {slug} is not among aiprov_roles"
    known = cluster(inventory)
    yield from (doubt for slug in used for doubt in roles.doubts(slug, known))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _several(hosts: list[str]) -> str:
    shown = ", ".join(hosts[:_NAMED])
    return f"{shown} and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else shown
