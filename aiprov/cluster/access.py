"""What gives access to a cluster, made on the controller: its secrets, and kubeconfigs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from aiprov import FORMAT_VERSION, app
from aiprov.cluster.members import Members, members
from aiprov.cluster_secrets import ClusterSecrets, administrator, ca_hash, make, store
from aiprov.cluster_secrets import kubeconfig as kubeconfig_of
from aiprov.cluster_secrets.certificates import validity
from aiprov.errors import UsageError
from aiprov.staged import beside


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Whose kubeconfig is wanted. No ``user``: the administrator that kubeadm has.

    ``emergency``: one whom no rule can keep out. ``days``: how long it is good for.
    """

    user: str | None = None
    groups: tuple[str, ...] = ()
    days: int = 1
    emergency: bool = False
    server: str | None = None


def make_secrets(request: app.Request, now: datetime) -> Path:
    """Make the cluster's secrets, vaulted beside the inventory, and say where.

    Raises ``InventoryError`` when they are there already, or there is no vault password.
    """
    place = store.place(app.inventory(request).sources)
    store.save(place, make(now), store.vault_secrets())
    return place


def shown(request: app.Request, now: datetime) -> dict[str, Any]:
    """What may be seen of the secrets: where they are, how long they are good for, and the hash."""
    place = store.place(app.inventory(request).sources)
    secrets = store.load(place, store.vault_secrets(), now)
    authorities = {}
    for name, authority in secrets.authorities.items():
        since, until = (moment.astimezone(UTC) for moment in validity(authority))
        authorities[name] = {
            "valid_from": since.isoformat(),
            "valid_until": until.isoformat(),
            "days_left": (until - now).days,
        }
    return {
        "format_version": FORMAT_VERSION,
        "path": str(place),
        "created": secrets.created.isoformat(),
        "ca_hash": ca_hash(secrets),
        "authorities": authorities,
    }


def secrets_text(document: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [
        f"{document['path']}, made {document['created'][:10]}",
        f"CA hash  {document['ca_hash']}",
    ]
    lines += [
        f"{name:15}  valid until {about['valid_until'][:10]}, {about['days_left']} days"
        for name, about in document["authorities"].items()
    ]
    return "\n".join(lines)


def kubeconfig(request: app.Request, wish: Wish, now: datetime) -> str:
    """A kubeconfig that works as soon as the API does. No host is asked. It holds a private key.

    Raises ``InventoryError`` for secrets that cannot be read, ``UsageError`` for what cannot be.
    """
    if wish.emergency and (wish.user or wish.groups):
        raise UsageError(
            "--emergency is for one who is in system:masters, and --user or --group says another",
            hint="give either",
        )
    if "" in (wish.user, *wish.groups):
        raise UsageError(
            "an empty --user or --group is nobody's", hint="is the variable set that gives it?"
        )
    if wish.groups and not wish.user:
        raise UsageError("--group without --user", hint="say whose groups they are: --user NAME")
    inventory = app.inventory(request)
    cluster = members(inventory)
    secrets = store.load(store.place(inventory.sources), store.vault_secrets(), now)
    return _made(secrets, cluster, wish, now)


def _made(secrets: ClusterSecrets, cluster: Members, wish: Wish, now: datetime) -> str:
    own = cluster.first.settings
    known = administrator(own.kubernetes_version, emergency=wish.emergency)
    return kubeconfig_of(
        secrets,
        wish.server or cluster.endpoint(),
        own.kubernetes_cluster_name,
        wish.user or known.user,
        wish.groups if wish.user else known.groups,
        now,
        wish.days,
    )


# ---------------------------------------------------------------- its file


def write_kubeconfig(path: Path, text: str) -> None:
    """Put a kubeconfig into a file of mode 0600, whole or not at all.

    A file that is there is replaced only where it is for the same cluster and for nothing else.
    Raises ``UsageError`` otherwise, and when it cannot be written.
    """
    try:
        _refuse_others(path, text)
        with beside(path, text.encode()) as staged:
            staged.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="give a file in a folder of yours: -o FILE"
        ) from error


def _refuse_others(path: Path, text: str) -> None:
    try:
        there = _clusters(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        there = None
    if there is None:
        raise UsageError(f"{path} is there and is no kubeconfig", hint="give another file: -o FILE")
    own = _clusters(text) or {}
    if set(there.values()) - set(own.values()):
        other = ", ".join(server for server, ca in there.items() if ca not in own.values())
        raise UsageError(
            f"{path} holds access to another cluster ({other})",
            hint="give another file with -o; kubectl reads several: KUBECONFIG=A:B",
        )


def _clusters(text: str) -> dict[str, str] | None:
    """The authority of each server in a kubeconfig; ``None`` where the text is none."""
    try:
        document = yaml.safe_load(text)
        found = {
            str(one["cluster"]["server"]): str(one["cluster"].get("certificate-authority-data"))
            for one in document["clusters"] or ()
        }
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return None
    return found
