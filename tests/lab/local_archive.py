"""A small signed apt archive, built with dpkg-deb and gpg alone: one test run, one key."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LocalArchive:
    """A flat archive in a folder (suite ``./``) and the public key that signed it."""

    folder: Path
    key: str


def _run(*argv: str | Path) -> str:
    done = subprocess.run([str(part) for part in argv], check=True, capture_output=True, text=True)
    return done.stdout


def deb(work: Path, folder: Path, name: str, version: str, **scripts: str) -> Path:
    """A package with one file, ``/usr/share/<name>/version``, and the given maintainer scripts."""
    tree = work / f"{name}_{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    control = {
        "Package": name,
        "Version": version,
        "Architecture": "all",
        "Maintainer": "aiprov tests <tests@aiprov.invalid>",
        "Description": f"stand-in package {name}, for tests only",
    }
    text = "".join(f"{field}: {value}\n" for field, value in control.items())
    (tree / "DEBIAN" / "control").write_text(text, encoding="utf-8")
    for kind, text in scripts.items():
        script = tree / "DEBIAN" / kind
        script.write_text(f"#!/bin/sh\nset -e\n{text}\n", encoding="utf-8")
        script.chmod(0o755)
    share = tree / "usr" / "share" / name
    share.mkdir(parents=True)
    (share / "version").write_text(f"{version}\n", encoding="utf-8")
    path = folder / f"{name}_{version}_all.deb"
    _run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, path)
    return path


def build(work: Path, packages: dict[str, tuple[str, ...]]) -> LocalArchive:
    """An archive of the packages (name -> versions), signed by a new key."""
    folder = work / "archive"
    folder.mkdir(parents=True)
    paths = [deb(work, folder, name, v) for name, versions in packages.items() for v in versions]
    index(folder, paths)
    return LocalArchive(folder=folder, key=_sign(work, folder))


def index(folder: Path, paths: list[Path]) -> None:
    """Write ``Packages`` and ``Release`` for the packages."""
    entries = []
    for path in paths:
        data = path.read_bytes()
        control = _run("dpkg-deb", "--field", path).rstrip("\n")
        digest = hashlib.sha256(data).hexdigest()
        entries.append(f"{control}\nFilename: ./{path.name}\nSize: {len(data)}\nSHA256: {digest}\n")
    packages = "\n".join(entries).encode()
    (folder / "Packages").write_bytes(packages)
    release = (
        "Origin: aiprov tests\nLabel: stand-in\nSuite: stable\nCodename: stable\n"
        "Date: Sat, 21 Nov 2026 00:00:00 UTC\nArchitectures: all amd64 arm64\n"
        f"SHA256:\n {hashlib.sha256(packages).hexdigest()} {len(packages)} Packages\n"
    )
    (folder / "Release").write_text(release, encoding="utf-8")


def _sign(work: Path, folder: Path) -> str:
    home = work / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", home, "--batch", "--yes", "--pinentry-mode", "loopback")
    who = "aiprov tests <tests@aiprov.invalid>"
    _run(*gpg, "--passphrase", "", "--quick-generate-key", who, "rsa3072", "sign", "never")
    _run(*gpg, "--clearsign", "--output", folder / "InRelease", folder / "Release")
    key = _run(*gpg, "--armor", "--export", who)
    _run("gpgconf", "--homedir", home, "--kill", "gpg-agent")
    return key
