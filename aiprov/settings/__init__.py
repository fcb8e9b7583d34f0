"""Settings: from what an inventory says to the typed ``Vars`` of each role.

Every function raises ``InventoryErrors`` with all faults that it found, each with file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from aiprov import roles
from aiprov.errors import InventoryError, InventoryErrors, UsageError
from aiprov.inventory import Host, Inventory
from aiprov.inventory.variables import Variables
from aiprov.roles import Cluster, ClusterHost, RoleVars
from aiprov.settings import names
from aiprov.settings.faults import Reading, faults

if TYPE_CHECKING:
    from aiprov.cluster_secrets.loaded import LoadedSecrets

# A name in a play may be a registered result or another role's variable; only one that is nearly
# the role's own is taken for a misspelling.
_MISSPELT = 0.8


def resolve(slug: str, host: Host) -> RoleVars:
    """The settings of one role on one host."""
    _raise(strays(host.variables, slug))
    return _validated(slug, host.variables, host.name)


def from_mapping(
    slug: str,
    variables: Mapping[str, Any],
    *,
    template: Callable[[Any], Any] | None = None,
    host: str = "",
) -> RoleVars:
    """The settings of one role out of all variables of a host, as a play has them.

    ``template`` is Ansible's: it is asked for the role's variables only.
    """
    from aiprov.inventory.loader import located

    found = Variables(lambda: variables, located(template) if template else lambda value: value)
    known = names.settings_of(slug)
    _raise(
        _stray(found, name, slug)
        for name in found.names()
        if name not in known and names.owner(name) == slug and names.nearest(name, known, _MISSPELT)
    )
    return _validated(slug, found, host)


def roles_of(host: Host) -> tuple[str, ...]:
    """The roles of a host and all that these require, in the order in which they are applied."""
    wanted = host.roles
    _raise(
        host.variables.error(
            f"aiprov_roles: there is no role {slug!r}",
            "aiprov_roles",
            _index(host, slug),
            hint=names.did_you_mean(slug, roles.slugs()),
        )
        for slug in wanted
        if slug not in roles.slugs()
    )
    return tuple(roles.order(wanted))


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """A host's settings by role: of the roles that a run is about, in their order, and of all."""

    chosen: Mapping[str, RoleVars]
    every: Mapping[str, RoleVars]


def resolve_all(inventory: Inventory, only: tuple[str, ...] = ()) -> Mapping[str, HostSettings]:
    """The settings of all roles on all hosts, by host.

    ``only`` narrows the chosen roles to those named (and what they require); all faults of the
    hosts' variables are reported nevertheless.
    """
    errors: list[InventoryError] = []
    settings: dict[str, HostSettings] = {}
    for host in inventory.hosts:
        wanted, validated, found = _read(host)
        errors.extend(found)
        if not errors:
            narrowed = [slug for slug in wanted if slug in only] if only else wanted
            settings[host.name] = HostSettings(
                chosen={slug: validated[slug] for slug in roles.order(narrowed)},
                every={slug: validated[slug] for slug in wanted},
            )
    _raise(errors)
    return settings


def problems(host: Host) -> Iterator[InventoryError]:
    """All that is wrong with a host's variables: connection, roles, names, types, values."""
    yield from _read(host)[2]


def _read(host: Host) -> tuple[tuple[str, ...], dict[str, RoleVars], list[InventoryError]]:
    """A host's roles, the settings of every role that it has variables of, and all faults."""
    wanted: tuple[str, ...] = ()
    validated: dict[str, RoleVars] = {}
    errors: list[InventoryError] = []
    try:
        given = tuple(host.variables.names())
    except InventoryError as error:  # a file of its variables cannot be read
        return wanted, validated, [error]
    try:
        _ = host.connection
    except InventoryError as error:
        errors.append(error)
    try:
        wanted = roles_of(host)
    except InventoryError as error:
        errors.append(error)
    except UsageError as error:  # roles that require each other
        errors.append(InventoryError(f"{host.name}: {error.message}", hint=error.hint))
    errors.extend(strays(host.variables))
    for slug in dict.fromkeys((*wanted, *filter(None, map(names.owner, given)))):
        try:
            complete = slug in wanted
            validated[slug] = _validated(slug, host.variables, host.name, complete=complete)
        except InventoryError as error:
            errors.append(error)
    return wanted, validated, errors


