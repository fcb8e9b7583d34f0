"""When an installed package version meets the version that was asked for."""

from __future__ import annotations

import re


def upstream(version: str) -> str:
    """The upstream part of a Debian or RPM version: no epoch, no packaging revision."""
    bare = version.partition(":")[2] or version
    return bare.rpartition("-")[0] or bare


def satisfies(version: str, wanted: str | None, at_least: str | None = None) -> bool:
    """Whether ``version`` meets ``wanted``: itself, its upstream part, or a dotted prefix of that.

    ``5:29.4.3-1~debian.12~bookworm`` meets ``29``, ``29.4`` and ``29.4.3``, not ``29.4.30``.
    ``None`` is met by every version. ``at_least``: it must not be older than that either, compared
    by the numbers of the upstream part.
    """
    return _begins(version, wanted) and (
        at_least is None or numbers(upstream(version)) >= numbers(at_least)
    )


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of an upstream version, for comparing: ``580.95.05`` is (580, 95, 5)."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _begins(version: str, wanted: str | None) -> bool:
    if wanted is None or version == wanted:
        return True
    bare = upstream(version)
    return bare == wanted or bare.startswith(tuple(wanted + separator for separator in ".~+-"))
