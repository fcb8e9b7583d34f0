"""A small signed apt archive of packages that hold one file: one test run, one key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aiprov.lab.vendor import apt, signing
from aiprov.lab.vendor.package import Content, Package


@dataclass(frozen=True, kw_only=True)
class LocalArchive:
    """A flat archive in a folder (suite ``./``) and the public key that signed it."""

    folder: Path
    key: str


def package(name: str, version: str, **scripts: str) -> Package:
    """A package with one file, ``/usr/share/<name>/version``, and the given maintainer scripts."""
    number, _, revision = version.partition("-")
    return Package(
        name=name,
        version=number,
        release=revision,
        summary=f"package {name}, for tests only",
        files={f"/usr/share/{name}/version": Content(text=f"{version}\n")},
        scripts=scripts,
    )


def build(work: Path, packages: dict[str, tuple[str, ...]]) -> LocalArchive:
    """An archive of the packages (name -> versions), signed by a new key."""
    folder = work / "archive"
    every = [package(name, v) for name, versions in packages.items() for v in versions]
    key = signing.key(work / "gnupg", "aiprov tests <tests@aiprov.invalid>")
    try:
        apt.write_flat(folder, [apt.entry(one, "all") for one in every], key)
    finally:
        signing.rest(key)
    return LocalArchive(folder=folder, key=key.armoured)


def unsigned(folder: Path, packages: dict[str, tuple[str, ...]], **scripts: str) -> None:
    """An archive without a signature, of packages with these maintainer scripts."""
    every = [package(name, v, **scripts) for name, versions in packages.items() for v in versions]
    apt.write_flat(folder, [apt.entry(one, "all") for one in every], None)
