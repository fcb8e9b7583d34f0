"""Kubernetes versions and the containerd that each accepts. Rows: ``data/kubernetes.toml``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from functools import cache

from aiprov.catalog import Row, _numbers, _rows
from aiprov.errors import CatalogError


@dataclass(frozen=True, kw_only=True)
class KubernetesLine(Row):
    """A minor version. ``containerd``: the oldest accepted version of each accepted line.

    No ``eol``: it is the newest, whose end is not known yet.
    """

    version: str
    containerd: list[str]
    eol: date | None = None

    def accepts(self, version: str) -> bool:
        """Whether it accepts a containerd version, or a line (``2.2``) at its newest."""
        wanted = _numbers(version)
        return any(
            wanted[:2] == _numbers(oldest)[:2] and (len(wanted) < 3 or wanted >= _numbers(oldest))
            for oldest in self.containerd
        )


@cache
def lines() -> tuple[KubernetesLine, ...]:
    """All minor versions, oldest first."""
    return _rows(KubernetesLine, "kubernetes", "line")


def line(version: str) -> KubernetesLine:
    """The minor version of a Kubernetes version.

    Raises ``CatalogError`` for one without a row; the hint names the nearest.
    """
    minor = ".".join(version.split(".")[:2])
    for row in lines():
        if row.version == minor:
            return row
    known = [row.version for row in lines()]
    near = get_close_matches(minor, known, n=2, cutoff=0.5)
    mean = f"did you mean {' or '.join(near)}? " if near else ""
    raise CatalogError(
        f"Kubernetes {version} is none that the catalog knows",
        hint=f"{mean}versions are {', '.join(known)}",
    )
