"""What kubelet and kube-proxy read: KubeletConfiguration v1beta1, KubeProxyConfiguration v1alpha1.

Fields: kubernetes/kubelet config/v1beta1/types.go (63b3249) and kubernetes/kube-proxy
config/v1alpha1/types.go (d37b2e7), with the tags v0.20.2 to v0.36.0 for what a version lacks, read
2026-11-21. The cluster's configuration is for all nodes and lies in a ConfigMap; what one node has
otherwise is a patch that kubeadm lays over it (from 1.25), or flags.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from aiprov.catalog import kubernetes
from aiprov.errors import UnsupportedError
from aiprov.kubernetes import fit
from aiprov.kubernetes.model import ClusterSpec, Conntrack, Kubelet, NodeSpec, Signal
from aiprov.values import laid_over

PATCHES = "/etc/kubernetes/patches"
"""The folder that kubeadm takes patches from."""

PATCH = f"{PATCHES}/kubeletconfiguration0+merge.json"
"""The file of a node's patch, named as kubeadm wants it: target, suffix, kind."""

# The flags of what kubelets are told by flags where kubeadm cannot patch (before 1.25).
FLAGS = {
    "cgroupDriver": "cgroup-driver",
    "cpuManagerPolicy": "cpu-manager-policy",
    "evictionHard": "eviction-hard",
    "failSwapOn": "fail-swap-on",
    "kubeReserved": "kube-reserved",
    "maxPods": "max-pods",
    "podPidsLimit": "pod-max-pids",
    "reservedSystemCPUs": "reserved-cpus",
    "systemReserved": "system-reserved",
    "topologyManagerPolicy": "topology-manager-policy",
    "topologyManagerScope": "topology-manager-scope",
}


def kubelet_config(cluster: ClusterSpec, node: NodeSpec | None = None) -> str:
    """KubeletConfiguration of the cluster, or as a node has it in the end.

    Raises ``UnsupportedError`` for what the cluster's version lacks or kubelet refuses.
    """
    return dumped(kubelet_document(cluster, node))


def kubelet_document(cluster: ClusterSpec, node: NodeSpec | None = None) -> dict[str, Any]:
    """KubeletConfiguration as a value."""
    options = (node.kubelet if node is not None else None) or cluster.kubelet
    fit.check_kubelet(cluster, options)
    driver = (node.cgroup_driver if node is not None else None) or cluster.cgroup_driver
    values = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # kubeadm's defaults are these; here they are what the cluster is meant to have.
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": driver,
        **_options(cluster, options),
    }
    if cluster.feature_gates:
        values["featureGates"] = dict(sorted(cluster.feature_gates.items()))
    return without_none(laid_over(values, options.extra))


def _options(cluster: ClusterSpec, options: Kubelet) -> dict[str, Any]:
    values: dict[str, Any] = {
        "containerLogMaxFiles": options.container_log_max_files,
        "containerLogMaxSize": options.container_log_max_size,
        "cpuManagerPolicy": options.cpu_manager,
        "cpuManagerPolicyOptions": options.cpu_manager_options or None,
        "evictionHard": _eviction(options),
        "failSwapOn": options.swap == "refused",
        "kubeReserved": options.kube_reserved or None,
        "maxPods": options.max_pods,
        "memoryManagerPolicy": options.memory_manager,
        "memorySwap": _swap(cluster, options),
        "podPidsLimit": options.pod_pids_limit,
        "reservedMemory": [
            {"numaNode": item.numa_node, "limits": dict(item.limits)}
            for item in options.reserved_memory
        ]
        or None,
        "reservedSystemCPUs": options.reserved_cpus,
        "rotateCertificates": True,
        "seccompDefault": options.seccomp_default or None,
        "serverTLSBootstrap": options.serving_certificates or None,
        "shutdownGracePeriod": options.shutdown_grace_period,
        "shutdownGracePeriodCriticalPods": options.shutdown_grace_period_critical,
        "systemReserved": options.system_reserved or None,
        "tlsMinVersion": options.tls_min_version,
        "topologyManagerPolicy": options.topology_manager,
        "topologyManagerPolicyOptions": options.topology_manager_options or None,
        "topologyManagerScope": options.topology_manager_scope,
    }
    return without_none(values)


