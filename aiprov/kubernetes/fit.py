"""What does not fit: a version and what it lacks, networks that overlap, what components refuse.

Everything here would otherwise be found by kubeadm, a kubelet that does not start or a cluster that
half works. All of it raises ``UnsupportedError``, with the way out as its hint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from aiprov.catalog import kubernetes
from aiprov.errors import UnsupportedError
from aiprov.kubernetes.model import ClusterSpec, Kubelet, NodeSpec, Signal

Network = IPv4Network | IPv6Network

# kubeadm's constants.go (00886ac0, read 2026-11-21).
SERVICE_BITS = 20  # a service network has no more than 2^20 addresses
SERVICE_ADDRESSES = 10  # and no fewer than this: the cluster's DNS is the tenth
NODE_BITS = 16  # a pod network is cut into no more than 2^16 nodes' parts

# kubernetes pkg/kubelet/apis/well_known_labels.go, as kubelet's refusal names them (2026-11-21).
OWN_LABELS = {
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
}
OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")

EVICTION: dict[Signal, str] = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
}
"""Kubelet's own thresholds (kubelet config/v1beta1/types.go, 63b3249, read 2026-11-21)."""

_SCALES = {
    "m": Fraction(1, 1000),
    "k": Fraction(10**3),
    **{unit: Fraction(10 ** (3 * power)) for power, unit in enumerate("MGTPE", 2)},
    **{f"{unit}i": Fraction(1024**power) for power, unit in enumerate("KMGTPE", 1)},
}


def need(asked: object, name: str, cluster: ClusterSpec, setting: str) -> None:
    """Refuse a setting that the cluster's version has no feature for."""
    if asked and not kubernetes.has(name, cluster.version):
        row = kubernetes.feature(name)
        raise UnsupportedError(
            f"Kubernetes {cluster.version} has no {row.text}, which {setting} asks for",
            hint=f"leave {setting} out, or use Kubernetes {row.since} or later",
        )


def check_cluster(cluster: ClusterSpec) -> None:
    """Refuse what does not fit together in a cluster."""
    kubernetes.kubeadm_api(cluster.version)
    waits = cluster.timeouts.model_dump(exclude={"control_plane", "discovery"}, exclude_none=True)
    need(cluster.dual_stack, "dual-stack", cluster, "a second network")
    need(cluster.image_pull_policy, "image-pull-policy", cluster, "kubernetes_image_pull_policy")
    need(cluster.certificate_days, "certificate-validity", cluster, "kubernetes_certificate_days")
    need(cluster.key_algorithm, "key-algorithm", cluster, "kubernetes_key_algorithm")
    need(cluster.authentication_config, "anonymous-endpoints", cluster, "kubernetes_anonymous")
    need(waits, "timeouts", cluster, f"kubernetes_timeouts ({', '.join(waits)})")
    for setting, arguments in {
        "kubernetes_api_args": cluster.api_args,
        "kubernetes_controller_manager_args": cluster.controller_manager_args,
        "kubernetes_scheduler_args": cluster.scheduler_args,
        "kubernetes_etcd.args": cluster.etcd.args,
    }.items():
        repeated = any(isinstance(value, tuple) for value in arguments.values())
        need(repeated, "repeated-arguments", cluster, setting)
    _check_api_arguments(cluster)
    _check_networks(cluster)


def _check_api_arguments(cluster: ClusterSpec) -> None:
    arguments = cluster.api_args
    if arguments.get("anonymous-auth") == "false":
        raise UnsupportedError(
            "anonymous-auth=false keeps nodes from joining: they read cluster-info before they "
            "are known",
            hint="leave it out, and from Kubernetes 1.32 on allow anonymous requests to chosen "
            "paths alone by kubernetes_anonymous: limited",
        )
    plugins = arguments.get("enable-admission-plugins")
    if plugins is not None and "NodeRestriction" not in ",".join(_listed(plugins)).split(","):
        raise UnsupportedError(
            "enable-admission-plugins replaces kubeadm's NodeRestriction, without which a node "
            "may change any other",
            hint="add NodeRestriction to enable-admission-plugins",
        )


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _check_networks(cluster: ClusterSpec) -> None:
    pods = [ip_network(cidr) for cidr in cluster.pod_cidrs]
    services = [ip_network(cidr) for cidr in cluster.service_cidrs]
    for what, networks in (("kubernetes_pod_cidrs", pods), ("kubernetes_service_cidrs", services)):
        if len(networks) > 1 and networks[0].version == networks[1].version:
            raise UnsupportedError(
                f"{what} {networks[0]} and {networks[1]} are both IPv{networks[0].version}",
                hint="give one network of IPv4 and one of IPv6, or only one",
            )
    if [network.version for network in pods] != [network.version for network in services]:
        raise UnsupportedError(
            f"pods have IPv{_versions(pods)}, services have IPv{_versions(services)}",
            hint="give kubernetes_pod_cidrs and kubernetes_service_cidrs the same kinds of "
            "network, in the same order",
        )
    for pod in pods:
        for service in services:
            if pod.overlaps(service):
                raise UnsupportedError(
                    f"pods' network {pod} and services' network {service} overlap",
                    hint="choose networks that share no address, nor one with the hosts'",
                )
    for service in services:
        _check_services(service)
    for pod in pods:
        _check_pods(cluster, pod, dual=len(pods) > 1)


