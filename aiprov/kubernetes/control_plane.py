"""ClusterConfiguration: what kubeadm makes the control plane's static pods from.

Fields: see ``aiprov.kubernetes.kubeadm``, whose other kinds are of one node.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from aiprov.catalog import kubernetes
from aiprov.errors import UnsupportedError
from aiprov.kubernetes.kubelet import without_none
from aiprov.kubernetes.model import ClusterSpec

Flags = Mapping[str, str | tuple[str, ...]]


def kind(cluster: ClusterSpec, name: str) -> dict[str, str]:
    """What a document of kubeadm's begins with, in the API's version that the cluster is given."""
    api = kubernetes.kubeadm_api(cluster.version)
    return {"apiVersion": f"kubeadm.k8s.io/{api}", "kind": name}


def cluster_document(cluster: ClusterSpec) -> dict[str, Any]:
    """ClusterConfiguration as a value. Raises ``UnsupportedError`` for flags and files amiss."""
    days = cluster.certificate_days
    values = {
        **kind(cluster, "ClusterConfiguration"),
        "clusterName": cluster.name,
        "kubernetesVersion": f"v{cluster.version}",
        "controlPlaneEndpoint": cluster.endpoint,
        "imageRepository": cluster.image_repository,
        "certificateValidityPeriod": None if days is None else f"{days * 24}h0m0s",
        "encryptionAlgorithm": cluster.key_algorithm,
        "featureGates": dict(sorted(cluster.kubeadm_feature_gates.items())) or None,
        "dns": _dns(cluster),
        "networking": {
            "podSubnet": ",".join(cluster.pod_cidrs),
            "serviceSubnet": ",".join(cluster.service_cidrs),
            "dnsDomain": cluster.dns_domain,
        },
        "etcd": {"local": _etcd(cluster)},
        "apiServer": _api_server(cluster),
        "controllerManager": _component(
            cluster, cluster.controller_manager_args, "controller_manager_args"
        ),
        "scheduler": _component(cluster, cluster.scheduler_args, "scheduler_args"),
    }
    return without_none(values)


def _dns(cluster: ClusterSpec) -> dict[str, str] | None:
    if cluster.dns_image_repository is None:
        return None
    named = {"type": "CoreDNS"} if kubernetes.kubeadm_api(cluster.version) == "v1beta2" else {}
    return {**named, "imageRepository": cluster.dns_image_repository}


def _etcd(cluster: ClusterSpec) -> dict[str, Any]:
    etcd = cluster.etcd
    return without_none(
        {
            "dataDir": etcd.data_dir,
            "extraArgs": arguments(cluster, etcd.args),
            "serverCertSANs": list(etcd.server_sans) or None,
            "peerCertSANs": list(etcd.peer_sans) or None,
        }
    )


def _api_server(cluster: ClusterSpec) -> dict[str, Any] | None:
    older = not kubernetes.has("timeouts", cluster.version)
    flags = {**_api_flags(cluster), **_gates(cluster)}
    values = {
        "certSANs": list(cluster.api_sans) or None,
        "extraArgs": arguments(cluster, united(flags, cluster.api_args, "api_args")),
        "extraVolumes": _volumes(cluster) or None,
        "timeoutForControlPlane": cluster.timeouts.control_plane if older else None,
    }
    return without_none(values) or None


def _api_flags(cluster: ClusterSpec) -> dict[str, str]:
    flags: dict[str, str] = {}
    if (audit := cluster.audit) is not None:
        flags |= {
            "audit-policy-file": audit.policy,
            "audit-log-path": audit.log,
            "audit-log-maxage": str(audit.max_age),
            "audit-log-maxbackup": str(audit.max_backups),
            "audit-log-maxsize": str(audit.max_size),
        }
    if cluster.encryption_config is not None:
        flags["encryption-provider-config"] = cluster.encryption_config
        if kubernetes.has("encryption-reload", cluster.version):
            flags["encryption-provider-config-automatic-reload"] = "true"
    if cluster.admission_config is not None:
        flags["admission-control-config-file"] = cluster.admission_config
    if cluster.authentication_config is not None:
        flags["authentication-config"] = cluster.authentication_config
    return flags


def _gates(cluster: ClusterSpec) -> dict[str, str]:
    gates = sorted(cluster.feature_gates.items())
    return {"feature-gates": ",".join(f"{k}={str(v).lower()}" for k, v in gates)} if gates else {}


def _volumes(cluster: ClusterSpec) -> list[dict[str, Any]]:
    """The folders of the API server's files. Folders, so that it sees a file that is replaced."""
    read = [
        cluster.audit.policy if cluster.audit is not None else None,
        cluster.encryption_config,
        cluster.admission_config,
        cluster.authentication_config,
    ]
    folders = {_folder(path): True for path in read if path is not None}
    if cluster.audit is not None:
        folders[_folder(cluster.audit.log)] = False
    return [
        {
            "name": folder.strip("/").lower().replace("/", "-").replace(".", "-").replace("_", "-"),
            "hostPath": folder,
            "mountPath": folder,
            **({"readOnly": True} if read_only else {}),
            "pathType": "Directory" if read_only else "DirectoryOrCreate",
        }
        for folder, read_only in sorted(folders.items())
    ]


def _folder(path: str) -> str:
    folder = PurePosixPath(path).parent
    if len(folder.parts) < 4 or folder.is_relative_to("/etc/kubernetes/pki"):
        raise UnsupportedError(
            f"{path} lies in {folder}, the whole of which the API server would get",
            hint="put it into a folder of its own, such as /etc/kubernetes/audit",
        )
    return str(folder)


def _component(cluster: ClusterSpec, given: Flags, setting: str) -> dict[str, Any] | None:
    flags = united(_gates(cluster), given, setting)
    return {"extraArgs": arguments(cluster, flags)} if flags else None


def united(own: Flags, given: Flags, setting: str) -> Flags:
    """aiprov's flags and the user's; one that both say is refused."""
    both = sorted(set(own) & set(given))
    if both:
        raise UnsupportedError(
            f"{', '.join(both)} in {setting} is said by another setting too",
            hint=f"take it out of {setting}",
        )
    return {**own, **given}


def arguments(cluster: ClusterSpec, flags: Flags) -> Any:
    """Flags as the version has them: by name, or from v1beta4 on a list of names and values."""
    if not flags:
        return None
    if not kubernetes.has("repeated-arguments", cluster.version):
        return {name: flags[name] for name in sorted(flags)}
    return [
        {"name": name, "value": value}
        for name in sorted(flags)
        for value in ((flags[name],) if isinstance(flags[name], str) else flags[name])
    ]