def _eviction(options: Kubelet) -> dict[Signal, str] | None:
    """The thresholds with kubelet's own: to set one alone would set all others to zero."""
    return {**fit.EVICTION, **options.eviction_hard} if options.eviction_hard else None


def _swap(cluster: ClusterSpec, options: Kubelet) -> dict[str, str] | None:
    if options.swap == "refused" or not kubernetes.has("swap-behavior", cluster.version):
        return None
    return {"swapBehavior": "LimitedSwap" if options.swap == "limited" else "NoSwap"}


def difference(cluster: ClusterSpec, node: NodeSpec) -> dict[str, Any]:
    """What a node's configuration has otherwise than the cluster's; None where it lacks a field."""
    common, own = kubelet_document(cluster), kubelet_document(cluster, node)
    changed = {name: value for name, value in own.items() if common.get(name) != value}
    return {**changed, **{name: None for name in common if name not in own}}


def kubelet_patch(cluster: ClusterSpec, node: NodeSpec) -> str | None:
    """The patch that makes the cluster's configuration a node's, for ``PATCH``; None without one.

    A merge patch in JSON (RFC 7396), which takes off what is null. None too for versions whose
    kubeadm cannot patch: see ``kubelet_flags``.
    """
    changed = difference(cluster, node)
    if not changed or not kubernetes.has("kubelet-patch", cluster.version):
        return None
    return json.dumps(_patch(kubelet_document(cluster), changed), indent=2, sort_keys=True) + "\n"


def _patch(common: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """``changed`` as a merge patch: within mappings too, what is not wanted has to be taken off."""
    patch: dict[str, Any] = {}
    for name, value in changed.items():
        present = common.get(name)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            gone = {key: None for key in present if key not in value}
            patch[name] = {**_patch(present, value), **gone}
        else:
            patch[name] = value
    return patch


def kubelet_flags(cluster: ClusterSpec, node: NodeSpec) -> dict[str, str]:
    """A node's difference as kubelet's flags, where kubeadm cannot patch its configuration.

    Raises ``UnsupportedError`` for what kubelet has no flag for, or cannot be taken back by one.
    """
    if kubernetes.has("kubelet-patch", cluster.version):
        return {}
    flags = {}
    for name, value in difference(cluster, node).items():
        if name not in FLAGS or value is None:
            since = kubernetes.feature("kubelet-patch").since
            raise UnsupportedError(
                f"Kubernetes {cluster.version} cannot have {name} of {node.name} other than the "
                "cluster's",
                hint=f"set it for the whole cluster, or use Kubernetes {since} or later",
            )
        flags[FLAGS[name]] = _flag(value, "<" if name == "evictionHard" else "=")
    return flags


def _flag(value: Any, sign: str) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}{sign}{item}" for key, item in sorted(value.items()))
    return str(value).lower() if isinstance(value, bool) else str(value)


def proxy_document(cluster: ClusterSpec) -> dict[str, Any]:
    """KubeProxyConfiguration as a value. The pods' networks are kubeadm's to add."""
    fit.check_proxy(cluster)
    proxy = cluster.proxy
    values: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "conntrack": _conntrack(proxy.conntrack) if proxy.conntrack is not None else None,
        "featureGates": dict(sorted(cluster.feature_gates.items())) or None,
        "mode": proxy.mode,
        "nodePortAddresses": list(proxy.node_port_addresses) or None,
    }
    return without_none(values)


def _conntrack(conntrack: Conntrack) -> dict[str, Any]:
    values = {
        "maxPerCore": conntrack.max_per_core,
        "min": conntrack.min,
        "tcpBeLiberal": conntrack.tcp_be_liberal or None,
        "tcpCloseWaitTimeout": conntrack.tcp_close_wait_timeout,
        "tcpEstablishedTimeout": conntrack.tcp_established_timeout,
    }
    return without_none(values)


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are set, in mappings within too."""
    return {
        name: without_none(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if value is not None
    }


class _Dumper(yaml.SafeDumper):
    """Writes every value out: an alias is valid, but nobody expects one here."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumped(*documents: Mapping[str, Any]) -> str:
    """Documents as YAML, ``apiVersion`` and ``kind`` first and the rest in the order given."""
    text = (
        yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, width=10_000)
        for document in documents
    )
    return "---\n".join(text)