def strays(variables: Variables, slug: str | None = None) -> Iterator[InventoryError]:
    """Variables with a role's prefix that the role does not have (of one role, or of all)."""
    for name in variables.names():
        if name.startswith("aiprov_") and slug is None:
            if name not in names.OWN:
                yield _unknown(variables, name, "aiprov", names.OWN)
            continue
        owner = names.owner(name)
        if owner and owner == (slug or owner) and name not in names.settings_of(owner):
            yield _stray(variables, name, owner)


def cluster(inventory: Inventory) -> Cluster:
    """What every host may know of the others: all hosts, whatever the limit."""
    groups = {name: group.members for name, group in inventory.groups.items()}
    hosts = {
        host.name: ClusterHost(
            name=host.name,
            address=host.address,
            groups=host.groups,
            variables=_Asked(host.variables),
        )
        for host in inventory.everyone
    }
    return Cluster(
        groups=groups,
        # In the order in which plays have them.
        hosts={name: hosts[name] for name in dict.fromkeys((*groups.get("all", ()), *hosts))},
        secrets=secrets_of(inventory.sources),
    )


def secrets_of(sources: Sequence[str]) -> Callable[[], LoadedSecrets]:
    """What loads the cluster's secrets of these inventory sources, once, whichever thread asks.

    It raises ``InventoryError`` where there are none, or no password opens them.
    """
    lock, loaded = Lock(), list["LoadedSecrets"]()

    def secrets() -> LoadedSecrets:
        from aiprov.cluster_secrets import store

        with lock:
            if not loaded:
                loaded.append(store.loaded(sources, datetime.now(UTC)))
            return loaded[0]

    return secrets


class _Asked(Mapping[str, Any]):
    """A host's variables, for roles of other hosts: these ask in threads of their own."""

    _one_at_a_time = Lock()  # Ansible's templar is not made for threads

    def __init__(self, variables: Variables) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> Any:
        with self._one_at_a_time:
            value = self._variables.value(name, _UNSET)
        if value is _UNSET:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return self._variables.names()

    def __len__(self) -> int:
        return len(list(self._variables.names()))


def _stray(variables: Variables, name: str, slug: str) -> InventoryError:
    return _unknown(variables, name, f"role {slug}", names.settings_of(slug))


def _unknown(variables: Variables, name: str, whose: str, known: tuple[str, ...]) -> InventoryError:
    return variables.error(
        f"{name}: {whose} has no such variable", name, hint=names.did_you_mean(name, known)
    )


def _validated(slug: str, variables: Variables, host: str, *, complete: bool = True) -> RoleVars:
    """The role's settings. ``complete``: a needed setting that is missing is a fault, too."""
    model = roles.load(slug).Vars
    given: dict[str, Any] = {}
    errors: list[InventoryError] = []
    for name in model.model_fields:
        try:
            value = variables.value(name, _UNSET)
        except InventoryError as error:
            errors.append(error)
            continue
        if value is not _UNSET:
            given[name] = value
    needed = frozenset(n for n in model.model_fields if complete and n not in variables)
    reading = Reading(slug=slug, model=model, variables=variables, host=host, needed=needed)
    try:
        settings = model.model_validate(given)
    except ValidationError as error:
        errors.extend(faults(error, reading))
        settings = model.model_construct()
    _raise(errors)
    return settings


_UNSET = object()


def _index(host: Host, slug: str) -> int:
    return host.roles.index(slug)


def _raise(errors: Iterator[InventoryError] | list[InventoryError]) -> None:
    found = list(errors)
    if found:
        raise InventoryErrors(found)
