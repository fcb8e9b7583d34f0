"""What an engine is asked and what it answers: changes in, one outcome a change out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from aiprov.plan import Change
from aiprov.resources import Resource

HINT = "\nhint: "
"""Stands in a message between what went wrong and the way out, where an engine knows that."""

_PASSWORD = re.compile(r"(://[^\s/:@\"']*:)[^\s/@\"']+@")

Status = Literal["done", "failed", "not run"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one change. ``message`` is for a person: for a failure, what the host said.

    ``lost``: it failed because the host was no longer reached, so it may have been made or not.
    """

    change: Change
    status: Status
    message: str = ""
    seconds: float = 0.0
    lost: bool = False


Listener = Callable[[Change], None]
"""Is told of each change as it begins."""


class Engine(Protocol):
    """Realises the changes of one stage on one host."""

    name: str

    def unsupported(self, resource: Resource) -> str | None:
        """Why the engine cannot express the resource, or ``None``. Asked while planning."""
        ...

    def apply(self, changes: Sequence[Change], listener: Listener) -> Sequence[Outcome]:
        """Make the changes, in order; stop at the first that fails (the rest is ``not run``).

        Returns one outcome a change. Raises ``UnreachableError`` or ``BecomeError`` when the host
        cannot be worked on at all.
        """
        ...


def without_passwords(text: str) -> str:
    """The text with ``***`` for the passwords of URLs.

    Files hold, and programs print, proxies that are no longer, or not here, a secret setting.
    """
    return _PASSWORD.sub(r"\1***@", text)
