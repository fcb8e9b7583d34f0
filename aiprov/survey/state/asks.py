"""What is to be asked of a host: gathered from all resources, each thing once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiprov.resources import Argv, File, Secret
from aiprov.survey.facts import Facts


@dataclass(kw_only=True)
class Asks:
    """The parts of a request. Sets, so that two resources may ask for the same thing."""

    facts: Facts
    packages: set[str] = field(default_factory=set)
    sets: set[str] = field(default_factory=set)
    units: set[str] = field(default_factory=set)
    sysctls: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    lists: set[str] = field(default_factory=set)
    ctimes: set[str] = field(default_factory=set)
    commands: dict[str, Argv] = field(default_factory=dict)
    kernel_arguments: bool = False
    _paths: dict[str, dict[str, Any]] = field(default_factory=dict)
    _secret: set[str] = field(default_factory=set)
    _kept: dict[str, str] = field(default_factory=dict)  # a former version -> its file

    def path(self, path: str) -> None:
        """Ask what is at a path, not what is in it."""
        self._paths.setdefault(path, {"read": False, "send": False, "sha256": None})

    def file(self, file: File, *, of: str | None = None) -> None:
        """Ask for a file, its text only where it is not the text that is wanted, never a secret's.

        ``of``: the file is a former version of that one, and as secret as that one.
        """
        known = file.path in self._paths
        self.path(file.path)
        want = self._paths[file.path]
        if isinstance(file.content, Secret):
            self._secret.add(file.path)
        if of is not None:
            self._kept[file.path] = of
        digest = None
        if isinstance(file.content, str) and of is None:
            digest = hashlib.sha256(file.content.encode()).hexdigest()
        same = not known or not want["read"] or want["sha256"] == digest
        want.update(read=True, send=True, sha256=digest if same else None)

    def request(self) -> Mapping[str, Any]:
        """The request, without what nobody asks for."""
        secret = self._secret | {path for path, of in self._kept.items() if of in self._secret}
        for path in secret & self._paths.keys():
            self._paths[path]["send"] = False
        redhat = self.facts.family == "redhat"
        parts: dict[str, Any] = {
            "manager": "rpm" if redhat else "dpkg",
            "packages": sorted(self.packages),
            "sets": sorted(self.sets),
            "units": sorted(self.units),
            "sysctls": sorted(self.sysctls),
            "modules": sorted(self.modules),
            "users": sorted(self.users),
            "groups": sorted(self.groups),
            "lists": sorted(self.lists),
            "ctimes": sorted(self.ctimes),
            "commands": {name: list(argv) for name, argv in sorted(self.commands.items())},
            "paths": dict(sorted(self._paths.items())),
            "grub": self.kernel_arguments and not redhat,
            "grubby": self.kernel_arguments and redhat,
        }
        return {"ask": "state", **{key: value for key, value in parts.items() if value}}
