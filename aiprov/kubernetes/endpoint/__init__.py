"""The control plane's address: one for all API servers, whichever of them live.

``given``     someone else's load balancer or name
``haproxy``   on every control plane haproxy before all API servers, and keepalived, which keeps a
              virtual address on one of them
``kube-vip``  a static pod on every control plane keeps the virtual address, by a Lease in the
              cluster; connections go to the API server of the host that has it
"""

from __future__ import annotations

from typing import Literal

from aiprov.errors import UnsupportedError
from aiprov.kubernetes.endpoint import haproxy, keepalived, kube_vip
from aiprov.kubernetes.endpoint.spec import EndpointSpec, Kind, Member, interface_of
from aiprov.resources import Resource
from aiprov.survey.facts import Facts

__all__ = ["EndpointSpec", "Kind", "Member", "hold", "interface_of", "notes", "resources"]


def resources(spec: EndpointSpec, node: str, host: Facts) -> list[Resource]:
    """What a control plane has for it, before the cluster is made and before it joins.

    Raises ``UnsupportedError`` where the address cannot be had on this host.
    """
    if spec.kind == "given":
        return []
    check_ports(spec)
    me = next(member for member in spec.members if member.name == node)
    interface = spec.interface or interface_of(host, spec.address_of(me))
    if spec.kind == "kube-vip":
        return kube_vip.resources(spec, me, interface)
    return [*haproxy.resources(spec, host), *keepalived.resources(spec, me, interface, host)]


def hold(spec: EndpointSpec) -> str | None:
    """The virtual address that ``kubeadm init`` needs on its host before kube-vip may hold it.

    kube-vip takes its Lease with admin.conf, which the cluster lets do so only after kubeadm has
    bound its group, and kubeadm does that through the endpoint (kube-vip issue 684). With the
    address on the loopback meanwhile, no pod needs super-admin.conf, and every control plane has
    the same manifest. haproxy and keepalived need no cluster to hold the address.
    """
    return spec.address if spec.kind == "kube-vip" else None


def check_ports(spec: EndpointSpec) -> None:
    """Raise ``UnsupportedError`` for an endpoint's port that cannot be had beside API servers."""
    api_ports = {member.port for member in spec.members}
    if spec.kind == "haproxy" and spec.port in api_ports:
        raise UnsupportedError(
            f"haproxy cannot listen on port {spec.port}, which the API server on the same host has",
            hint="give the endpoint another port, such as 8443, or the API servers another one",
        )
    if spec.kind == "kube-vip" and api_ports != {spec.port}:
        ports = ", ".join(str(port) for port in sorted(api_ports))
        raise UnsupportedError(
            f"kube-vip moves an address and changes no port: the endpoint's is {spec.port}, the "
            f"API servers' {ports}",
            hint=f"give the endpoint port {min(api_ports)}, and all API servers the same",
        )


def notes(spec: EndpointSpec) -> list[tuple[Literal["reason", "warning"], str]]:
    """What to know of the choice: level and text of the role's notes."""
    if spec.kind == "given":
        if len(spec.members) > 1 and any(
            spec.address in member.addresses for member in spec.members
        ):
            return [
                (
                    "warning",
                    f"the endpoint {spec.address} is one control plane's own address: when that "
                    "host is gone, so is the cluster's; use haproxy or kube-vip",
                )
            ]
        return []
    return [("reason", f"{spec.address} is held by {spec.kind} on every control plane")]
