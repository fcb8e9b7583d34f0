"""A cluster, its nodes and how they join, as values that fit every version of kubeadm's API.

What a version lacks is refused by ``aiprov.kubernetes.fit``, not here: the same values may be meant
for a newer one.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from aiprov.kubernetes.components import (
    Audit,
    Conntrack,
    Etcd,
    Kubelet,
    MemoryReservation,
    Proxy,
    Taint,
    Timeouts,
)
from aiprov.kubernetes.scalars import (
    Arguments,
    CpuList,
    DnsName,
    Duration,
    Endpoint,
    Flag,
    Key,
    Part,
    Phase,
    PreflightCheck,
    Quantity,
    Release,
    Repository,
    Reserved,
    Signal,
    Socket,
    Threshold,
    Value,
)
from aiprov.values import Address, Cidr, Path

__all__ = [
    "Arguments",
    "Audit",
    "ClusterSpec",
    "Conntrack",
    "CpuList",
    "DnsName",
    "Duration",
    "Endpoint",
    "Etcd",
    "Flag",
    "Join",
    "Key",
    "Kubelet",
    "MemoryReservation",
    "NodeSpec",
    "Part",
    "Phase",
    "PreflightCheck",
    "Proxy",
    "Quantity",
    "Release",
    "Repository",
    "Reserved",
    "Signal",
    "Socket",
    "Taint",
    "Threshold",
    "Timeouts",
    "Value",
]


class ClusterSpec(Part):
    """A cluster: the same for all its nodes.

    Two networks each for pods and services, one of IPv4 and one of IPv6, make it dual-stack.
    ``audit``, ``encryption_config``, ``admission_config`` and ``authentication_config`` name files
    that lie on every control plane; their folders are mounted into the API server.
    ``certificate_days`` and ``key_algorithm`` are for the certificates that kubeadm signs.
    """

    version: Release
    endpoint: Endpoint
    pod_cidrs: tuple[Cidr, ...] = Field(min_length=1, max_length=2)
    service_cidrs: tuple[Cidr, ...] = Field(min_length=1, max_length=2)
    name: DnsName = "kubernetes"
    dns_domain: DnsName = "cluster.local"
    image_repository: Repository | None = None
    dns_image_repository: Repository | None = None  # kubeadm does not look below .../coredns there
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    cgroup_driver: Literal["systemd", "cgroupfs"] = "systemd"
    api_sans: tuple[str, ...] = ()
    api_args: Arguments = Field(default_factory=dict)
    controller_manager_args: Arguments = Field(default_factory=dict)
    scheduler_args: Arguments = Field(default_factory=dict)
    etcd: Etcd = Etcd()
    audit: Audit | None = None
    encryption_config: Path | None = None
    admission_config: Path | None = None
    authentication_config: Path | None = None
    feature_gates: dict[str, bool] = Field(default_factory=dict)
    kubeadm_feature_gates: dict[str, bool] = Field(default_factory=dict)
    certificate_days: int | None = Field(default=None, ge=1, le=3650)
    key_algorithm: Literal["RSA-2048", "RSA-3072", "RSA-4096", "ECDSA-P256"] | None = None
    proxy: Proxy = Proxy()
    kubelet: Kubelet = Kubelet()
    skip_phases: tuple[Phase, ...] = ()
    timeouts: Timeouts = Timeouts()

    @property
    def dual_stack(self) -> bool:
        """Whether pods or services have two networks."""
        return len(self.pod_cidrs) > 1 or len(self.service_cidrs) > 1


class NodeSpec(Part):
    """One node. With ``control_plane`` and ``worker`` both, a control plane that takes work.

    ``addresses``: its own, in a dual-stack cluster one of each kind; the first is advertised.
    ``kubelet`` and ``cgroup_driver``: its own instead of the cluster's.
    """

    name: DnsName
    addresses: tuple[Address, ...] = Field(min_length=1, max_length=2)
    control_plane: bool = False
    worker: bool = True
    port: int = Field(default=6443, ge=1, le=65535)  # of its API server
    labels: dict[Key, Value] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    cri_socket: Socket = "/run/containerd/containerd.sock"
    cgroup_driver: Literal["systemd", "cgroupfs"] | None = None
    kubelet: Kubelet | None = None
    kubelet_args: Arguments = Field(default_factory=dict)
    ignore_preflight_errors: tuple[PreflightCheck, ...] = ()

    @property
    def address(self) -> str:
        """The address that it is reached at."""
        return self.addresses[0]

    @model_validator(mode="after")
    def _has_a_role(self) -> Self:
        if not (self.control_plane or self.worker):
            raise ValueError("a node is a control plane, a worker, or both")
        return self


class Join(Part):
    """What lets a node join: made on the controller before any node exists.

    ``ca_hash``: of the cluster CA's public key; the CAs' files lie on every control plane, so that
    no certificate key is needed. ``endpoint``: where to ask, if not at the cluster's.
    ``discovery_file``: the kubeconfig on the joining node that says all this and has credentials
    of its own; no token is needed then.
    """

    token: SecretStr
    ca_hash: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    endpoint: Endpoint | None = None
    discovery_file: Path | None = None
    token_ttl: Duration = "2h0m0s"  # noqa: S105 - a time

    @field_validator("token")
    @classmethod
    def _is_a_token(cls, token: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token.get_secret_value()):
            raise ValueError("not of its form: six characters, a dot, and sixteen")
        return token
