"""Which role a variable belongs to, and what a misspelt name was meant to be."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable

from aiprov import roles

OWN = (
    "aiprov_budget",
    "aiprov_device",
    "aiprov_output",
    "aiprov_quarantine_campaign",
    "aiprov_quarantine_reason",
    "aiprov_quarantine_since",
    "aiprov_resume",
    "aiprov_roles",
    "aiprov_serial",
    "aiprov_slurm_node",
    "aiprov_transport",
)
"""Variables of aiprov itself, which belong to no role."""

_NEAR = 0.6
_VERY_NEAR = 0.88


@functools.cache
def owner(name: str) -> str | None:
    """The role whose prefix the variable carries; the longest one where several fit."""
    fitting = [slug for slug in roles.slugs() if name.startswith(f"{slug}_")]
    return max(fitting, key=len, default=None)


def settings_of(slug: str) -> tuple[str, ...]:
    """The names of a role's variables."""
    return tuple(roles.load(slug).Vars.model_fields)


def nearest(name: str, known: Iterable[str], cutoff: float = _NEAR) -> str | None:
    """The known name that is most like this one, if any is."""
    # Sorted: of two names that are equally near, always the same one is told.
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return near[0] if near else None


def meant(name: str) -> str | None:
    """The setting that a name without any role's prefix was probably meant to be."""
    known = {setting for slug in roles.slugs() for setting in settings_of(slug)}
    return nearest(name, known | set(OWN), _VERY_NEAR)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not one of those known."""
    known = sorted(known)
    near = nearest(name, known)
    if near:
        return f"did you mean {near}?"
    return f"there is {', '.join(known)}" if known else "there is none"
