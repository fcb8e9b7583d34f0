"""What known_hosts files say about a host's key. Hashed names, patterns and markers included."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from aiprov.survey.transport.ssh_config import matches_host

Verdict = Literal["known", "unknown", "changed", "revoked"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line: which hosts, which key, and where it stands."""

    marker: str  # "", "@revoked" or "@cert-authority"
    hosts: str
    key_type: str
    key: bytes
    path: str
    number: int


def entries_for(paths: tuple[str, ...], name: str) -> tuple[Entry, ...]:
    """The entries that name a host, as known_hosts calls it (``[host]:port`` for other ports).

    Raises ``OSError`` when a file is there but cannot be read.
    """
    found: list[Entry] = []
    for path in paths:
        file = Path(path)
        if file.is_file():
            found += [
                entry for entry in _entries(path, file.stat().st_mtime_ns) if _names(entry, name)
            ]
    return tuple(found)


def verdict(entries: tuple[Entry, ...], key_type: str, key: bytes) -> Verdict:
    """What the entries of a host say about the key that it shows."""
    same = [entry for entry in entries if entry.key == key and entry.key_type == key_type]
    if any(entry.marker == "@revoked" for entry in same):
        return "revoked"
    if any(not entry.marker for entry in same):
        return "known"
    return "changed" if any(not entry.marker for entry in entries) else "unknown"


def fingerprint(key: bytes) -> str:
    """A key's fingerprint as ssh prints it."""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def line(name: str, key_type: str, key: bytes) -> str:
    """The line that makes a host known."""
    return f"{name} {key_type} {base64.b64encode(key).decode()}\n"


@lru_cache(maxsize=16)
def _entries(path: str, mtime_ns: int) -> tuple[Entry, ...]:
    del mtime_ns  # part of the cache's key: another key may have been accepted since
    found: list[Entry] = []
    for number, raw in enumerate(Path(path).read_text("utf-8", "replace").splitlines(), 1):
        words = raw.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):
            continue
        try:
            key = base64.b64decode(words[2], validate=True)
        except (binascii.Error, ValueError):
            continue  # ssh passes over such a line too
        found.append(
            Entry(
                marker=marker, hosts=words[0], key_type=words[1], key=key, path=path, number=number
            )
        )
    return tuple(found)


def _names(entry: Entry, name: str) -> bool:
    if not entry.hosts.startswith("|1|"):
        return matches_host(tuple(entry.hosts.split(",")), name)
    try:
        salt, digest = (base64.b64decode(part) for part in entry.hosts.split("|")[2:4])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
