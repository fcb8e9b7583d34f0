"""Where packages come from: the Debian mirror that this machine itself uses.

A lab must work behind any mirror, so no mirror is named here: the machine's own apt sources are
read (one-line and deb822) and their suite is replaced by the one that a host wants.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aiprov.errors import LabError

_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)$")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One archive: a place, a suite, its components."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


def parse_one_line(text: str) -> Iterator[Source]:
    """The sources of a ``sources.list``."""
    for raw in text.splitlines():
        match = _ONE_LINE.match(raw.split("#", 1)[0].strip())
        if match is None:
            continue
        suite, *components = match["rest"].split()
        options = dict(o.split("=", 1) for o in (match["options"] or "").split() if "=" in o)
        yield Source(
            uri=match["uri"],
            suite=suite,
            components=tuple(components),
            signed_by=options.get("signed-by", ""),
        )


def parse_deb822(text: str) -> Iterator[Source]:
    """The sources of a ``*.sources`` file."""
    for paragraph in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[last] = f"{fields.get(last, '')} {line.strip()}"
                continue
            last, _, value = line.partition(":")
            last = last.strip().lower()
            fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(
                    uri=uri,
                    suite=suite,
                    components=tuple(fields.get("components", "").split()),
                    signed_by=fields.get("signed-by", ""),
                )


def machine_sources(root: Path = Path("/etc/apt")) -> list[Source]:
    """Every source that apt on this machine uses."""
    found: list[Source] = []
    for path in (root / "sources.list", *sorted((root / "sources.list.d").glob("*.list"))):
        if path.exists():
            found += parse_one_line(path.read_text(encoding="utf-8"))
    for path in sorted((root / "sources.list.d").glob("*.sources")):
        found += parse_deb822(path.read_text(encoding="utf-8"))
    return found


def codename(os_release: str) -> str:
    """The machine's own suite, from the text of its os-release."""
    match = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', os_release, re.MULTILINE)
    return match[1] if match else ""


def for_suite(sources: Iterable[Source], own: str, suite: str) -> list[Source]:
    """Debian's archives among these sources, for another suite; the main archive first.

    Third-party repositories that name themselves after the suite are told apart by their key.
    """
    parts = {
        own: suite,
        f"{own}-updates": f"{suite}-updates",
        f"{own}-security": f"{suite}-security",
    }
    chosen: dict[str, Source] = {}
    for source in sources:
        if source.suite.rstrip("/") not in parts or "main" not in source.components:
            continue
        if source.signed_by and "debian-archive" not in source.signed_by:
            continue
        if not source.uri.startswith(("http://", "https://")):
            continue
        wanted = parts[source.suite.rstrip("/")]
        chosen.setdefault(wanted, replace(source, suite=wanted, uri=source.uri.rstrip("/")))
    order = [suite, f"{suite}-updates", f"{suite}-security"]
    return [chosen[name] for name in order if name in chosen]


def debian(suite: str) -> list[Source]:
    """The archives for hosts of this suite, by this machine's own sources.

    ``AIPROV_LAB_MIRROR`` names a mirror on machines that are not Debian.
    """
    mirror = os.environ.get("AIPROV_LAB_MIRROR")
    if mirror:
        return [Source(uri=mirror.rstrip("/"), suite=suite, components=("main",))]
    own = codename(Path("/etc/os-release").read_text(encoding="utf-8"))
    found = for_suite(machine_sources(), own, suite) if own else []
    if not found or found[0].suite != suite:
        raise LabError(
            f"no Debian mirror for {suite} in this machine's apt sources",
            hint="set AIPROV_LAB_MIRROR to the address of a Debian mirror",
        )
    return found


def deb822(sources: Iterable[Source]) -> str:
    """A ``debian.sources`` for a host, in plain http: it is the lab's proxy that speaks https."""
    blocks = [
        f"Types: deb\nURIs: {plain_http(source.uri)}\nSuites: {source.suite}\n"
        f"Components: {' '.join(source.components)}\nSigned-By: {_KEYRING}\n"
        for source in sources
    ]
    return "\n".join(blocks)


def plain_http(uri: str) -> str:
    return re.sub(r"^https://", "http://", uri)
