"""Settings of what runs on nodes and control planes: kubelet, kube-proxy, etcd, the audit log.

What is unset is left to kubeadm and to the program itself.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from aiprov.kubernetes.scalars import (
    Arguments,
    CpuList,
    Duration,
    Key,
    Part,
    Quantity,
    Reserved,
    Signal,
    Threshold,
    Value,
)
from aiprov.values import Cidr, Path


class Taint(Part):
    """What keeps pods off a node, unless they tolerate it."""

    key: Key = Field(description="name, such as nvidia.com/gpu")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        description="whether pods are kept off, rather kept off, or also thrown off"
    )
    value: Value = Field(default="", description="value, for tolerations that name one")


class MemoryReservation(Part):
    """Memory of one NUMA node that pods do not get."""

    numa_node: int = Field(ge=0, description="number of the NUMA node")
    limits: dict[
        Annotated[str, StringConstraints(pattern=r"^(memory|hugepages-.+)$")], Quantity
    ] = Field(description="amounts of memory and of huge pages, by name")


class Kubelet(Part):
    """Settings of a kubelet. What is unset is left to kubeadm and kubelet."""

    kube_reserved: Reserved = Field(
        default_factory=dict, description="kept for kubelet and the container runtime"
    )
    system_reserved: Reserved = Field(
        default_factory=dict, description="kept for the host's own daemons"
    )
    reserved_cpus: CpuList | None = Field(
        default=None, description="CPUs by number (0-3,64-67) that pods do not get"
    )
    reserved_memory: tuple[MemoryReservation, ...] = Field(
        default=(), description="memory by NUMA node, for the memory manager Static"
    )
    eviction_hard: dict[Signal, Threshold] = Field(
        default_factory=dict,
        description="when pods are evicted at once; thresholds that are not named stay kubelet's",
    )
    cpu_manager: Literal["none", "static"] | None = Field(
        default=None, description="static gives CPUs to pods of whole CPUs for themselves"
    )
    cpu_manager_options: dict[str, str] = Field(
        default_factory=dict, description="options of the CPU manager's policy (from 1.23)"
    )
    memory_manager: Literal["None", "Static"] | None = Field(
        default=None, description="Static keeps a pod's memory on NUMA nodes (from 1.22)"
    )
    topology_manager: Literal["none", "best-effort", "restricted", "single-numa-node"] | None = (
        Field(default=None, description="whether CPUs, memory and devices come of one NUMA node")
    )
    topology_manager_scope: Literal["container", "pod"] | None = Field(
        default=None, description="of what the topology manager decides at once"
    )
    topology_manager_options: dict[str, str] = Field(
        default_factory=dict, description="options of the topology manager's policy (from 1.28)"
    )
    max_pods: int | None = Field(default=None, ge=1, description="most pods; unset is 110")
    pod_pids_limit: int | None = Field(default=None, ge=1, description="most processes of a pod")
    serving_certificates: bool = Field(
        default=False,
        description="kubelet asks for a serving certificate of the cluster's CA, instead of "
        "signing its own; somebody has to approve what it asks for",
    )
    swap: Literal["refused", "unused", "limited"] = Field(
        default="refused", description="whether kubelet starts with swap, and pods use it"
    )
    seccomp_default: bool = Field(
        default=False, description="the runtime's seccomp profile for all pods (from 1.25)"
    )
    tls_min_version: Literal["VersionTLS12", "VersionTLS13"] | None = Field(
        default=None, description="oldest TLS that kubelet answers to"
    )
    container_log_max_size: Quantity | None = Field(
        default=None, description="size of a container's log file; unset is 10Mi"
    )
    container_log_max_files: int | None = Field(
        default=None, ge=2, description="log files of a container; unset is 5"
    )
    shutdown_grace_period: Duration | None = Field(
        default=None, description="how long a shutdown of the host waits for pods (from 1.21)"
    )
    shutdown_grace_period_critical: Duration | None = Field(
        default=None, description="the part of that which critical pods have for themselves"
    )
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description="further fields of KubeletConfiguration, laid over all others; null takes off",
    )


class Conntrack(Part):
    """The kernel's connection tracking as kube-proxy sets it. Zero leaves the host's value."""

    max_per_core: int | None = Field(
        default=None, ge=0, description="connections for each CPU; unset is 32768"
    )
    min: int | None = Field(default=None, ge=0, description="connections at least; unset is 131072")
    tcp_established_timeout: Duration | None = Field(
        default=None, description="how long idle connections are known; unset is 24h"
    )
    tcp_close_wait_timeout: Duration | None = Field(
        default=None, description="how long half-closed connections are known; unset is 1h"
    )
    tcp_be_liberal: bool = Field(
        default=False, description="let packets outside the TCP window through (from 1.29)"
    )


class Proxy(Part):
    """Settings of kube-proxy. No ``mode``: its own choice, which is iptables on Linux.

    ``node_port_addresses``: networks, or ``primary`` alone for the node's own addresses.
    """

    mode: Literal["iptables", "ipvs", "nftables"] | None = Field(
        default=None, description="how services are made; nftables from 1.31"
    )
    conntrack: Conntrack | None = Field(
        default=None, description="the kernel's connection tracking"
    )
    node_port_addresses: tuple[Literal["primary"]] | tuple[Cidr, ...] = Field(
        default=(),
        description="networks in which node ports are open; [primary] for the node's own addresses",
    )


class Etcd(Part):
    """The etcd that kubeadm runs on every control plane."""

    data_dir: Path = Field(default="/var/lib/etcd", description="where the data lies: a fast disk")
    args: Arguments = Field(default_factory=dict, description="further flags")
    server_sans: tuple[str, ...] = Field(
        default=(), description="further names and addresses in its serving certificate"
    )
    peer_sans: tuple[str, ...] = Field(
        default=(), description="further names and addresses in its peer certificate"
    )


class Audit(Part):
    """The API server's audit log. Days, files and MB (10^6 bytes) before old ones go."""

    policy: Path
    log: Path = "/var/log/kubernetes/audit/audit.log"
    max_age: int = Field(default=30, ge=0)
    max_backups: int = Field(default=10, ge=0)
    max_size: int = Field(default=100, ge=1)


class Timeouts(Part):
    """How long kubeadm waits. All but the first two exist from 1.31 on."""

    control_plane: Duration | None = Field(
        default=None, description="for the control plane's pods; unset is 4m0s"
    )
    discovery: Duration | None = Field(
        default=None, description="for the cluster that is joined; unset is 5m0s"
    )
    kubelet: Duration | None = Field(default=None, description="for kubelet; unset is 4m0s")
    api_call: Duration | None = Field(default=None, description="for the API; unset is 1m0s")
    etcd_call: Duration | None = Field(default=None, description="for etcd; unset is 2m0s")
    tls_bootstrap: Duration | None = Field(
        default=None, description="for kubelet's certificate; unset is 5m0s"
    )
    upgrade_manifests: Duration | None = Field(
        default=None, description="for changed static pods; unset is 5m0s"
    )
