"""When a package version meets the one asked for: ``aiprov.versions``, for an older Python."""

import re
from typing import List, Optional


def upstream(version: str) -> str:
    """The upstream part: no epoch, no packaging revision."""
    bare = version.partition(":")[2] or version
    return bare.rpartition("-")[0] or bare


def satisfies(version: str, wanted: Optional[str], at_least: Optional[str] = None) -> bool:
    """Whether ``version`` is ``wanted``, or its upstream part is that or begins so.

    ``at_least``: and is not older than that.
    """
    new_enough = at_least is None or numbers(upstream(version)) >= numbers(at_least)
    return new_enough and begins(version, wanted)


def numbers(version: str) -> List[int]:
    """The numbers of an upstream version, for comparing."""
    return [int(number) for number in re.findall(r"\d+", version)]


def begins(version: str, wanted: Optional[str]) -> bool:
    """Whether ``version`` is ``wanted``, or its upstream part is that or begins so."""
    if wanted is None or version == wanted:
        return True
    bare = upstream(version)
    return bare == wanted or bare.startswith(tuple(wanted + separator for separator in ".~+-"))
