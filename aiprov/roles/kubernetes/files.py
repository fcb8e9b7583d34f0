"""What lies on a node: the kernel's settings, swap, kubeadm's files, the API server's own."""

from __future__ import annotations

import hashlib
import json
import posixpath
from dataclasses import dataclass
from typing import Any

from aiprov.cluster_secrets import ClusterSecrets, control_plane_files
from aiprov.kubernetes import FOLDER, hardening, kubeadm
from aiprov.kubernetes.kubelet import PATCH, PATCHES, kubelet_config, kubelet_patch
from aiprov.kubernetes.model import ClusterSpec, Join, NodeSpec, Taint
from aiprov.resources import (
    Absent,
    Command,
    Directory,
    File,
    KernelModule,
    Resource,
    Secret,
    Service,
    Succeeds,
    Sysctl,
)
from aiprov.roles.kubernetes import runtime, spec
from aiprov.roles.kubernetes.members import Member
from aiprov.roles.kubernetes.settings import Vars

NODE = f"{FOLDER}/node.json"
INIT = f"{FOLDER}/init.yaml"
JOIN = f"{FOLDER}/join.yaml"
MANIFESTS = f"{FOLDER}/manifests"
CRICTL = "/etc/crictl.yaml"
SWAP_OFF = "swap is off"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A node's part in its cluster, worked out once."""

    own: Member
    cluster: ClusterSpec
    node: NodeSpec
    join: Join
    secrets: ClusterSecrets


# ---------------------------------------------------------------- the kernel


def kernel(vars: Vars) -> list[Resource]:
    """Modules, parameters and swap, as kubeadm's checks and kubelets want them."""
    sysctls = vars.kubernetes_sysctls
    if sysctls is None:
        sysctls = _sysctls(vars)
    return [
        *(KernelModule(name=name) for name in vars.kubernetes_kernel_modules),
        *(Sysctl(key=key, value=sysctls[key]) for key in sorted(sysctls)),
        *_swap(vars),
    ]


def _sysctls(vars: Vars) -> dict[str, str]:
    """kubernetes.io production-environment/container-runtimes.md; inotify for many pods' logs."""
    found = {
        "net.ipv4.ip_forward": "1",
        "fs.inotify.max_user_instances": "8192",
        "fs.inotify.max_user_watches": "524288",
    }
    if "br_netfilter" in vars.kubernetes_kernel_modules:
        found["net.bridge.bridge-nf-call-iptables"] = "1"
        found["net.bridge.bridge-nf-call-ip6tables"] = "1"
    if any(":" in cidr for cidr in vars.kubernetes_pod_cidrs):
        found["net.ipv6.conf.all.forwarding"] = "1"
    return found


def _swap(vars: Vars) -> list[Resource]:
    """Swap is off now, and stays off by a masked target: fstab stays as its owner wrote it.

    Every unit of swap, of fstab or a generator, is started by this target (systemd.special(7)).
    """
    if vars.kubernetes_swap != "off":
        return []
    return [
        Service(name="swap.target", masked=True),
        Command(
            name=SWAP_OFF,
            argv=("swapoff", "--all"),
            # More than its heading in /proc/swaps is swap.
            unless=Succeeds(argv=("awk", "END { exit NR > 1 }", "/proc/swaps")),
        ),
    ]


def crictl(vars: Vars) -> File:
    """Which runtime ``crictl`` asks."""
    url = f"unix://{runtime.socket(vars)}"
    text = f"runtime-endpoint: {url}\nimage-endpoint: {url}\ntimeout: 10\n"
    return File(path=CRICTL, content=text)


# ---------------------------------------------------------------- kubeadm's files


def node_files(vars: Vars, parts: Parts, more: dict[str, Any]) -> list[Resource]:
    """The folder of what aiprov's programs read, and the node's patch of kubelet's settings.

    ``more``: further fields of node.json.
    """
    patch = kubelet_patch(parts.cluster, parts.node)
    return [
        Directory(path="/etc/kubernetes"),
        Directory(path=FOLDER, mode=0o700),
        Directory(path=PATCHES),
        File(path=PATCH, content=patch) if patch is not None else Absent(path=PATCH),
        File(path=NODE, content=node_json(vars, parts, more), mode=0o600),
        *([_init(parts)] if parts.own.control_plane else []),
        File(path=JOIN, content=_join(parts), mode=0o600),
    ]


