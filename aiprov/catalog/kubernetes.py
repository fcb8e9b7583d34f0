"""Kubernetes versions: containerd, kubeadm's configuration, images, permitted skew.

Rows: ``data/kubernetes.toml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from functools import cache

from aiprov.catalog import Row, _numbers, _rows
from aiprov.errors import CatalogError, UnsupportedError


@dataclass(frozen=True, kw_only=True)
class KubernetesLine(Row):
    """A minor version. ``containerd``: the oldest accepted version of each accepted line.

    No ``eol``: it is the newest, whose end is not known yet. ``product``: false for the lab's own.
    ``pause``, ``etcd``, ``coredns``: the tags of the images that kubeadm's first release of the
    minor names; a later one may name a later etcd.
    """

    version: str
    containerd: list[str]
    pause: str
    etcd: str
    coredns: str
    eol: date | None = None
    product: bool = True

    def accepts(self, version: str) -> bool:
        """Whether it accepts a containerd version, or a line (``2.2``) at its newest."""
        wanted = _numbers(version)
        return any(
            wanted[:2] == _numbers(oldest)[:2] and (len(wanted) < 3 or wanted >= _numbers(oldest))
            for oldest in self.containerd
        )


@dataclass(frozen=True, kw_only=True)
class KubeadmApi(Row):
    """A version of kubeadm's configuration, and the minor versions that are given it.

    No ``until``: to the newest.
    """

    version: str
    since: str
    until: str | None = None


@dataclass(frozen=True, kw_only=True)
class KubernetesFeature(Row):
    """Something that Kubernetes has from a minor version on. ``text``: how a user knows it."""

    name: str
    text: str
    since: str


@dataclass(frozen=True, kw_only=True)
class KubeletSkew(Row):
    """How many minor versions a kubelet of ``since`` or later may be ``older`` than the API."""

    since: str
    older: int


@cache
def all_lines() -> tuple[KubernetesLine, ...]:
    """All minor versions, oldest first, the lab's own among them."""
    return _rows(KubernetesLine, "kubernetes", "line")


@cache
def lines() -> tuple[KubernetesLine, ...]:
    """The minor versions that users may choose, oldest first."""
    return tuple(row for row in all_lines() if row.product)


def line(version: str) -> KubernetesLine:
    """The minor version of a Kubernetes version; the lab's own is found too, but never proposed.

    Raises ``CatalogError`` for one without a row; the hint names the nearest.
    """
    minor = ".".join(version.split(".")[:2])
    for row in all_lines():
        if row.version == minor:
            return row
    known = [row.version for row in lines()]
    near = get_close_matches(minor, known, n=2, cutoff=0.5)
    mean = f"did you mean {' or '.join(near)}? " if near else ""
    raise CatalogError(
        f"Kubernetes {version} is none that the catalog knows",
        hint=f"{mean}versions are {', '.join(known)}",
    )


def kubeadm_apis() -> tuple[KubeadmApi, ...]:
    """The versions of kubeadm's configuration, oldest first."""
    return _rows(KubeadmApi, "kubernetes", "kubeadm_api")


def kubeadm_api(version: str) -> str:
    """The version of kubeadm's configuration (``v1beta4``) that a Kubernetes version is given.

    Raises ``CatalogError`` for a version that is older than all of them.
    """
    minor = _minor(version)
    for row in kubeadm_apis():
        until = row.until or version
        if _minor(row.since) <= minor <= _minor(until):
            return row.version
    raise CatalogError(
        f"kubeadm {version} reads no configuration that aiprov writes",
        hint=f"the oldest is that of Kubernetes {kubeadm_apis()[0].since}",
    )


def features() -> tuple[KubernetesFeature, ...]:
    """What depends on the version."""
    return _rows(KubernetesFeature, "kubernetes", "feature")


def feature(name: str) -> KubernetesFeature:
    """A feature's row. Raises ``CatalogError`` for one that is not there."""
    for row in features():
        if row.name == name:
            return row
    raise CatalogError(f"there is no feature {name!r}", hint="see aiprov/catalog/data")


def has(name: str, version: str) -> bool:
    """Whether a Kubernetes version has a feature. Raises ``CatalogError`` for an unknown one."""
    return _minor(version) >= _minor(feature(name).since)


def may_upgrade(present: str, wanted: str) -> bool:
    """Whether kubeadm goes from one version to another: not back, and not over a minor version.

    Source: version-skew-policy.md (01bc0975, read 2026-11-21): an API server skips no minor.
    """
    step = _minor(wanted) - _minor(present)
    return step == 1 or (step == 0 and _numbers(wanted) >= _numbers(present))


def check_upgrade(present: str, wanted: str) -> None:
    """Raise ``UnsupportedError`` where kubeadm does not go from one version to another."""
    if may_upgrade(present, wanted):
        return
    if _numbers(wanted) < _numbers(present):
        raise UnsupportedError(
            f"Kubernetes does not go back from {present} to {wanted}",
            hint=f"keep kubernetes_version at {present} or later; an older state comes back from "
            "an etcd snapshot into a new cluster of the older version",
        )
    path = ", ".join(upgrade_path(present, wanted))
    raise UnsupportedError(
        f"Kubernetes does not go from {present} to {wanted} at once: no minor version is skipped",
        hint=f"upgrade to {path}, one after the other",
    )


def upgrade_path(present: str, wanted: str) -> tuple[str, ...]:
    """The minor versions to go through, the wanted version last: ``("1.34", "1.35.2")``.

    Empty where nothing newer is wanted.
    """
    if _numbers(wanted) <= _numbers(present):
        return ()
    between = range(_minor(present) + 1, _minor(wanted))
    return (*(f"1.{minor}" for minor in between), wanted)


def kubelet_skew(kubelet: str) -> int:
    """How many minor versions this kubelet may be older than its API server."""
    rows = _rows(KubeletSkew, "kubernetes", "kubelet_skew")
    return max(
        (row for row in rows if _minor(row.since) <= _minor(kubelet)),
        key=lambda row: _minor(row.since),
    ).older


def kubelet_may(api: str, kubelet: str) -> bool:
    """Whether a kubelet may serve an API server of a version: never newer, and not much older.

    Of a highly available control plane, ``api`` is its oldest API server for the first and its
    newest for the second: ask for both.
    """
    return 0 <= _minor(api) - _minor(kubelet) <= kubelet_skew(kubelet)


def check_kubelet(api: str, kubelet: str) -> None:
    """Raise ``UnsupportedError`` for a kubelet that may not serve an API server of a version."""
    if kubelet_may(api, kubelet):
        return
    if _minor(kubelet) > _minor(api):
        raise UnsupportedError(
            f"kubelet {kubelet} is newer than the API server {api}",
            hint="upgrade the control plane first, the workers after it",
        )
    older = kubelet_skew(kubelet)
    raise UnsupportedError(
        f"kubelet {kubelet} is more than {older} minor versions older than the API server {api}",
        hint=f"upgrade the node to 1.{_minor(api) - older} or later first",
    )


def _minor(version: str) -> int:
    return _numbers(version)[1]
