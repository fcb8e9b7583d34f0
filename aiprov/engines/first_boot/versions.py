"""When a package version meets the one asked for: ``aiprov.versions``, for an older Python."""

from typing import Optional


def upstream(version: str) -> str:
    """The upstream part: no epoch, no packaging revision."""
    bare = version.partition(":")[2] or version
    return bare.rpartition("-")[0] or bare


def satisfies(version: str, wanted: Optional[str]) -> bool:
    """Whether ``version`` is ``wanted``, or its upstream part is that or begins so."""
    if wanted is None or version == wanted:
        return True
    bare = upstream(version)
    return bare == wanted or bare.startswith(tuple(wanted + separator for separator in ".~+-"))
