"""NVIDIA's container toolkit: versions and what is wrong with them. Rows: ``data/toolkit.toml``."""

from __future__ import annotations

from dataclasses import dataclass

from aiprov.catalog import Row, _numbers, _rows


@dataclass(frozen=True, kw_only=True)
class Release(Row):
    """A release of the toolkit, and its packages, which must all be of it."""

    version: str
    packages: list[str]


@dataclass(frozen=True, kw_only=True)
class ToolkitFault(Row):
    """What is wrong with versions ``since`` to ``until``, both included."""

    since: str
    until: str
    text: str


def newest() -> Release:
    """The newest release that the catalog knows."""
    return max(_rows(Release, "toolkit", "release"), key=lambda row: _numbers(row.version))


def faults(version: str) -> tuple[str, ...]:
    """What is known to be wrong with a version (``1.19.1``)."""
    at = _numbers(version.partition("-")[0])
    return tuple(
        f"container toolkit {version}: {row.text}"
        for row in _rows(ToolkitFault, "toolkit", "fault")
        if _numbers(row.since) <= at <= _numbers(row.until)
    )
