"""kubeadm's configuration files, exactly as the version's API has them, and the flags beside them.

Fields: kubernetes cmd/kubeadm/app/apis/kubeadm v1beta2/types.go (046d201c) and v1beta3/types.go
(008b3652); for v1beta4 kubernetes/website kubeadm-config.v1beta4.md (f9610cd9), with v1/types.go
(07acfc17) for the types' full text, as the stored v1beta4/types.go (017b1e4b) is an early one. Read
2026-11-21. What holds secrets (``init_config`` and ``join_config``) is the caller's to keep so.
"""

from __future__ import annotations

from typing import Any

from aiprov.catalog import kubernetes
from aiprov.errors import UnsupportedError
from aiprov.kubernetes import fit
from aiprov.kubernetes.control_plane import (
    Flags,
    arguments,
    cluster_document,
    kind,
    united,
)
from aiprov.kubernetes.kubelet import (
    PATCHES,
    dumped,
    kubelet_document,
    kubelet_flags,
    kubelet_patch,
    proxy_document,
    without_none,
)
from aiprov.kubernetes.model import ClusterSpec, Join, NodeSpec, Taint


def init_config(cluster: ClusterSpec, node: NodeSpec, join: Join) -> str:
    """What ``kubeadm init --config`` reads on the first control plane, for the whole cluster.

    The bootstrap token lives from then on for ``join.token_ttl``. Raises ``UnsupportedError`` for
    what the version lacks, or what does not fit together.
    """
    fit.check_cluster(cluster)
    fit.check_node(cluster, node)
    if not node.control_plane:
        raise UnsupportedError(
            f"{node.name} is no control plane: no cluster begins on it",
            hint="begin with a host of kube_control_plane",
        )
    return dumped(
        _init(cluster, node, join),
        cluster_document(cluster),
        kubelet_document(cluster),
        proxy_document(cluster),
    )


def join_config(cluster: ClusterSpec, node: NodeSpec, join: Join) -> str:
    """What ``kubeadm join --config`` reads on a worker or a further control plane.

    Raises ``UnsupportedError`` for what the version lacks, or what does not fit together.
    """
    fit.check_cluster(cluster)
    fit.check_node(cluster, node)
    values: dict[str, Any] = {
        **kind(cluster, "JoinConfiguration"),
        "nodeRegistration": _registration(cluster, node),
        "discovery": _discovery(cluster, join),
    }
    if node.control_plane:
        values["controlPlane"] = {"localAPIEndpoint": _local(node)}
    return dumped({**values, **_patches(cluster, node), **_timeouts(cluster)})


def init_arguments(cluster: ClusterSpec, path: str) -> tuple[str, ...]:
    """``kubeadm``'s arguments for ``init``: v1beta2 has no field for phases that are skipped."""
    skipped = ",".join(cluster.skip_phases)
    if not skipped or kubernetes.has("skip-phases-field", cluster.version):
        return ("init", "--config", path)
    return ("init", "--config", path, f"--skip-phases={skipped}")


def _init(cluster: ClusterSpec, node: NodeSpec, join: Join) -> dict[str, Any]:
    token = {
        "token": join.token.get_secret_value(),
        "description": "joins nodes; aiprov",
        "ttl": join.token_ttl,
    }
    values: dict[str, Any] = {
        **kind(cluster, "InitConfiguration"),
        "bootstrapTokens": [token],
        "nodeRegistration": _registration(cluster, node),
        "localAPIEndpoint": _local(node),
    }
    if cluster.skip_phases and kubernetes.has("skip-phases-field", cluster.version):
        values["skipPhases"] = list(cluster.skip_phases)
    return {**values, **_patches(cluster, node), **_timeouts(cluster)}


def node_flags(cluster: ClusterSpec, node: NodeSpec) -> Flags:
    """The flags that the node's kubelet has, without the labels that it registers with."""
    own = {"node-ip": ",".join(node.addresses), **kubelet_flags(cluster, node)}
    return united(own, node.kubelet_args, "kubelet_args")


def _discovery(cluster: ClusterSpec, join: Join) -> dict[str, Any]:
    """How a node learns whom to trust: by a file with credentials, or by a token and a hash."""
    discovery: dict[str, Any] = {}
    if join.discovery_file is not None:
        discovery["file"] = {"kubeConfigPath": join.discovery_file}
    else:
        discovery["bootstrapToken"] = {
            "token": join.token.get_secret_value(),
            "apiServerEndpoint": join.endpoint or cluster.endpoint,
            "caCertHashes": [join.ca_hash],
        }
    older = not kubernetes.has("timeouts", cluster.version)
    if older and cluster.timeouts.discovery is not None:
        discovery["timeout"] = cluster.timeouts.discovery
    return discovery


def _local(node: NodeSpec) -> dict[str, Any]:
    return {"advertiseAddress": node.address, "bindPort": node.port}


def _registration(cluster: ClusterSpec, node: NodeSpec) -> dict[str, Any]:
    """How the node registers. Where no taints are said, kubeadm taints control planes itself."""
    flags = dict(node_flags(cluster, node))
    if node.labels:
        labels = ",".join(f"{key}={node.labels[key]}" for key in sorted(node.labels))
        flags = dict(united({"node-labels": labels}, flags, "kubelet_args"))
    return without_none(
        {
            "name": node.name,
            "criSocket": _socket(cluster, node),
            "taints": _taints(cluster, node),
            "kubeletExtraArgs": arguments(cluster, flags),
            "ignorePreflightErrors": _ignored(cluster, node),
            "imagePullPolicy": cluster.image_pull_policy,
        }
    )


def _socket(cluster: ClusterSpec, node: NodeSpec) -> str:
    prefix = "unix://" if kubernetes.has("socket-url", cluster.version) else ""
    return prefix + node.cri_socket


def _taints(cluster: ClusterSpec, node: NodeSpec) -> list[dict[str, str]] | None:
    taints = list(node.taints)
    if node.control_plane and not node.worker:
        if not taints:
            return None
        alone = kubernetes.has("control-plane-taint", cluster.version)
        key = f"node-role.kubernetes.io/{'control-plane' if alone else 'master'}"
        taints.insert(0, Taint(key=key, effect="NoSchedule"))
    elif not taints and not node.control_plane:
        return None
    return [taint.model_dump(exclude_defaults=True) for taint in taints]


def _ignored(cluster: ClusterSpec, node: NodeSpec) -> list[str] | None:
    """The checks that kubeadm leaves out: swap, too, where the node is meant to have it."""
    ignored = list(node.ignore_preflight_errors)
    swap = (node.kubelet or cluster.kubelet).swap
    if swap != "refused" and not kubernetes.has("swap-as-warning", cluster.version):
        ignored.append("Swap")
    return sorted(set(ignored)) or None


def _patches(cluster: ClusterSpec, node: NodeSpec) -> dict[str, Any]:
    return {} if kubelet_patch(cluster, node) is None else {"patches": {"directory": PATCHES}}


def _timeouts(cluster: ClusterSpec) -> dict[str, Any]:
    """``timeouts``, which v1beta4 has; before it, two of them lie elsewhere."""
    given = cluster.timeouts
    values = without_none(
        {
            "controlPlaneComponentHealthCheck": given.control_plane,
            "kubeletHealthCheck": given.kubelet,
            "kubernetesAPICall": given.api_call,
            "etcdAPICall": given.etcd_call,
            "tlsBootstrap": given.tls_bootstrap,
            "discovery": given.discovery,
            "upgradeManifests": given.upgrade_manifests,
        }
    )
    fits = kubernetes.has("timeouts", cluster.version)
    return {"timeouts": values} if values and fits else {}
