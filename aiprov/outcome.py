"""What an engine is asked and what it answers: changes in, one outcome a change out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from aiprov.plan import Change
from aiprov.resources import Command, File, Resource, Secret

HINT = "\nhint: "
"""Stands in a message between what went wrong and the way out, where an engine knows that."""

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


def hidden_texts(changes: Iterable[Change]) -> Iterator[str]:
    """What the changes hand to the host and nobody may see, whatever the host says of it."""
    for change in changes:
        match change.resource:
            case File(content=Secret() as secret) | Command(stdin=Secret() as secret):
                yield from secret.hidden()
