"""A host's settings as the values of ``aiprov.kubernetes.model``: its cluster, itself, its join."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from pydantic import SecretStr

from aiprov.catalog import kubernetes
from aiprov.cluster_secrets import ClusterSecrets, ca_hash
from aiprov.errors import UnsupportedError
from aiprov.kubernetes import fit, gpu, hardening
from aiprov.kubernetes.model import Audit, ClusterSpec, Join, Kubelet, NodeSpec
from aiprov.roles import Cluster, gpu_sharing
from aiprov.roles.gpu_sharing import mig
from aiprov.roles.kubernetes import runtime
from aiprov.roles.kubernetes.members import Member, is_address
from aiprov.roles.kubernetes.settings import Vars
from aiprov.survey.facts import Facts

BOOTSTRAP = "/run/aiprov/kubernetes/bootstrap.conf"
"""Where ``kube-node join`` puts the credentials that it is given: gone with the next boot."""

HAPROXY_PORT = 8443


def endpoint(vars: Vars, own: Member) -> str:
    """Host and port at which all nodes reach the API.

    Raises ``UnsupportedError`` where several control planes have none.
    """
    if vars.kubernetes_endpoint is not None:
        return vars.kubernetes_endpoint
    if vars.kubernetes_vip is not None:
        return _joined(vars.kubernetes_vip, vip_port(vars))
    if own.control_plane and not own.peers:
        return _joined(own.addresses[0], vars.kubernetes_api_port)
    if not own.control_plane and len(own.peers) == 1:
        return _joined(own.peers[0].address, own.peers[0].port)
    raise UnsupportedError(
        "several control planes need an endpoint that outlives each of them",
        hint="set kubernetes_endpoint to a load balancer or DNS name, or kubernetes_endpoint_by "
        "and kubernetes_vip to have one made",
    )


def vip_port(vars: Vars) -> int:
    """The port of the virtual address."""
    if vars.kubernetes_vip_port is not None:
        return vars.kubernetes_vip_port
    return HAPROXY_PORT if vars.kubernetes_endpoint_by == "haproxy" else vars.kubernetes_api_port


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def cluster_spec(vars: Vars, own: Member) -> ClusterSpec:
    """The cluster. The same on all hosts whose cluster-wide settings are.

    What only one node has of kubelet's settings is in its ``NodeSpec``: groups of hosts may differ,
    and the cluster's own document stays the same whoever writes it.
    """
    version = vars.kubernetes_version
    limited = vars.kubernetes_anonymous == "limited" and hardening.authentication(version)
    admitted = admission(vars)
    return ClusterSpec(
        version=version,
        name=vars.kubernetes_cluster_name,
        endpoint=endpoint(vars, own),
        pod_cidrs=vars.kubernetes_pod_cidrs,
        service_cidrs=vars.kubernetes_service_cidrs,
        dns_domain=vars.kubernetes_dns_domain,
        image_repository=vars.kubernetes_image_repository,
        dns_image_repository=vars.kubernetes_dns_image_repository,
        image_pull_policy=vars.kubernetes_image_pull_policy,
        api_sans=_sans(vars),
        api_args=vars.kubernetes_api_args,
        controller_manager_args=vars.kubernetes_controller_manager_args,
        scheduler_args=vars.kubernetes_scheduler_args,
        etcd=vars.kubernetes_etcd,
        audit=_audit(vars),
        encryption_config=hardening.ENCRYPTION if vars.kubernetes_encryption else None,
        admission_config=hardening.ADMISSION if admitted else None,
        authentication_config=hardening.AUTHENTICATION if limited else None,
        feature_gates=vars.kubernetes_feature_gates,
        kubeadm_feature_gates=vars.kubernetes_kubeadm_feature_gates,
        certificate_days=vars.kubernetes_certificate_days,
        key_algorithm=vars.kubernetes_key_algorithm,
        proxy=vars.kubernetes_proxy,
        kubelet=Kubelet(serving_certificates=vars.kubernetes_kubelet_serving_certificates),
        skip_phases=vars.kubernetes_skip_phases,
        timeouts=vars.kubernetes_timeouts,
    )


def admission(vars: Vars) -> str | None:
    """The Pod Security defaults; None where the version has none, or all may do all."""
    levels = {vars.kubernetes_pod_security, vars.kubernetes_pod_security_report}
    if levels == {"privileged"}:
        return None
    return hardening.admission(
        vars.kubernetes_version,
        enforce=vars.kubernetes_pod_security,
        report=vars.kubernetes_pod_security_report,
        exempt=vars.kubernetes_pod_security_exempt,
    )


def _sans(vars: Vars) -> tuple[str, ...]:
    vip = () if vars.kubernetes_vip is None else (vars.kubernetes_vip,)
    # kubeadm adds the endpoint's host and the node's own name and address.
    return tuple(dict.fromkeys((*vip, "127.0.0.1", "localhost", *vars.kubernetes_api_sans)))


def _audit(vars: Vars) -> Audit | None:
    if not vars.kubernetes_audit:
        return None
    return Audit(
        policy=hardening.AUDIT_POLICY,
        max_age=vars.kubernetes_audit_days,
        max_backups=vars.kubernetes_audit_files,
        max_size=vars.kubernetes_audit_megabytes,
    )


def node_spec(vars: Vars, host: Facts, cluster: Cluster, own: Member) -> NodeSpec:
    """This node."""
    return NodeSpec(
        name=own.name,
        addresses=own.addresses,
        control_plane=own.control_plane,
        worker=own.worker,
        port=vars.kubernetes_api_port,
        labels={**_gpu_labels(vars, host, cluster), **vars.kubernetes_labels},
        taints=vars.kubernetes_taints,
        cri_socket=runtime.socket(vars),
        cgroup_driver=runtime.cgroup_driver(vars, host, cluster),
        kubelet=_kubelet(vars, host),
        kubelet_args=vars.kubernetes_kubelet_args,
        ignore_preflight_errors=vars.kubernetes_ignore_preflight_errors,
    )


def _kubelet(vars: Vars, host: Facts) -> Kubelet:
    placement = vars.kubernetes_gpu_placement
    given = vars.kubernetes_kubelet
    if placement != "none":
        given = gpu.kubelet_defaults(host, given, strict=placement == "strict")
    swap = vars.kubernetes_swap
    kept = swap if swap in ("unused", "limited") else "refused"
    signed = vars.kubernetes_kubelet_serving_certificates
    return given.model_copy(update={"swap": kept, "serving_certificates": signed})


def gpus(vars: Vars) -> gpu.Gpus | None:
    """What offers GPUs to pods, knowing of kubelets with the static CPU manager."""
    found = vars.kubernetes_gpus
    if found is None or vars.kubernetes_gpu_placement == "none":
        return found
    return found.model_copy(update={"cpu_manager": True})


def _gpu_labels(vars: Vars, host: Facts, cluster: Cluster) -> dict[str, str]:
    if vars.kubernetes_gpus is None:
        return {}
    driver = getattr(cluster.settings.get("nvidia_driver"), "nvidia_driver_version", None)
    return gpu.labels(host, vars.kubernetes_gpus, driver, mig_of(host, cluster))


def mig_of(host: Facts, cluster: Cluster) -> gpu.NodeMig:
    """The MIG layouts that the role gpu_sharing gives the host's GPUs."""
    settings = cluster.settings.get("gpu_sharing")
    layouts = mig.layouts(settings, host) if isinstance(settings, gpu_sharing.Vars) else {}
    return gpu.NodeMig(name=host.name, layouts=tuple(layouts.values()))


