"""Package repositories of Kubernetes and CRI-O, one a minor version, and the keys that sign them.

Rows: ``data/kubernetes.toml``.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from aiprov.catalog import Key, Row, _rows
from aiprov.errors import CatalogError


@dataclass(frozen=True, kw_only=True)
class PackageRepository(Row):
    """A repository. ``deb`` and ``rpm``: below ``url``, with ``{minor}`` for the minor version.

    ``key``: the name of its signing key; ``None`` where the catalog does not have it.
    """

    name: str
    description: str
    url: str
    deb: str
    rpm: str
    key: str | None = None

    def path(self, family: str, version: str) -> str:
        """Its path below the URL for a version's minor: ``core:/stable:/v1.36/deb/``."""
        minor = ".".join(version.split(".")[:2])
        return (self.rpm if family == "redhat" else self.deb).format(minor=minor)


@dataclass(frozen=True, kw_only=True)
class SigningKey(Key):
    """A public signing key. ``expires``: until when this text of it may be used."""

    expires: datetime.date


def repositories() -> tuple[PackageRepository, ...]:
    """All repositories."""
    return _rows(PackageRepository, "kubernetes", "repository")


def repository(name: str) -> PackageRepository:
    """The repository of that name. Raises ``CatalogError`` where there is none."""
    for row in repositories():
        if row.name == name:
            return row
    raise CatalogError(f"there is no repository {name!r}", hint="see aiprov/catalog/data")


def signing_keys() -> tuple[SigningKey, ...]:
    """All keys."""
    return _rows(SigningKey, "kubernetes", "key")


def signing_key(name: str) -> SigningKey:
    """The key of that name. Raises ``CatalogError`` where there is none."""
    for row in signing_keys():
        if row.name == name:
            return row
    raise CatalogError(f"there is no key {name!r}", hint="see aiprov/catalog/data")