def _versions(networks: Iterable[Network]) -> str:
    return " and ".join(str(network.version) for network in networks)


def _check_services(network: Network) -> None:
    bits = network.max_prefixlen - network.prefixlen
    if bits > SERVICE_BITS:
        raise UnsupportedError(
            f"services' network {network} is too large",
            hint=f"use /{network.max_prefixlen - SERVICE_BITS} or smaller",
        )
    if network.num_addresses < SERVICE_ADDRESSES:
        raise UnsupportedError(
            f"services' network {network} is too small: the cluster's DNS is its tenth address",
            hint=f"use /{network.max_prefixlen - 4} or larger",
        )


def _check_pods(cluster: ClusterSpec, network: Network, *, dual: bool) -> None:
    """Whether every node gets its part: a /24 or /64, or what node-cidr-mask-size says."""
    flag = f"node-cidr-mask-size-ipv{network.version}" if dual else "node-cidr-mask-size"
    usual = 24 if network.version == 4 else 64
    given = cluster.controller_manager_args.get(flag, str(usual))
    if not (isinstance(given, str) and given.isdigit()):
        raise UnsupportedError(f"{flag} {given!r} is not a number", hint=f"say {flag}: '{usual}'")
    mask = int(given)
    if not network.prefixlen <= mask <= network.max_prefixlen:
        raise UnsupportedError(
            f"pods' network {network} is smaller than one node's part of it, a /{mask}",
            hint=f"use a larger network, or set {flag} among kubernetes_controller_manager_args",
        )
    if mask - network.prefixlen > NODE_BITS:
        raise UnsupportedError(
            f"pods' network {network} has more than 2^{NODE_BITS} parts of /{mask}",
            hint=f"use /{mask - NODE_BITS} or smaller, or set {flag} among "
            "kubernetes_controller_manager_args",
        )


def check_node(cluster: ClusterSpec, node: NodeSpec) -> None:
    """Refuse what does not fit in a node, or between it and its cluster."""
    for key in node.labels:
        domain = key.rpartition("/")[0]
        if _within(domain, ("kubernetes.io", "k8s.io")) and not (
            key in OWN_LABELS or _within(domain, OWN_DOMAINS)
        ):
            raise UnsupportedError(
                f"a kubelet may not give itself the label {key}",
                hint=f"use a domain of your own, or one of {', '.join(OWN_DOMAINS)}",
            )
    networks = [*cluster.pod_cidrs, *cluster.service_cidrs]
    for address in node.addresses:
        for network in networks:
            if ip_address(address) in ip_network(network):
                raise UnsupportedError(
                    f"{node.name}'s address {address} lies in the cluster's network {network}",
                    hint="choose pod and service networks apart from the hosts'",
                )
    kinds = [ip_address(address).version for address in node.addresses]
    if len(set(kinds)) < len(kinds):
        raise UnsupportedError(
            f"{node.name}'s addresses {' and '.join(node.addresses)} are both IPv{kinds[0]}",
            hint="give one of each kind, or only one",
        )
    if len(kinds) > 1 and not cluster.dual_stack:
        raise UnsupportedError(
            f"{node.name} has two addresses in a cluster of one kind of network",
            hint="give the node one address, or the cluster a second network",
        )
    repeated = any(isinstance(value, tuple) for value in node.kubelet_args.values())
    need(repeated, "repeated-arguments", cluster, f"{node.name}'s kubernetes_kubelet_args")