def join(secrets: ClusterSecrets) -> Join:
    """What lets this node in. The token is what ``kubeadm init`` insists on making: it is gone at
    once, and nodes come with a certificate instead."""
    return Join(
        token=SecretStr(secrets.bootstrap_token.reveal()),
        ca_hash=ca_hash(secrets),
        discovery_file=BOOTSTRAP,
        token_ttl="1m0s",  # noqa: S106 - a time
    )


# ---------------------------------------------------------------- what does not fit


def check(
    vars: Vars, host: Facts, cluster: Cluster, own: Member, spec: ClusterSpec, node: NodeSpec
) -> None:
    """Refuse what would not work, before anything is touched. Raises ``UnsupportedError``."""
    kubernetes.line(spec.version)
    fit.check_cluster(spec)
    fit.check_node(spec, node)
    fit.check_proxy(spec)
    offered = gpus(vars)
    if offered is not None:
        gpu.check(offered, spec, [mig_of(host, cluster)])
    if node.kubelet is not None:
        fit.check_kubelet(spec, node.kubelet)
    _check_peers(own, spec)
    _check_vip(vars, own, spec)
    _check_interfaces(host, spec, node)
    _check_swap(vars, host)
    _check_cgroups(host, spec, node)


def _check_peers(own: Member, spec: ClusterSpec) -> None:
    for peer in own.peers:
        for cidr in (*spec.pod_cidrs, *spec.service_cidrs):
            if is_address(peer.address) and ip_address(peer.address) in ip_network(cidr):
                raise UnsupportedError(
                    f"{peer.name}'s address {peer.address} lies in the cluster's network {cidr}",
                    hint="choose pod and service networks apart from the hosts'",
                )


