"""Vendor facts as data: what exists, what fits together, until when. Every row has its source.

The rows lie in ``data/*.toml``, keys as armoured text in ``data/keys``. Inventories choose among
rows; they cannot change one.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeVar

from aiprov.errors import CatalogError, UnsupportedError

Source = Literal["docker", "distribution"]
"""Whose packages: Docker's own repository, or the distribution's."""

R = TypeVar("R", bound="Row")


@dataclass(frozen=True, kw_only=True)
class Row:
    """``source``: where the row's facts were read; ``date``: when."""

    source: str
    date: date


@dataclass(frozen=True, kw_only=True)
class OperatingSystem(Row):
    """An OS that roles support. ``version`` is VERSION_ID, for the RHEL family its major part.

    ``hold_package``: what the package manager needs before it can hold packages.
    """

    id: str
    version: str
    codename: str
    name: str
    family: Literal["debian", "redhat"]
    python: str
    init: Literal["systemd"]
    time_sync: Literal["timesyncd", "chrony"]
    eol: date
    hold_package: str | None = None


@dataclass(frozen=True, kw_only=True)
class ContainerdLine(Row):
    """A minor release line of containerd. ``schema``: the newest config version that it reads.

    ``cdi``: whether its CRI plugin has ``enable_cdi``, and as what by default.
    """

    version: str
    schema: Literal[2, 3, 4]
    cdi: Literal["absent", "off", "on"]
    cni_bin_dirs: bool
    lts: bool
    eol: date


@dataclass(frozen=True, kw_only=True)
class PackageVersions(Row):
    """The versions of a package that a host of this OS may have. No ``os``: on every OS.

    ``companions``: packages from the same source, in the same version, that belong to it.
    ``brings_config``: whether it comes with the configuration file that a role merges into.
    """

    name: str
    oldest: str
    newest: str | None = None
    os: str | None = None
    os_version: str | None = None
    companions: list[str] = field(default_factory=list)
    brings_config: bool = False


@dataclass(frozen=True, kw_only=True)
class Repository(Row):
    """Docker's repository for one OS, below the base URL. ``conflicts``: packages it replaces."""

    os: str
    path: str
    component: str
    key: str
    conflicts: list[str]


@dataclass(frozen=True, kw_only=True)
class Key(Row):
    """A public signing key. ``sha256`` is that of the armoured file as the vendor serves it."""

    name: str
    file: str
    fingerprint: str
    sha256: str

    @property
    def text(self) -> str:
        """The armoured key."""
        return (files(__name__) / "data" / "keys" / self.file).read_text(encoding="ascii")


@dataclass(frozen=True, kw_only=True)
class Feature(Row):
    """Something that a daemon understands from a version on."""

    name: str
    since: str


@cache
def _document(name: str) -> dict[str, Any]:
    return tomllib.loads((files(__name__) / "data" / f"{name}.toml").read_text(encoding="utf-8"))


def _rows(row: type[R], document: str, table: str) -> tuple[R, ...]:
    return tuple(row(**values) for values in _document(document)[table])


def operating_systems() -> tuple[OperatingSystem, ...]:
    """Every OS that roles support."""
    return _rows(OperatingSystem, "os", "os")


def operating_system(os_id: str, os_version: str) -> OperatingSystem:
    """The row of a host's OS, by os-release's ID and VERSION_ID.

    Raises ``UnsupportedError`` for any other OS.
    """
    for row in operating_systems():
        version = os_version.partition(".")[0] if row.family == "redhat" else os_version
        if (row.id, row.version) == (os_id, version):
            return row
    known = ", ".join(row.name for row in operating_systems())
    raise UnsupportedError(f"{os_id} {os_version} is not supported", hint=f"supported are {known}")


def containerd_lines() -> tuple[ContainerdLine, ...]:
    """The release lines of containerd, oldest first."""
    return _rows(ContainerdLine, "containerd", "line")


def containerd_line(version: str) -> ContainerdLine:
    """The line of a containerd version. Raises ``CatalogError`` for a line without a row."""
    minor = ".".join(version.split(".")[:2])
    for line in containerd_lines():
        if line.version == minor:
            return line
    known = ", ".join(line.version for line in containerd_lines())
    raise CatalogError(
        f"containerd {version} is of no line that the catalog knows",
        hint=f"lines are {known}; give at least major and minor, such as 2.2",
    )


def package_versions(document: str, name: str, os: OperatingSystem) -> PackageVersions:
    """The versions of a package on an OS. Raises ``UnsupportedError`` where it does not exist."""
    for row in _rows(PackageVersions, document, "package"):
        if row.name == name and row.os in (None, os.id) and row.os_version in (None, os.version):
            return row
    raise UnsupportedError(f"{os.name} has no package {name}", hint="choose another source")


def docker_repository(os: OperatingSystem) -> Repository:
    """Docker's repository for an OS."""
    for row in _rows(Repository, "docker", "repository"):
        if row.os == os.id:
            return row
    raise UnsupportedError(f"Docker has no repository for {os.name}", hint="choose another source")


def keys() -> tuple[Key, ...]:
    """All signing keys."""
    return _rows(Key, "docker", "key")


def key(name: str) -> Key:
    """The signing key of that name. Raises ``CatalogError`` where there is none."""
    for row in keys():
        if row.name == name:
            return row
    raise CatalogError(f"there is no key {name!r}", hint="see aiprov/catalog/data")


def docker_has(feature: str, version: str) -> bool:
    """Whether a Docker daemon of that version understands the feature."""
    for row in _rows(Feature, "docker", "feature"):
        if row.name == feature:
            return _numbers(version) >= _numbers(row.since)
    raise CatalogError(f"there is no feature {feature!r}", hint="see aiprov/catalog/data")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