def _init(parts: Parts) -> File:
    text = kubeadm.init_config(parts.cluster, parts.node, parts.join)
    content = Secret(text, parts=(parts.secrets.bootstrap_token,))
    return File(path=INIT, content=content, mode=0o600)


def _join(parts: Parts) -> str:
    return kubeadm.join_config(parts.cluster, parts.node, parts.join)


def node_json(vars: Vars, parts: Parts, more: dict[str, Any]) -> str:
    """What ``kube-node`` and its like know of the node."""
    own, node, cluster = parts.own, parts.node, parts.cluster
    values: dict[str, Any] = {
        "format_version": 1,
        "name": own.name,
        "control_plane": own.control_plane,
        "worker": own.worker,
        "first": own.first,
        "endpoint": cluster.endpoint,
        "api_port": node.port,
        "address": node.address,
        "peers": [
            {"name": peer.name, "address": peer.address, "port": peer.port}
            for peer in (own.peers if own.control_plane else ())
        ],
        "version": cluster.version,
        "cri_socket": node.cri_socket,
        "patches": PATCHES if kubelet_patch(cluster, node) is not None else None,
        "init_arguments": list(kubeadm.init_arguments(cluster, INIT)[3:]),
        "ignore_preflight_errors": list(node.ignore_preflight_errors),
        "skip_phases": list(cluster.skip_phases),
        "etcd_data_dir": cluster.etcd.data_dir,
        "wait_s": vars.kubernetes_wait_s,
        "labels": dict(node.labels),
        "taints": [_taint(taint) for taint in node.taints],
        "modules": list(vars.kubernetes_kernel_modules),
        "swap_refused": vars.kubernetes_swap in ("refused", "off"),
    }
    values["kubelet_digest"] = hashlib.sha256(kubelet_config(cluster).encode()).hexdigest()
    values["kubelet_flags"] = {
        name: value if isinstance(value, str) else list(value)
        for name, value in kubeadm.node_flags(cluster, node).items()
    }
    if own.control_plane:
        values["token_id"] = parts.join.token.get_secret_value().partition(".")[0]
        values["control_plane_files"] = sorted(hardening_files(vars, parts))
    return json.dumps({**values, **more}, indent=2, sort_keys=True) + "\n"


def _taint(taint: Taint) -> dict[str, str]:
    return {"key": taint.key, "value": taint.value, "effect": taint.effect}


# ---------------------------------------------------------------- control planes


def control_plane(vars: Vars, parts: Parts) -> list[Resource]:
    """The cluster's authorities and what hardens the API server, on every control plane."""
    return [*control_plane_files(parts.secrets), *_hardening(vars, parts)]


def _hardening(vars: Vars, parts: Parts) -> list[Resource]:
    found: list[Resource] = []
    for path, content in hardening_files(vars, parts).items():
        secret = isinstance(content, Secret)
        folder = Directory(path=posixpath.dirname(path), mode=0o700 if secret else 0o755)
        found += [folder, File(path=path, content=content, mode=0o600)]
    return found


def hardening_files(vars: Vars, parts: Parts) -> dict[str, str | Secret]:
    """The files that the API server's flags name, by path."""
    cluster = parts.cluster
    found: dict[str, str | Secret | None] = {}
    if cluster.audit is not None:
        found[hardening.AUDIT_POLICY] = hardening.audit_policy(vars.kubernetes_audit_rules)
    if cluster.encryption_config is not None:
        key = parts.secrets.encryption_key
        resources = vars.kubernetes_encryption_resources
        found[hardening.ENCRYPTION] = hardening.encryption(key, resources)
    if cluster.admission_config is not None:
        found[hardening.ADMISSION] = spec.admission(vars)
    if cluster.authentication_config is not None:
        found[hardening.AUTHENTICATION] = hardening.authentication(cluster.version)
    return {path: content for path, content in found.items() if content is not None}


def configuring(vars: Vars, parts: Parts) -> tuple[str, ...]:
    """The addresses of what a node that has joined is configured by."""
    paths = [NODE, JOIN, PATCH]
    if parts.own.control_plane:
        paths += [INIT, *hardening_files(vars, parts)]
    return (*(f"File[{path}]" for path in paths), f"Absent[{PATCH}]")
