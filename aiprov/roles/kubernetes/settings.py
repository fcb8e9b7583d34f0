"""Kubernetes' variables."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from aiprov.catalog.kubernetes_repositories import repository
from aiprov.kubernetes.gpu import Gpus
from aiprov.kubernetes.gpu.options import Digest
from aiprov.kubernetes.hardening import Level
from aiprov.kubernetes.model import (
    Arguments,
    DnsName,
    Endpoint,
    Etcd,
    Key,
    Kubelet,
    Phase,
    PreflightCheck,
    Proxy,
    Release,
    Repository,
    Taint,
    Timeouts,
    Value,
)
from aiprov.kubernetes.network import Kind
from aiprov.roles import RoleVars
from aiprov.values import Address, Cidr, Destination, Name, Path, PublicKey, SecretUrl, Url, Version

PACKAGES_URL = repository("kubernetes").url
CRIO_URL = repository("cri-o").url


class Vars(RoleVars):
    """Settings of Kubernetes."""

    model_config = ConfigDict(hide_input_in_errors=True)

    # ------------------------------------------------------------ the cluster

    kubernetes_version: Release = Field(
        examples=["1.36.4"],
        description="version of the whole cluster, in full (1.36.4); a running cluster changes its "
        "version by `aiprov cluster upgrade` alone",
    )
    kubernetes_upgrade: bool = Field(
        default=False,
        description="let this run change the version of what is installed, by at most one minor "
        "version; `aiprov cluster upgrade` and playbooks/upgrade.yml set it, host after host",
    )
    kubernetes_cluster_name: DnsName = Field(
        default="kubernetes", description="name of the cluster, in kubeconfigs"
    )
    kubernetes_endpoint: Endpoint | None = Field(
        default=None,
        description="where all nodes reach the API (k8s.example.org:6443); unset is the virtual "
        "address, or the only control plane's own. It cannot change later: use a name.",
    )
    kubernetes_endpoint_by: Literal["given", "haproxy", "kube-vip"] = Field(
        default="given",
        description="what makes the endpoint highly available: haproxy and keepalived, or kube-vip "
        "on the control planes; given is a load balancer or DNS name that is there",
    )
    kubernetes_vip: Address | None = Field(
        default=None, description="virtual address of the endpoint, for haproxy and kube-vip"
    )
    kubernetes_vip_interface: Name | None = Field(
        default=None,
        description="network interface of the virtual address; unset is the node address's",
    )
    kubernetes_vip_router_id: int = Field(
        default=51,
        ge=1,
        le=255,
        description="VRRP's number of the virtual address, the only one of its network (haproxy)",
    )
    kubernetes_api_port: int = Field(
        default=6443, ge=1, le=65535, description="port of every control plane's API server"
    )
    kubernetes_vip_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="port of the virtual address; unset is 8443 with haproxy, whose port cannot be "
        "the API server's on the same host, and kubernetes_api_port with kube-vip",
    )
    kubernetes_pod_cidrs: tuple[Cidr, ...] = Field(
        default=("10.244.0.0/16",),
        min_length=1,
        max_length=2,
        description="networks of pods: one, or one of IPv4 and one of IPv6",
    )
    kubernetes_service_cidrs: tuple[Cidr, ...] = Field(
        default=("10.96.0.0/12",),
        min_length=1,
        max_length=2,
        description="networks of services, of the same kinds in the same order",
    )
    kubernetes_network: Kind = Field(
        default="calico",
        description="the pods' network: calico and cilium enforce NetworkPolicy, flannel and "
        "bridge do not; bridge downloads nothing and wants all nodes in one network segment; none "
        "is for one of your own",
    )
    kubernetes_network_version: Version | None = Field(
        default=None,
        description="version of flannel, calico or cilium; unset is the catalog's newest",
    )
    kubernetes_network_mtu: int | None = Field(
        default=None,
        ge=1280,
        le=65535,
        description="MTU of pods' interfaces; unset is as the network finds it",
    )
    kubernetes_network_source: str | None = Field(
        default=None,
        description="where the network's manifest is instead of at its project: a URL, or a path "
        "on the first control plane; for cilium the repository of charts",
    )
    kubernetes_network_sha256: Digest | None = Field(
        default=None, description="checksum of that, where it is another than the catalog's"
    )
    kubernetes_network_values: dict[str, Any] = Field(
        default_factory=dict, description="laid over the values of cilium's chart"
    )
    kubernetes_cni_plugins: Literal["kubernetes", "distribution"] = Field(
        default="kubernetes",
        description="whose package has CNI's basic plugins: Kubernetes' own repository "
        "(kubernetes-cni), or the distribution's",
    )
    kubernetes_dns_domain: DnsName = Field(
        default="cluster.local", description="the cluster's own domain"
    )
    kubernetes_image_repository: Repository | None = Field(
        default=None,
        description="where the images of the control plane and the pause container are: a mirror; "
        "unset is registry.k8s.io",
    )
    kubernetes_dns_image_repository: Repository | None = Field(
        default=None, description="where CoreDNS' image is, if elsewhere"
    )
    kubernetes_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="when kubeadm pulls images; unset is IfNotPresent"
    )
    kubernetes_image_archives: tuple[Path, ...] = Field(
        default=(),
        description="archives of images (docker save, ctr images export) on the host, or folders "
        "of them, imported before the node joins: for sites without a registry",
    )
    kubernetes_api_sans: tuple[str, ...] = Field(
        default=(), description="further names and addresses that the API server's certificate has"
    )
    kubernetes_api_args: Arguments = Field(
        default_factory=dict, description="further flags of the API server"
    )
    kubernetes_controller_manager_args: Arguments = Field(
        default_factory=dict, description="further flags of the controller manager"
    )
    kubernetes_scheduler_args: Arguments = Field(
        default_factory=dict, description="further flags of the scheduler"
    )
    kubernetes_etcd: Etcd = Field(default=Etcd(), description="etcd on the control planes")
    kubernetes_proxy: Proxy = Field(default=Proxy(), description="kube-proxy")
    kubernetes_feature_gates: dict[Name, bool] = Field(
        default_factory=dict, description="feature gates of all components"
    )
    kubernetes_kubeadm_feature_gates: dict[Name, bool] = Field(
        default_factory=dict, description="feature gates of kubeadm"
    )
    kubernetes_certificate_days: int | None = Field(
        default=None,
        ge=1,
        le=3650,
        description="days that certificates of kubeadm live; unset is a year (from 1.31)",
    )
    kubernetes_key_algorithm: Literal["RSA-2048", "RSA-3072", "RSA-4096", "ECDSA-P256"] | None = (
        Field(default=None, description="keys that kubeadm makes; unset is RSA-2048 (from 1.31)")
    )
    kubernetes_skip_phases: tuple[Phase, ...] = Field(
        default=(), description="phases of kubeadm init that are left out (addon/kube-proxy)"
    )
    kubernetes_timeouts: Timeouts = Field(
        default=Timeouts(), description="how long kubeadm waits for what"
    )
    kubernetes_wait_s: int = Field(
        default=900,
        ge=30,
        le=7200,
        description="seconds that a node waits for the endpoint, for its turn, and for an API "
        "server that takes its add-ons",
    )
    kubernetes_ignore_preflight_errors: tuple[PreflightCheck, ...] = Field(
        default=(), description="checks of kubeadm's that do not count, by name; never all"
    )

    # ------------------------------------------------------------ the node

    kubernetes_node_name: DnsName | None = Field(
        default=None, description="the node's name; unset is the inventory's, in lower case"
    )
    kubernetes_node_address: tuple[Address, ...] = Field(
        default=(),
        max_length=2,
        description="the node's own address, in a dual-stack cluster one of each kind; unset is "
        "ansible_host where that is an address",
    )
    kubernetes_labels: dict[Key, Value] = Field(default_factory=dict, description="node's labels")
    kubernetes_taints: tuple[Taint, ...] = Field(
        default=(), description="node's taints, beside the one that keeps work off control planes"
    )
    kubernetes_kubelet: Kubelet = Field(
        default=Kubelet(),
        description="kubelet's settings on this node: reserved resources, CPU, memory and topology "
        "manager, eviction; groups of hosts may have their own",
    )
    kubernetes_kubelet_args: Arguments = Field(
        default_factory=dict, description="further flags of kubelet"
    )
    kubernetes_gpu_placement: Literal["none", "best-effort", "strict"] = Field(
        default="none",
        description="kubelets of hosts with GPUs place pods near their GPUs, with CPUs of their "
        "own and resources kept for the host: where it can be done, or refusing pods for which it "
        "cannot (docs/kubernetes-gpus.md); set it for all hosts",
    )
    kubernetes_swap: Literal["refused", "off", "unused", "limited"] = Field(
        default="refused",
        description="refused: a host with swap is refused; off: swap is switched off, now and at "
        "boot; unused: the host keeps it, pods do not use it; limited: pods may (from 1.30)",
    )
    kubernetes_runtime: Literal["containerd", "crio"] = Field(
        default="containerd",
        description="container runtime: containerd by the role of that name, or CRI-O",
    )
    kubernetes_crio_version: Version | None = Field(
        default=None, description="CRI-O's version; unset is any of kubernetes_version's minor"
    )
    kubernetes_kernel_modules: tuple[Name, ...] = Field(
        default=("overlay", "br_netfilter"), description="kernel modules that are loaded"
    )
    kubernetes_sysctls: dict[str, str] | None = Field(
        default=None,
        description="kernel parameters that are set; unset are forwarding, bridged packets through "
        "iptables where br_netfilter is loaded, and more inotify watches and instances",
    )

    # ------------------------------------------------------------ packages

    kubernetes_repository_url: Url | None = Field(
        default=PACKAGES_URL,
        description="where Kubernetes' packages are, with core:/stable:/v1.36/deb/ and so on "
        "below: a mirror; null where the host's own repositories have them",
    )
    kubernetes_repository_key: PublicKey | None = Field(
        default=None,
        description="armoured public key of a mirror that signs by itself, or a newer text of "
        "Kubernetes' own key",
    )
    kubernetes_crio_repository_url: Url | None = Field(
        default=CRIO_URL,
        description="where CRI-O's packages are, with isv:/cri-o:/stable:/v1.36/deb/ and so on "
        "below: a mirror; null where the host's own repositories have them",
    )
    kubernetes_crio_repository_key: PublicKey | None = Field(
        default=None,
        description="armoured public key of CRI-O's repository, which the catalog does not have",
    )
    kubernetes_hold: bool = Field(
        default=True, description="keep upgrades of the OS from changing the packages' versions"
    )

    kubernetes_helm_version: Version | None = Field(
        default=None, description="version of Helm, where a chart needs it; unset is the catalog's"
    )
    kubernetes_helm_url: Url | None = Field(
        default=None, description="where Helm's archive is: a mirror"
    )
    kubernetes_helm_sha256: Digest | None = Field(
        default=None, description="checksum of that, where it is another than the catalog's"
    )
    kubernetes_http_proxy: SecretUrl | None = Field(
        default=None, description="proxy for http, for what the first control plane downloads"
    )
    kubernetes_https_proxy: SecretUrl | None = Field(
        default=None, description="proxy for https, for what the first control plane downloads"
    )
    kubernetes_no_proxy: tuple[Destination, ...] = Field(
        default=("localhost", "127.0.0.1", "::1"),
        description="hosts, domains and networks that are reached without the proxy",
    )

    # ------------------------------------------------------------ hardening

    kubernetes_audit: bool = Field(
        default=True, description="the API server logs who did what (/var/log/kubernetes/audit)"
    )
    kubernetes_audit_rules: tuple[dict[str, Any], ...] = Field(
        default=(), description="rules of the audit policy instead of aiprov's"
    )
    kubernetes_audit_days: int = Field(default=30, ge=0, description="days that logs are kept")
    kubernetes_audit_files: int = Field(default=10, ge=0, description="old log files kept")
    kubernetes_audit_megabytes: int = Field(default=100, ge=1, description="size of a log file, MB")
    kubernetes_encryption: bool = Field(
        default=True, description="secrets are encrypted in etcd, with the cluster's own key"
    )
    kubernetes_encryption_resources: tuple[str, ...] = Field(
        default=("secrets",), min_length=1, description="resources that are encrypted in etcd"
    )
    kubernetes_pod_security: Level = Field(
        default="baseline",
        description="Pod Security Standard of namespaces that say none by their label "
        "pod-security.kubernetes.io/enforce (from 1.23)",
    )
    kubernetes_pod_security_report: Level = Field(
        default="restricted", description="the standard that is warned of and audited"
    )
    kubernetes_pod_security_exempt: tuple[DnsName, ...] = Field(
        default=("kube-system",), description="namespaces without any limit"
    )
    kubernetes_anonymous: Literal["limited", "allowed"] = Field(
        default="limited",
        description="anonymous requests: to health checks and cluster-info alone (from 1.32), or "
        "as RBAC allows",
    )

    kubernetes_kubelet_serving_certificates: bool = Field(
        default=False,
        description="kubelets serve with certificates of the cluster's CA instead of their own "
        "signature; control planes approve what a node asks for itself, within half a minute",
    )

    # ------------------------------------------------------------ add-ons

    kubernetes_gpus: Gpus | None = Field(
        default=Gpus(), description="what offers GPUs to pods; null is nothing"
    )
    kubernetes_manifests: dict[DnsName, tuple[dict[str, Any], ...]] = Field(
        default_factory=dict,
        description="further objects that are kept applied, by a name of yours for each set",
    )

    @field_validator("kubernetes_node_address", mode="before")
    @classmethod
    def _one_address(cls, value: Any) -> Any:
        """A single address may be given without a list."""
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        by = self.kubernetes_endpoint_by
        if by != "given" and self.kubernetes_vip is None:
            raise ValueError(f"kubernetes_endpoint_by: {by} needs kubernetes_vip")
        if by == "given" and self.kubernetes_vip is not None:
            raise ValueError(
                "kubernetes_vip is for kubernetes_endpoint_by haproxy or kube-vip: set that, or "
                "give the address as kubernetes_endpoint"
            )
        if self.kubernetes_kubelet.swap != "refused":
            raise ValueError("kubernetes_swap says what is done about swap, not kubernetes_kubelet")
        if self.kubernetes_kubelet.serving_certificates:
            raise ValueError(
                "kubernetes_kubelet_serving_certificates is of the whole cluster: set that, not "
                "kubernetes_kubelet"
            )
        return self
