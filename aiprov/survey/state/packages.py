"""Packages and the repositories that they come from: dpkg and apt, rpm and dnf."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cmp_to_key
from typing import Any, Literal

from aiprov.errors import SurveyError
from aiprov.plain_files import repository_files
from aiprov.resources import (
    AptRepository,
    DnfRepository,
    Package,
    Resource,
    State,
)
from aiprov.survey.facts import Facts
from aiprov.survey.state import paths
from aiprov.versions import satisfies, upstream

Installed = Mapping[str, tuple[str | None, bool]]
"""name -> (version, held)"""


def manager(facts: Facts) -> Literal["dpkg", "rpm"]:
    """The host's package database."""
    return "dpkg" if facts.family == "debian" else "rpm"


def installed(facts: Facts, answer: Mapping[str, Any]) -> Installed:
    """What is installed of the packages asked for. Raises ``SurveyError``."""
    if "rpm" in answer:
        return _rpm(facts, answer)
    return {name: (version, held) for name, (version, held) in answer.get("packages", {}).items()}


def unmet(facts: Facts, resources: Sequence[Resource], answer: Mapping[str, Any]) -> list[str]:
    """The packages that are wanted and not there in a version that will do."""
    if answer.get("lists_age") is None:
        return []  # there are no lists that could be asked
    found = installed(facts, answer)
    names = set()
    sets: dict[str, list[Package]] = {}
    for package in resources:
        if isinstance(package, Package) and not package.absent:
            if not _fits(package, found):
                names.add(package.name)
            if package.together is not None:
                sets.setdefault(package.together, []).append(package)
    for members in sets.values():
        if not _even(members, found):
            names |= {package.name for package in members}
    return sorted(names)


def _fits(package: Package, found: Installed) -> bool:
    version = found.get(package.name, (None, False))[0]
    return version is not None and satisfies(version, package.version, package.at_least)


def _even(members: Sequence[Package], found: Installed) -> bool:
    """Whether all of a set are there, as wanted and at one version."""
    versions = {upstream(found[p.name][0] or "") for p in members if p.name in found}
    return all(_fits(package, found) for package in members) and len(versions) == 1


def state(
    package: Package,
    found: Installed,
    offered: Mapping[str, list[str]],
    companions: Mapping[str, str],
) -> State:
    """A package's state. ``companions``: what is at the versions of sets, by name."""
    version, held = found.get(package.name, (None, False))
    now = {"version": version, "hold": held, "candidates": offered.get(package.name, [])}
    if package.together is None:
        return now
    return {**now, "companions": {n: v for n, v in companions.items() if v == version}}


def offers(facts: Facts, candidates: Mapping[str, Any]) -> Mapping[str, list[str]]:
    """What the repositories offer, newest first. Raises ``SurveyError``."""
    if not candidates:
        return {}
    rc, out, err = candidates["candidates"]
    if rc is None:
        raise SurveyError(
            facts.name,
            "the package lists did not answer in time",
            hint="is another package manager running there, or its cache broken?",
        )
    if facts.family == "debian":
        return _policy(out)
    if rc != 0 and "cache" not in err.lower():
        said = err.strip().splitlines()
        raise SurveyError(
            facts.name,
            f"dnf cannot say what is on offer: {said[-1] if said else f'exit status {rc}'}",
            hint="try it on the host: dnf repoquery",
        )
    return _repoquery(out)


# ---------------------------------------------------------------- dpkg, apt


def _policy(text: str) -> dict[str, list[str]]:
    """``apt-cache policy``: versions that a repository has and that no pin forbids.

    A version stands in a line of its own, then each place that has it, with the place's priority.
    """
    found: dict[str, list[str]] = {}
    name, version = "", ""
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            name, version = line[:-1], ""
            continue
        place = re.match(r" {8} *(-?\d+) (\S+)", line)
        if place is None:
            row = re.match(r" (?:\*\*\*|   ) (\S+)(?: -?\d+)?$", line)
            version = row[1] if row else version
        elif version and int(place[1]) >= 0 and place[2] != "/var/lib/dpkg/status":
            offered = found.setdefault(name.partition(":")[0], [])
            if version not in offered:
                offered.append(version)
    return found


_QUOTED = set('\\|{}[]<>"^~_=!@#$%^&*')


def list_names(repository: AptRepository, architecture: str) -> list[str]:
    """The files in which apt keeps what it fetched of a repository: two for each suite, of which
    one has to be there."""
    return [name for pair in _release_files(repository, architecture) for name in pair]


def _release_files(repository: AptRepository, architecture: str) -> list[tuple[str, str]]:
    found = []
    for uri in repository.uris:
        for suite in repository.suites:
            place = _place(uri, suite).replace("$(ARCH)", architecture)
            found.append((_file_name(place + "InRelease"), _file_name(place + "Release")))
    return found


