"""CUDA toolkits: which driver each needs, and for which GPUs. Rows: ``data/cuda.toml``."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from aiprov.catalog import Row, _numbers, _rows
from aiprov.errors import CatalogError


@dataclass(frozen=True, kw_only=True)
class Toolkit(Row):
    """A CUDA toolkit, major and minor. ``bundled_driver``: what NVIDIA tests it with.

    ``minimum_driver``: the oldest driver that runs it, by minor-version compatibility.
    """

    version: str
    minimum_driver: str
    bundled_driver: str

    @property
    def packages(self) -> tuple[str, ...]:
        """Its packages: the toolkit alone. ``cuda`` and ``cuda-13-0`` would bring a driver."""
        return (f"cuda-toolkit-{self.version.replace('.', '-')}",)

    @property
    def major(self) -> int:
        """13 of 13.0."""
        return int(self.version.partition(".")[0])


@cache
def toolkits() -> tuple[Toolkit, ...]:
    """All CUDA toolkits, oldest first."""
    return _rows(Toolkit, "cuda", "toolkit")


def toolkit(version: str) -> Toolkit:
    """The toolkit of a version (``13.0``, ``12.9.1``).

    Raises ``CatalogError`` for one without a row; the hint names the nearest.
    """
    minor = ".".join(version.split(".")[:2])
    for row in toolkits():
        if row.version == minor:
            return row
    known = [row.version for row in toolkits()]
    near = get_close_matches(version, known, n=2, cutoff=0.5)
    mean = f"did you mean {' or '.join(near)}? " if near else ""
    raise CatalogError(
        f"CUDA {version} is none that the catalog knows",
        hint=f"{mean}toolkits are {', '.join(known)}",
    )


def compiles_for(row: Toolkit, first: str | None, last: str | None) -> bool:
    """Whether the toolkit lies between the first and the last for an architecture."""
    at = _numbers(row.version)
    return _numbers(first or "0") <= at and (last is None or at <= _numbers(last))
