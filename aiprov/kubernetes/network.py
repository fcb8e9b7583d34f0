"""The pods' network: what each choice needs on a node, in the cluster, and what to know of it.

``bridge``   CNI's own plugins and plain routes, kept by ``kube-nodes`` and ``kube-routes``: nothing
             is downloaded, and all nodes have to be in one network segment
``flannel``  and
``calico``   their projects' manifests, pinned by checksum and fetched by the first control plane
``cilium``   its project's Helm chart, pinned likewise
``none``     someone else brings one

Kernel modules and sysctls that every Kubernetes node needs (br_netfilter, IP forwarding) are the
role's, whichever the network is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Literal

from aiprov import programs
from aiprov.catalog import networks
from aiprov.catalog.networks import PodNetwork
from aiprov.errors import UnsupportedError
from aiprov.kubernetes import bridge, pinned
from aiprov.kubernetes.charts import Chart
from aiprov.resources import Command, Package, Resource, Succeeds
from aiprov.survey.facts import Facts
from aiprov.values import laid_over

Kind = Literal["bridge", "flannel", "calico", "cilium", "none"]

MANIFEST = pinned.MANIFEST
"""Where ``fetched`` lays a manifest on the first control plane, for ``kube-admin`` to apply."""

FETCHED = pinned.FETCHED
"""The address of the command that lays it."""

SETTLES_S = 180
"""How long pods' routes may take: the controller manager gives out the networks first."""

_POLICY = {
    "bridge": "no NetworkPolicy is enforced: bridge has no part that does, and policies are "
    "accepted without effect; calico and cilium enforce them",
    "flannel": "no NetworkPolicy is enforced: flannel has no part that does, and policies are "
    "accepted without effect; calico and cilium enforce them",
    "calico": "NetworkPolicy is enforced by calico",
    "cilium": "NetworkPolicy is enforced by cilium",
    "none": "kubernetes_network is none: nodes stay NotReady until a network is there",
}


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A cluster's pod network as one node sees it.

    ``version``: of Kubernetes. ``node``: this node's name in the cluster. ``mtu`` in bytes, of
    pods' interfaces; ``None``: as the network finds it. ``plugins``: whose package has the basic
    CNI plugins. ``network_version``: of flannel, calico or cilium; ``None``: the newest that is
    tested with ``version``. ``source``: the manifest elsewhere than at its project, a URL or a path
    on the host; for cilium the repository of charts. ``sha256``: of it, where it is another than
    the catalog's. ``values``: laid over those that cilium's chart is given. ``proxy``: variables of
    the environment for the download.
    """

    kind: Kind
    version: str
    pod_cidrs: tuple[str, ...]
    node: str
    mtu: int | None = None
    plugins: Literal["kubernetes", "distribution"] = "kubernetes"
    network_version: str | None = None
    source: str | None = None
    sha256: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    proxy: Mapping[str, str] = field(default_factory=dict)


def bin_dir(spec: NetworkSpec, host: Facts) -> str:
    """The folder that the container runtime finds CNI plugins in.

    A network that brings its own puts them into /opt/cni/bin.
    """
    if spec.kind == "bridge":
        return networks.cni_plugins(spec.plugins, host.family).folder
    return "/opt/cni/bin"


def node_resources(spec: NetworkSpec, host: Facts) -> list[Resource]:
    """What every node has, before it joins.

    Raises ``UnsupportedError`` where its plugins would lie in two folders.
    """
    if spec.kind == "bridge":
        # RHEL 9 and later have the tools of iptables in a package of another name.
        newer = host.family == "redhat" and host.os_major != "8"
        tools = Package(name="iptables-nft" if newer else "iptables")
        wanted: list[Resource] = [*_plugins(spec, host), tools]
        return [*wanted, *bridge.resources(spec.node, spec.pod_cidrs, spec.mtu, host)]
    if spec.kind == "flannel":  # its plugin delegates to bridge, host-local and portmap
        row = networks.cni_plugins(spec.plugins, host.family)
        if row.folder != bin_dir(spec, host):
            raise UnsupportedError(
                f"flannel puts its plugin into {bin_dir(spec, host)}, and {row.package} of the "
                f"distribution has those that it needs in {row.folder}: runtimes look in one",
                hint="set kubernetes_cni_plugins: kubernetes",
            )
        return [*_plugins(spec, host), *bridge.absent()]
    return bridge.absent()


def _plugins(spec: NetworkSpec, host: Facts) -> list[Resource]:
    return [Package(name=networks.cni_plugins(spec.plugins, host.family).package)]


def settled(spec: NetworkSpec, joined: str) -> list[Resource]:
    """What says, once a node has joined, that its network is as it should be.

    ``joined``: the address of the resource that makes the host a node.
    """
    if spec.kind != "bridge":
        return []
    program = programs.path("kube-routes")
    return [
        Command(
            name="pods' routes",
            argv=(program, "wait", "--timeout", str(SETTLES_S)),
            unless=Succeeds(argv=(program, "check"), patience_s=SETTLES_S),
            after=(joined, f"Service[{bridge.UNIT}]"),
        )
    ]


def manifests(spec: NetworkSpec) -> list[dict[str, Any]]:
    """The objects that the network needs in the cluster, where they are few and our own."""
    return bridge.manifests() if spec.kind == "bridge" else []


def fetched(spec: NetworkSpec, host: Facts) -> list[Resource]:
    """The network's manifest on the first control plane, at ``MANIFEST``; empty for no manifest.

    Raises ``UnsupportedError`` for pod networks that it cannot have.
    """
    if (row := _row(spec)) is None or row.kind != "manifest":
        return []
    return pinned.resources(
        pinned.Source(location=spec.source or row.url, sha256=spec.sha256 or row.sha256),
        pinned.edits(row.name, spec.pod_cidrs, spec.mtu),
        spec.proxy,
        host,
    )


def charts(spec: NetworkSpec) -> list[Chart]:
    """The network's chart, where it comes as one."""
    if (row := _row(spec)) is None or row.kind != "chart":
        return []
    return [
        Chart(
            name=row.name,
            namespace="kube-system",
            repository=spec.source or row.url,
            chart=row.name,
            version=row.version,
            sha256=spec.sha256 or row.sha256,
            values=laid_over(cilium_values(spec), spec.values),
            wait=False,
        )
    ]


