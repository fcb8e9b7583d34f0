"""Changes from states that a test knows."""

from __future__ import annotations

from aiprov.diff import wanted
from aiprov.plan import Change
from aiprov.resources import Resource, State


def change(resource: Resource, before: State, **given: object) -> Change:
    """A change from a state that the test knows."""
    after = given.pop("after", None) or wanted(resource, before)
    return Change(
        role="test",
        resource=resource,
        before=before,
        after=after,  # type: ignore[arg-type]
        reason="the test wants it",
        **given,  # type: ignore[arg-type]
    )
