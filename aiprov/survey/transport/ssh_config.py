"""OpenSSH's client configuration, as far as aiprov itself acts on it.

Knows ``Host`` blocks, ``Include`` and first-value-wins. ``Match`` is understood where it means
every host; any other is reported, so that the caller can leave the host to OpenSSH.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

_MAX_DEPTH = 16


@dataclass(frozen=True, kw_only=True)
class Line:
    """One setting: its keyword in lower case, its arguments, and where it stands."""

    keyword: str
    arguments: tuple[str, ...]
    path: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Options:
    """The values that hold for one host: the first one given for each keyword, all identities."""

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    identities: tuple[str, ...] = ()
    matches: tuple[
        str, ...
    ] = ()  # places of Match blocks whose meaning depends on more than a name

    def get(self, keyword: str) -> str | None:
        """The value of a keyword (any case) in one piece, or ``None``."""
        arguments = self.values.get(keyword.lower())
        return " ".join(arguments) if arguments else None

    def over(self, weaker: Options) -> Options:
        """These values, and those of ``weaker`` for what is not set here."""
        return Options(
            values={**weaker.values, **self.values},
            identities=self.identities + weaker.identities,
            matches=self.matches + weaker.matches,
        )


def options_for(lines: tuple[Line, ...], host: str) -> Options:
    """What a configuration says about a host, by the name that the user gave it."""
    values: dict[str, tuple[str, ...]] = {}
    identities: list[str] = []
    matches: list[str] = []
    active = True
    for line in lines:
        if line.keyword == "host":
            active = matches_host(line.arguments, host)
        elif line.keyword == "match":
            active = {word.lower() for word in line.arguments} <= {"all", "final", "canonical"}
            if not active:
                matches.append(f"{line.path}:{line.number}")
        elif active and line.keyword == "identityfile":
            identities.append(" ".join(line.arguments))
        elif active:
            values.setdefault(line.keyword, line.arguments)
    return Options(values=values, identities=tuple(identities), matches=tuple(matches))


def matches_host(patterns: tuple[str, ...], host: str) -> bool:
    """Whether ssh's list of patterns names the host; a ``!pattern`` that matches rules it out."""
    name = host.lower()
    found = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        if fnmatchcase(name, pattern.lstrip("!").lower().replace("[", "[[]")):
            if negated:
                return False
            found = True
    return found


@lru_cache(maxsize=64)
def read(path: str, *, relative_to: str) -> tuple[Line, ...]:
    """A configuration file's lines, its includes in place. A file that is not there is empty.

    ``relative_to``: the folder that relative includes start from. Raises ``OSError`` when a file
    is there but cannot be read, ``ValueError`` naming file and line when its quotes do not close.
    """
    return tuple(_lines(Path(path), Path(relative_to), 0))


def _lines(path: Path, folder: Path, depth: int) -> Iterator[Line]:
    if depth > _MAX_DEPTH or not path.is_file():
        return
    text = path.read_text("utf-8", "replace")
    for number, raw in enumerate(text.splitlines(), 1):
        words = _words(raw, f"{path}:{number}")
        if not words:
            continue
        keyword = words[0].lower()
        if keyword == "include":
            for pattern in words[1:]:
                for included in _globbed(pattern, folder):
                    yield from _lines(included, folder, depth + 1)
        else:
            yield Line(keyword=keyword, arguments=words[1:], path=str(path), number=number)


def _globbed(pattern: str, folder: Path) -> list[Path]:
    full = folder / Path(pattern).expanduser()  # an absolute pattern stands for itself
    relative = full.relative_to(full.anchor)
    return sorted(Path(full.anchor).glob(str(relative)))


def _words(raw: str, where: str) -> tuple[str, ...]:
    text = raw.strip()
    if not text or text.startswith("#"):
        return ()
    keyword, value = setting(text)
    try:
        return (keyword, *shlex.split(value, comments=keyword.lower() != "proxycommand"))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def setting(text: str) -> tuple[str, str]:
    """Keyword and value of ``Keyword value``, ``Keyword=value`` or ``Keyword = value``."""
    end = next((i for i, char in enumerate(text) if char in "= \t"), len(text))
    rest = text[end:].lstrip(" \t")
    return text[:end], rest.removeprefix("=").lstrip(" \t")
