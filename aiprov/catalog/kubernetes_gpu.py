"""GPUs in Kubernetes: images, charts, Helm, and what the driver calls GPUs.

Rows: ``data/kubernetes_gpu.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from aiprov.catalog import Row, _document, _numbers, _rows
from aiprov.errors import CatalogError


@dataclass(frozen=True, kw_only=True)
class Image(Row):
    """A container image of one version."""

    name: str
    image: str
    tag: str

    @property
    def reference(self) -> str:
        """Image and tag, as a pod names it."""
        return f"{self.image}:{self.tag}"


@dataclass(frozen=True, kw_only=True)
class ChartRow(Row):
    """A Helm chart, and the minor versions of Kubernetes that it is for. No ``until``: newest.

    ``sha256``: of its archive, where a public text says it.
    """

    name: str
    repository: str
    version: str
    since: str
    until: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class HelmArchive(Row):
    """Helm's archive for one architecture (``amd64``), and its checksum."""

    version: str
    architecture: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class GatedFeature(Row):
    """What Kubernetes has from ``since`` on behind a feature gate, and from ``default`` on anyway.

    ``text``: how a user knows it.
    """

    name: str
    text: str
    since: str
    default: str
    gate: str


N = TypeVar("N", Image, ChartRow, GatedFeature)


def image(name: str) -> Image:
    """An image by name. Raises ``CatalogError`` for one that is not there."""
    return _named(_rows(Image, "kubernetes_gpu", "image"), name)


def chart(name: str) -> ChartRow:
    """A chart by name. Raises ``CatalogError`` for one that is not there."""
    return _named(_rows(ChartRow, "kubernetes_gpu", "chart"), name)


def feature(name: str) -> GatedFeature:
    """A feature by name. Raises ``CatalogError`` for one that is not there."""
    return _named(_rows(GatedFeature, "kubernetes_gpu", "feature"), name)


def helm_archives() -> tuple[HelmArchive, ...]:
    """Helm's archives of known checksum."""
    return _rows(HelmArchive, "kubernetes_gpu", "helm")


def _named(rows: tuple[N, ...], name: str) -> N:
    for row in rows:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in rows)
    raise CatalogError(f"there is no {name!r} in kubernetes_gpu.toml", hint=f"there are {known}")


def product(pci_id: str) -> str | None:
    """What the driver calls the GPU of a PCI id (``10de:2335``): ``NVIDIA H200``. None: unknown."""
    return products().get(pci_id.lower())


@cache
def products() -> Mapping[str, str]:
    """What the driver calls GPUs, by PCI id."""
    return {
        f"10de:{row['id']}": row["name"]
        for table in _document("kubernetes_gpu")["products"]
        for row in table["names"]
    }


def serves(row: ChartRow, version: str) -> bool:
    """Whether a chart is for a version of Kubernetes (``1.36.4``)."""
    minor = _numbers(version)[:2]
    return _numbers(row.since) <= minor and (row.until is None or minor <= _numbers(row.until))


def reached(since: str, version: str) -> bool:
    """Whether a version of Kubernetes (``1.34.2``) is ``since`` or later: a minor or a release."""
    wanted = _numbers(since)
    return _numbers(version)[: len(wanted)] >= wanted