def cilium_values(spec: NetworkSpec) -> dict[str, Any]:
    """What the chart is given: pods' addresses as Kubernetes gives them out, and their families.

    helm-values.rst of Cilium 1.20 (read 2026-11-21): ``ipam.mode: kubernetes`` takes the pod
    networks from the Nodes, so that there is one place that says what they are.
    """
    families = {ip_network(cidr).version for cidr in spec.pod_cidrs}
    values: dict[str, Any] = {
        "ipam": {"mode": "kubernetes"},
        "ipv4": {"enabled": 4 in families},
        "ipv6": {"enabled": 6 in families},
    }
    return values if spec.mtu is None else {**values, "MTU": spec.mtu}


def notes(spec: NetworkSpec) -> list[tuple[Literal["reason", "warning"], str]]:
    """What to know of the choice: level and text of the role's notes."""
    enforced = spec.kind in ("calico", "cilium")
    told: list[tuple[Literal["reason", "warning"], str]] = [
        ("reason" if enforced else "warning", _POLICY[spec.kind])
    ]
    row = _row(spec)
    minor = ".".join(spec.version.split(".")[:2])
    if row is not None and minor not in row.tested:
        tested = ", ".join(row.tested)
        told.append(
            ("warning", f"{row.name} {row.version} is tested with Kubernetes {tested}, not {minor}")
        )
    return told


def _row(spec: NetworkSpec) -> PodNetwork | None:
    if spec.kind in ("bridge", "none"):
        return None
    return networks.pod_network(spec.kind, spec.version, spec.network_version)
