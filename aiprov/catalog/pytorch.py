"""PyTorch: which Python a release needs, and which CUDA its builds have.

Rows: ``data/pytorch.toml``. Which driver a CUDA needs is told by ``cuda``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aiprov.catalog import Row, _numbers, _rows

INDEX = "https://download.pytorch.org/whl"
"""PyTorch's own index; below it each CUDA has one: ``cu126``."""


@dataclass(frozen=True, kw_only=True)
class Release(Row):
    """A minor release. ``python``: the oldest it runs on. ``pypi_cuda``: of its wheel on PyPI.

    ``cuda``: those that PyTorch's own index has builds for; empty where that is not known.
    """

    version: str
    python: str
    pypi_cuda: str
    cuda: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Build(Row):
    """Builds with one CUDA. ``without``: architectures of GPUs that they have no kernels for."""

    cuda: str
    without: list[str]


@dataclass(frozen=True, kw_only=True)
class Tested(Row):
    """The version that the payload is tested with."""

    version: str


def tested() -> str:
    """The version to have where none is asked for."""
    return _rows(Tested, "pytorch", "tested")[0].version


def release(version: str) -> Release | None:
    """The row of a version (``2.13.0+cu126``); ``None``: the catalog knows nothing of it."""
    minor = ".".join(version.partition("+")[0].split(".")[:2])
    return next((row for row in _rows(Release, "pytorch", "release") if row.version == minor), None)


def without(cuda: str) -> tuple[str, ...]:
    """The architectures that builds of this CUDA have no kernels for, as far as is known."""
    found = [row.without for row in _rows(Build, "pytorch", "build") if row.cuda == cuda]
    return tuple(name for names in found for name in names)


def alternatives(version: str, architectures: set[str]) -> tuple[str, ...]:
    """The CUDA that there are builds of this version for which serve all of these GPUs."""
    row = release(version)
    known = row.cuda if row is not None else []
    return tuple(cuda for cuda in known if not architectures & set(without(cuda)))


def too_old(python: str, version: str) -> str | None:
    """The Python that a version needs where this one (``3.9``) is too old for it."""
    row = release(version)
    if row is None or _numbers(python) >= _numbers(row.python):
        return None
    return row.python
