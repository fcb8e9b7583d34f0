"""Debian packages, written directly: ``ar`` with two tar archives, the same bytes always."""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
from collections.abc import Iterable, Mapping

from aiprov.lab.vendor.package import Content, Package

_TIME = 1763683200  # 2025-11-21: any fixed time will do
_MAINTAINER = "aiprov lab <lab@aiprov.invalid>"


def control(package: Package, architecture: str, size: int = 0) -> str:
    """The package's control file. ``size`` is in KiB."""
    relations = {
        "Depends": package.depends,
        "Provides": package.provides,
        "Conflicts": package.conflicts,
        "Replaces": package.replaces,
    }
    fields = {
        "Package": package.name,
        "Source": package.source,
        "Version": package.full_version,
        "Architecture": architecture,
        "Maintainer": _MAINTAINER,
        "Installed-Size": str(size),
        **{name: ", ".join(values) for name, values in relations.items()},
        "Section": "misc",
        "Priority": "optional",
        "Description": package.description,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def write(package: Package, architecture: str = "amd64") -> bytes:
    """The package's ``.deb``."""
    files = package.all_files
    configuration = sorted(path for path in files if path.startswith("/etc/"))
    size = sum(len(content.data) for content in files.values()) // 1024 + 1
    inner = {
        "./control": Content(text=control(package, architecture, size)),
        "./md5sums": Content(text=_digests(files)),
    }
    if configuration:
        inner["./conffiles"] = Content(text="".join(f"{path}\n" for path in configuration))
    for name, lines in package.scripts.items():
        inner[f"./{name}"] = Content(text=f"#!/bin/sh\nset -e\n{lines}\n", mode=0o755)
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar(inner, {}),
        "data.tar.gz": _tar({f".{path}": content for path, content in files.items()},
                            {f".{path}": target for path, target in package.links.items()}),
    }  # fmt: skip
    return b"!<arch>\n" + b"".join(_member(name, data) for name, data in parts.items())


def filename(package: Package, architecture: str = "amd64") -> str:
    """What the package's file is called in an archive; an epoch is no part of it."""
    return f"{package.name}_{package.file_version}_{architecture}.deb"


def _digests(files: Mapping[str, Content]) -> str:
    rows = sorted((path.lstrip("/"), content.data) for path, content in files.items())
    return "".join(
        f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}  {path}\n" for path, data in rows
    )


def _member(name: str, data: bytes) -> bytes:
    head = f"{name:<16}{_TIME:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
    return head.encode() + data + (b"\n" if len(data) % 2 else b"")


def _tar(files: Mapping[str, Content], links: Mapping[str, str]) -> bytes:
    """A tar archive with every folder before what lies in it, owned by root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.GNU_FORMAT, compresslevel=1) as tar:
        for folder in _folders((*files, *links)):
            tar.addfile(_entry(f"{folder}/", tarfile.DIRTYPE, 0o755))
        for path in sorted(files):
            entry = _entry(path, tarfile.REGTYPE, files[path].mode)
            entry.size = len(files[path].data)
            tar.addfile(entry, io.BytesIO(files[path].data))
        for path in sorted(links):
            entry = _entry(path, tarfile.SYMTYPE, 0o777)
            entry.linkname = links[path]
            tar.addfile(entry)
    data = bytearray(out.getvalue())
    data[4:8] = bytes(4)  # gzip's own time
    return bytes(data)


def _folders(paths: Iterable[str]) -> list[str]:
    found = {"."}
    for path in paths:
        folder = posixpath.dirname(path)
        while folder not in found and folder:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return sorted(found)


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.mtime = kind, mode, _TIME
    entry.uname = entry.gname = "root"
    return entry
