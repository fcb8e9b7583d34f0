"""apt's archives: flat ones, as NVIDIA has them, and such with suites, as Docker has them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiprov.lab.machine import run
from aiprov.lab.vendor import deb
from aiprov.lab.vendor.package import Package
from aiprov.lab.vendor.signing import SigningKey

_DATE = "Sat, 21 Nov 2026 00:00:00 UTC"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A package's file in an archive: its control fields, where it lies, and its bytes."""

    control: str
    path: str
    data: bytes


def entry(package: Package, architecture: str = "amd64") -> Entry:
    """A package made for an archive, to lie beside the index."""
    return Entry(
        control=deb.control(package, architecture),
        path=deb.filename(package, architecture),
        data=deb.write(package, architecture),
    )


def entry_of(path: Path) -> Entry:
    """A package file that is there already. Raises ``LabError`` where dpkg-deb cannot read it."""
    control = run(["dpkg-deb", "--field", str(path)])
    return Entry(control=control, path=path.name, data=path.read_bytes())


def packages_index(entries: Iterable[Entry], folder: str = ".") -> bytes:
    """The text of ``Packages``; ``folder`` is that of the files, from the archive's root."""
    blocks = []
    for one in entries:
        digest = hashlib.sha256(one.data).hexdigest()
        blocks.append(
            f"{one.control.rstrip()}\nFilename: {folder}/{one.path}\n"
            f"Size: {len(one.data)}\nSHA256: {digest}\n"
        )
    return "\n".join(blocks).encode()


def write_flat(folder: Path, entries: Iterable[Entry], key: SigningKey | None) -> None:
    """A flat archive: packages and index in one folder, the suite is ``/``; signed by the key."""
    entries = list(entries)
    folder.mkdir(parents=True, exist_ok=True)
    for one in entries:
        (folder / one.path).write_bytes(one.data)
    _write_index(folder, folder, packages_index(entries), "", key)


def write_suite(
    root: Path, suite: str, component: str, entries: Iterable[Entry], key: SigningKey
) -> None:
    """A suite of an archive with ``dists`` and ``pool``."""
    entries = list(entries)
    pool = root / "pool" / suite
    pool.mkdir(parents=True, exist_ok=True)
    for one in entries:
        (pool / one.path).write_bytes(one.data)
    place = root / "dists" / suite
    index = place / component / "binary-amd64"
    index.mkdir(parents=True, exist_ok=True)
    text = packages_index(entries, f"pool/{suite}")
    _write_index(place, index, text, f"Suite: {suite}\nComponents: {component}\n", key)


def _write_index(
    place: Path, index: Path, text: bytes, fields: str, key: SigningKey | None
) -> None:
    files = {"Packages": text, "Packages.gz": gzip.compress(text, 1, mtime=0)}
    rows = []
    for name, data in files.items():
        (index / name).write_bytes(data)
        path = (index / name).relative_to(place)
        rows.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}\n")
    release = (
        f"Origin: aiprov lab\nLabel: stand-in\n{fields}Date: {_DATE}\n"
        f"Architectures: all amd64 arm64\nSHA256:\n{''.join(rows)}"
    )
    (place / "Release").write_text(release, encoding="utf-8")
    if key is not None:
        key.clearsign(place / "Release", place / "InRelease")
        key.detach(place / "Release", place / "Release.gpg")
