"""What a host answered to the doctor's questions, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from aiprov.errors import SurveyError
from aiprov.survey.facts import Facts

CONTAINERS = frozenset(
    {"systemd-nspawn", "lxc", "lxc-libvirt", "docker", "podman", "openvz", "container-other"}
)
"""What systemd-detect-virt calls machines that share another's kernel and its log."""

_NOT_FOUND = 127  # the agent's status for a command that is not there


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a command said. ``rc`` is ``None`` where it took too long."""

    command: str
    rc: int | None
    out: str = ""
    err: str = ""

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.rc == 0

    @property
    def missing(self) -> bool:
        """Whether the host has no such command."""
        return self.rc == _NOT_FOUND

    @property
    def lines(self) -> tuple[str, ...]:
        """All lines that it wrote, without the blank ones."""
        return tuple(line.rstrip() for line in (self.out + "\n" + self.err).splitlines() if line)

    def quote(self, line: str) -> str:
        """A line of it as evidence."""
        return f"{self.command}: {line.strip()}"

    def ending(self, count: int = 3) -> tuple[str, ...]:
        """Its last lines as evidence, or what became of it where it wrote nothing."""
        if self.rc is None:
            return (f"{self.command}: took too long and was ended",)
        if not self.lines:
            return (f"{self.command}: ended with status {self.rc} and wrote nothing",)
        return tuple(self.quote(line) for line in self.lines[-count:])


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A host: its facts, and what it answered. What was not asked is as if it were not there.

    ``today``: the day on which it is judged.
    """

    facts: Facts
    today: date
    commands: Mapping[str, Output] = field(default_factory=dict)
    files: Mapping[str, str | None] = field(default_factory=dict)
    folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    links: Mapping[str, str | None] = field(default_factory=dict)

    def ran(self, name: str) -> Output:
        """What a command said, by its name in the request."""
        return self.commands.get(name) or Output(command=name, rc=_NOT_FOUND)

    def text(self, path: str) -> str:
        """A file's text, stripped; empty where it could not be read."""
        return (self.files.get(path) or "").strip()

    def names(self, path: str) -> tuple[str, ...]:
        """What is in a folder."""
        return self.folders.get(path, ())

    def hidden(self, path: str) -> bool:
        """Whether a file is there and could not be read."""
        folder, _, name = path.rpartition("/")
        return name in self.names(folder) and self.files.get(path) is None

    @property
    def root(self) -> bool:
        """Whether the host was looked at as root."""
        return self.ran("id").out.strip() == "0"

    @property
    def contained(self) -> bool:
        """Whether the host shares another machine's kernel."""
        return self.facts.virtualization in CONTAINERS

    def unit(self, name: str) -> Mapping[str, str]:
        """A unit's properties by systemctl's names; empty where the host has no such unit."""
        for block in re.split(r"\n\s*\n", self.ran("units").out):
            fields = dict(_pairs(block))
            if fields.get("Id") == name and fields.get("LoadState") != "not-found":
                return fields
        return {}

    def joined(self, other: Observed) -> Observed:
        """Both answers together."""
        return Observed(
            facts=self.facts,
            today=self.today,
            commands={**self.commands, **other.commands},
            files={**self.files, **other.files},
            folders={**self.folders, **other.folders},
            links={**self.links, **other.links},
        )


def _pairs(block: str) -> Iterator[tuple[str, str]]:
    for line in block.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            yield key.strip(), value.strip()


def observed_from(
    facts: Facts, request: Mapping[str, Any], answer: Mapping[str, Any], today: date
) -> Observed:
    """The agent's answer as a value. Raises ``SurveyError`` where it makes no sense."""
    try:
        return Observed(
            facts=facts,
            today=today,
            commands={
                name: _output(request["commands"][name], *found)
                for name, found in answer["commands"].items()
            },
            files=dict(answer["files"]),
            folders={path: tuple(names) for path, names in answer["folders"].items()},
            links=dict(answer["links"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SurveyError(
            facts.name,
            f"what the host answered makes no sense ({type(error).__name__}: {error})",
            hint="please report this as a defect, with the output of: aiprov facts -v",
        ) from error


def _output(argv: Sequence[str], rc: int | None, out: str, err: str) -> Output:
    words = argv[2:] if argv[0] == "timeout" else argv
    return Output(command=shown(words), rc=rc, out=out, err=err)


_SILENT = ("-f", "--qf", "-g", "-p", "--format", "-o", "-n")
"""Options that evidence leaves out, with their values: formats and limits of what was asked."""

_LEFT_OUT = ("-q", "-r", "--no-pager", "-ww", "nvidia-current", "nvidia-current-open")


def shown(words: Sequence[str]) -> str:
    """A command as evidence names it: short, without the formats that it was asked for."""
    kept: list[str] = []
    skip = False
    for word in words:
        if word == "--":
            break
        if skip or word in _SILENT:
            skip = not skip
        elif word in _LEFT_OUT and words[0] != "nvidia-smi":
            continue
        else:
            kept.append(word)
    text = " ".join(kept)
    return text if len(text) <= 70 else text[:67].rstrip() + "..."
