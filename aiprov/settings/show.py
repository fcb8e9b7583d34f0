"""``aiprov inventory show``: every host's settings and where each value comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from aiprov import FORMAT_VERSION
from aiprov.connection import Connection
from aiprov.inventory import Host, Inventory
from aiprov.roles import RoleVars
from aiprov.settings import resolve_all
from aiprov.settings.faults import HIDDEN

DEFAULT = "default"


def sources(settings: RoleVars, host: Host) -> dict[str, str]:
    """Where each setting's value is written; ``default`` for the role's own."""
    return {
        name: str(host.variables.location(name) or "inventory")
        if name in settings.model_fields_set
        else DEFAULT
        for name in type(settings).model_fields
    }


def show(inventory: Inventory) -> dict[str, Any]:
    """All hosts' settings as a document, without secrets. Raises ``InventoryErrors``."""
    settings = {name: of.chosen for name, of in resolve_all(inventory).items()}
    return {
        "format_version": FORMAT_VERSION,
        "hosts": {host.name: _host(host, settings[host.name]) for host in inventory.hosts},
    }


def show_text(document: Mapping[str, Any], *, defaults: bool = False) -> str:
    """The same as text; ``defaults`` shows what the inventory does not set, too."""
    return "\n".join(
        line for name, host in document["hosts"].items() for line in _lines(name, host, defaults)
    )


def _host(host: Host, settings: Mapping[str, RoleVars]) -> dict[str, Any]:
    return {
        "address": host.address,
        "connection": _connection(host.connection),
        "groups": list(host.groups),
        "roles": list(settings),
        "settings": {slug: _role(role, host) for slug, role in settings.items()},
    }


def _role(settings: RoleVars, host: Host) -> dict[str, Any]:
    origins = sources(settings, host)
    return {
        name: {
            "value": HIDDEN if host.variables.vaulted(name) else shown(getattr(settings, name)),
            "source": origins[name],
        }
        for name in origins
    }


def _connection(connection: Connection) -> dict[str, Any]:
    """What a reader wants of a connection; passwords are said to be there, no more."""
    return {
        "kind": connection.kind,
        "transport": connection.transport,
        "port": connection.port,
        "user": connection.user,
        "private_key_file": connection.private_key_file,
        "password": connection.password is not None,
        "become": connection.become_method if connection.become else None,
        "become_password": connection.become_password is not None,
        "python": connection.python,
    }


def shown(value: Any) -> Any:
    """A setting as JSON knows it, with secrets hidden at any depth."""
    match value:
        case SecretStr():
            return HIDDEN
        case BaseModel():
            return {name: shown(getattr(value, name)) for name in type(value).model_fields}
        case Mapping():
            return {str(key): shown(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [shown(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def _lines(name: str, host: Mapping[str, Any], defaults: bool) -> Iterator[str]:
    reached = "" if host["address"] == name else f" ({host['address']})"
    groups = ", ".join(host["groups"])
    yield f"{name}{reached}" + (f"  in {groups}" if groups else "")
    for slug, settings in host["settings"].items():
        rows = [
            (variable, json.dumps(entry["value"], ensure_ascii=False), entry["source"])
            for variable, entry in settings.items()
            if defaults or entry["source"] != DEFAULT
        ]
        yield f"  {slug}" + ("" if rows else "  all defaults")
        width = max((len(row[0]) for row in rows), default=0)
        for variable, value, source in rows:
            yield f"    {variable:<{width}}  {value}  # {source}"
