"""Pod networks, the virtual address's holder, and the CNI plugins' packages.

Rows: ``data/networks.toml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Literal

from aiprov.catalog import Row, _numbers, _rows
from aiprov.errors import CatalogError, UnsupportedError


@dataclass(frozen=True, kw_only=True)
class PodNetwork(Row):
    """A version of a pod network. ``url``: of the manifest, or of the repository with the chart.

    ``sha256``: of the manifest, or of the chart's archive. ``tested``: the Kubernetes minors that
    the project itself tests it with.
    """

    name: str
    version: str
    kind: Literal["manifest", "chart"]
    url: str
    sha256: str
    tested: list[str]


@dataclass(frozen=True, kw_only=True)
class KubeVip(Row):
    """kube-vip's version and image, without the tag."""

    version: str
    image: str


@dataclass(frozen=True, kw_only=True)
class CniPlugins(Row):
    """The package with the basic CNI plugins, and the folder that they lie in.

    ``origin``: Kubernetes' own repository or the distribution. No ``family``: for every OS.
    """

    origin: Literal["kubernetes", "distribution"]
    package: str
    folder: str
    family: str | None = None


@cache
def pod_networks(name: str) -> tuple[PodNetwork, ...]:
    """The versions of a network, oldest first."""
    rows = [row for row in _rows(PodNetwork, "networks", "network") if row.name == name]
    return tuple(sorted(rows, key=lambda row: _numbers(row.version)))


def pod_network(name: str, kubernetes: str, version: str | None = None) -> PodNetwork:
    """A network's row: that version, or the newest that is tested with a Kubernetes version.

    Where none is tested with it, the newest there is. Raises ``CatalogError`` for a version
    without a row.
    """
    rows = pod_networks(name)
    if version is None:
        minor = ".".join(kubernetes.split(".")[:2])
        return next((row for row in reversed(rows) if minor in row.tested), rows[-1])
    for row in rows:
        if row.version == version:
            return row
    known = [row.version for row in rows]
    near = get_close_matches(version, known, n=1, cutoff=0.5)
    raise CatalogError(
        f"{name} {version} is none that the catalog knows",
        hint=f"{f'did you mean {near[0]}? ' if near else ''}versions are {', '.join(known)}; "
        "another one needs its sha256 with it",
    )


def kube_vip() -> KubeVip:
    """The kube-vip to run."""
    return _rows(KubeVip, "networks", "kube_vip")[-1]


def cni_plugins(origin: str, family: str) -> CniPlugins:
    """The package of the basic CNI plugins for an OS family (``debian``, ``redhat``)."""
    for row in _rows(CniPlugins, "networks", "plugins"):
        if row.origin == origin and row.family in (None, family):
            return row
    raise UnsupportedError(f"{family} has no CNI plugins of its own", hint="use Kubernetes' own")