def _within(domain: str, parents: Iterable[str]) -> bool:
    return any(domain == parent or domain.endswith(f".{parent}") for parent in parents)


def check_kubelet(cluster: ClusterSpec, options: Kubelet) -> None:
    """Refuse what kubelet would not start with, or what its version does not know."""
    need(
        options.cpu_manager_options,
        "cpu-manager-options",
        cluster,
        "kubernetes_kubelet.cpu_manager_options",
    )
    need(options.memory_manager, "memory-manager", cluster, "kubernetes_kubelet.memory_manager")
    need(options.reserved_memory, "memory-manager", cluster, "kubernetes_kubelet.reserved_memory")
    need(
        options.shutdown_grace_period,
        "graceful-shutdown",
        cluster,
        "kubernetes_kubelet.shutdown_grace_period",
    )
    need(options.seccomp_default, "seccomp-default", cluster, "kubernetes_kubelet.seccomp_default")
    need(options.swap == "limited", "swap-behavior", cluster, "kubernetes_swap: limited")
    need(
        options.topology_manager_options,
        "topology-manager-options",
        cluster,
        "kubernetes_kubelet.topology_manager_options",
    )
    if options.cpu_manager == "static" and not options.reserved_cpus:
        reserved = (options.kube_reserved.get("cpu"), options.system_reserved.get("cpu"))
        if not any(amount(value) for value in reserved if value):
            raise UnsupportedError(
                "the static CPU manager needs CPUs that are reserved",
                hint="set reserved_cpus, or cpu in kube_reserved or system_reserved",
            )
    if options.memory_manager == "Static":
        _check_memory(options)
    _check_shutdown(options)


def _check_memory(options: Kubelet) -> None:
    """What the NUMA nodes keep is what is reserved in all, or kubelet does not start.

    Source: kubernetes/website memory-manager.md (03830f91, read 2026-11-21).
    """
    parts: Mapping[str, str] = {
        "kube_reserved": options.kube_reserved.get("memory", "0"),
        "system_reserved": options.system_reserved.get("memory", "0"),
        "eviction_hard": {**EVICTION, **options.eviction_hard}["memory.available"],
    }
    for numa_node, times in Counter(item.numa_node for item in options.reserved_memory).items():
        if times > 1:
            raise UnsupportedError(
                f"reserved_memory names NUMA node {numa_node} {times} times",
                hint="put all its limits into one entry",
            )
    if parts["eviction_hard"].endswith("%"):
        raise UnsupportedError(
            "the static memory manager needs memory.available in eviction_hard as an amount",
            hint="say 100Mi, which is the default",
        )
    wanted = sum((amount(value) for value in parts.values()), Fraction())
    kept = sum(
        (amount(item.limits.get("memory", "0")) for item in options.reserved_memory), Fraction()
    )
    if kept != wanted:
        raise UnsupportedError(
            f"reserved_memory keeps {_mebibytes(kept)} of memory, and {', '.join(parts)} reserve "
            f"{_mebibytes(wanted)} together",
            hint="the static memory manager needs both to be the same",
        )


def _check_shutdown(options: Kubelet) -> None:
    if options.shutdown_grace_period_critical and not options.shutdown_grace_period:
        raise UnsupportedError(
            "shutdown_grace_period_critical is a part of shutdown_grace_period, which is not set",
            hint="set shutdown_grace_period to at least as much",
        )


def amount(quantity: str) -> Fraction:
    """The number that a quantity means: of bytes, CPUs or whatever it is of."""
    number = quantity.rstrip("mkKMGTPEi")
    return Fraction(number) * _SCALES.get(quantity[len(number) :], Fraction(1))


def _mebibytes(amount: Fraction) -> str:
    return f"{float(amount / 1024**2):g}Mi"


def check_proxy(cluster: ClusterSpec) -> None:
    """Refuse what kube-proxy's version does not know."""
    conntrack = cluster.proxy.conntrack
    need(cluster.proxy.mode == "nftables", "nftables", cluster, "kubernetes_proxy.mode")
    liberal = conntrack is not None and conntrack.tcp_be_liberal
    need(liberal, "conntrack-liberal", cluster, "kubernetes_proxy.conntrack.tcp_be_liberal")
    primary = "primary" in cluster.proxy.node_port_addresses
    need(primary, "node-port-primary", cluster, "kubernetes_proxy.node_port_addresses")