def _check_vip(vars: Vars, own: Member, spec: ClusterSpec) -> None:
    vip = vars.kubernetes_vip
    if vip is None:
        return
    for cidr in (*spec.pod_cidrs, *spec.service_cidrs):
        if ip_address(vip) in ip_network(cidr):
            raise UnsupportedError(
                f"kubernetes_vip {vip} lies in the cluster's network {cidr}",
                hint="take a free address of the control planes' own network",
            )
    if vip in (*own.addresses, *(peer.address for peer in own.peers)):
        raise UnsupportedError(
            f"kubernetes_vip {vip} is a node's own address",
            hint="take a free address of the control planes' own network",
        )


def _check_interfaces(host: Facts, spec: ClusterSpec, node: NodeSpec) -> None:
    """The cluster's networks apart from those that the host is in: it would not reach them."""
    own = {str(ip_address(address)) for address in node.addresses}
    for interface in host.interfaces:
        if interface.name.startswith(("cni", "flannel", "cali", "cilium", "lxc", "kube-", "tunl")):
            continue  # the cluster's own
        for address in interface.addresses:
            found = ip_interface(address)
            if found.ip.is_link_local or found.ip.is_loopback:
                continue
            for cidr in (*spec.pod_cidrs, *spec.service_cidrs):
                network = ip_network(cidr)
                if network.version == found.version and network.overlaps(found.network):
                    what = "its own network" if str(found.ip) in own else f"{interface.name}'s"
                    raise UnsupportedError(
                        f"the cluster's network {cidr} overlaps with {found.network} of "
                        f"{host.name} ({what})",
                        hint="choose kubernetes_pod_cidrs and kubernetes_service_cidrs apart from "
                        "all networks of the hosts",
                    )


def _check_swap(vars: Vars, host: Facts) -> None:
    if vars.kubernetes_swap == "refused" and host.swap_bytes:
        raise UnsupportedError(
            f"{host.name} has {host.swap_bytes / 1024**2:.0f} MiB of swap, with which kubelet does "
            "not start",
            hint='set kubernetes_swap: "off" (in quotes) to have it switched off now and at boot, '
            "or unused or limited to keep it",
        )


def _check_cgroups(host: Facts, spec: ClusterSpec, node: NodeSpec) -> None:
    extra = node.kubelet.extra if node.kubelet is not None else {}
    allowed = extra.get("failCgroupV1") is False
    if host.cgroup_version == 1 and kubernetes.has("cgroup-v2-alone", spec.version) and not allowed:
        raise UnsupportedError(
            f"{host.name} runs with cgroup v1, with which kubelet {spec.version} does not start",
            hint="boot it with systemd.unified_cgroup_hierarchy=1 (or a newer OS), or set "
            "kubernetes_kubelet: {extra: {failCgroupV1: false}}",
        )
    if "cgroupDriver" in extra and extra["cgroupDriver"] != node.cgroup_driver:
        raise UnsupportedError(
            f"kubelet would have cgroups made by {extra['cgroupDriver']}, and the container "
            f"runtime by {node.cgroup_driver}",
            hint="leave cgroupDriver out of kubernetes_kubelet.extra: it follows the runtime",
        )
    if "cgroup-driver" in node.kubelet_args:
        raise UnsupportedError(
            "cgroup-driver in kubernetes_kubelet_args",
            hint="leave it out: it follows the container runtime",
        )