def _place(uri: str, suite: str) -> str:
    base = uri if uri.endswith("/") else uri + "/"
    if suite == "/":
        return base
    return base + (suite if suite.endswith("/") else f"dists/{suite}/")


def _file_name(uri: str) -> str:
    """apt's ``URItoFileName``: no scheme, no credentials, some characters quoted, / becomes _."""
    _, scheme, rest = uri.partition("://")
    if not scheme:
        rest = uri.partition(":")[2]  # file:/path
    host, slash, path = rest.partition("/")
    bare = host.rpartition("@")[2] + slash + path
    quoted = "".join(
        f"%{ord(char):02x}" if char in _QUOTED or not " " < char < "\x7f" else char for char in bare
    )
    return quoted.replace("/", "_")


def repository(
    facts: Facts, resource: AptRepository | DnfRepository, answer: Mapping[str, Any]
) -> State:
    """A repository's state: its files, and for apt whether its lists are there."""
    digests = [
        paths.at(facts, file.path, answer).get("sha256", "") for file in repository_files(resource)
    ]
    if isinstance(resource, DnfRepository):
        return {"files": digests}
    listed = set(answer["lists"])
    pairs = _release_files(resource, facts.deb_architecture)
    return {"files": digests, "fetched": all(listed & set(pair) for pair in pairs)}


# ---------------------------------------------------------------- rpm, dnf


def _rpm(facts: Facts, answer: Mapping[str, Any]) -> Installed:
    rc, out, err = answer["rpm"]
    rows = [line.split("\t") for line in out.splitlines() if line.count("\t") == 2]
    missing = re.findall(r"^package (\S+) is not installed$", out, re.MULTILINE)
    if rc is None or (not rows and not missing):
        said = str(err).strip().splitlines()
        raise SurveyError(
            facts.name,
            f"rpm did not answer: {said[-1] if said else f'exit status {rc}'}",
            hint="try it on the host: rpm -q rpm",
        )
    held = _held(answer)
    found: dict[str, tuple[str | None, bool]] = {name: (None, name in held) for name in missing}
    # Of packages that may be there several times (kernels) the last one installed counts.
    for name, version, _ in sorted(rows, key=lambda row: int(row[2]) if row[2].isdigit() else 0):
        found[name] = (version, name in held)
    return found


def _held(answer: Mapping[str, Any]) -> set[str]:
    """The names in dnf's version locks: lines of ``name-epoch:version-release.arch``, or TOML."""
    held = set(re.findall(r'^\s*name\s*=\s*"([^"]+)"', answer["locks_toml"], re.MULTILINE))
    for line in answer["locks"].splitlines():
        entry = line.strip()
        if entry and not entry.startswith(("#", "!")):
            held.add(re.sub(r"-[^-]+-[^-]+$", "", entry))
    return held


def _repoquery(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, tab, version = line.strip().partition("\t")
        if tab and version not in found.setdefault(name, []):
            found[name].append(version)
    newest_first = cmp_to_key(rpm_compare)
    return {name: sorted(items, key=newest_first, reverse=True) for name, items in found.items()}


_RUNS = re.compile(r"\d+|[A-Za-z]+|~|\^")


def rpm_compare(one: str, other: str) -> int:
    """Which of two ``epoch:version-release`` is newer: rpm's own order. Negative: the other."""
    for left, right in zip(_evr(one), _evr(other), strict=True):
        result = _compare_part(left, right)
        if result:
            return result
    return 0


def _evr(text: str) -> tuple[str, str, str]:
    epoch, colon, rest = text.partition(":")
    if not colon:
        epoch, rest = "0", text
    version, _, release = rest.partition("-")
    return epoch, version, release


def _compare_part(one: str, other: str) -> int:
    """Runs of digits as numbers, of letters as text; ``~`` sorts before the end, ``^`` after it."""
    left, right = ([*_RUNS.findall(text), ""] for text in (one, other))
    for a, b in zip(left, right, strict=False):
        if a != b and (result := _compare_runs(a, b)):
            return result
    return (len(left) > len(right)) - (len(left) < len(right))


def _compare_runs(a: str, b: str) -> int:
    if a.isdigit() and b.isdigit():
        return (int(a) > int(b)) - (int(a) < int(b))
    ranks = [_rank(run) for run in (a, b)]
    if ranks[0] != ranks[1]:
        return 1 if ranks[0] > ranks[1] else -1
    return (a > b) - (a < b)


def _rank(run: str) -> int:
    if run == "~":
        return 0
    if run == "":
        return 1
    if run == "^":
        return 2
    return 4 if run.isdigit() else 3
