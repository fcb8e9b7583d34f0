"""The control plane's endpoint, where this role makes it: haproxy with keepalived, or kube-vip."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from aiprov.errors import UnsupportedError
from aiprov.kubernetes import endpoint
from aiprov.kubernetes.endpoint import EndpointSpec
from aiprov.resources import Resource
from aiprov.roles import Cluster, Note
from aiprov.roles.kubernetes import spec
from aiprov.roles.kubernetes.members import Member, is_address, planes
from aiprov.roles.kubernetes.settings import Vars
from aiprov.survey.facts import Facts

UNITS = ("haproxy.service", "keepalived.service")
"""What has to run, where it is there, before a control plane begins or joins."""


def endpoint_spec(vars: Vars, own: Member, cluster: Cluster) -> EndpointSpec:
    """The endpoint and who is behind it, as one of the control planes sees it.

    Raises ``UnsupportedError`` for control planes whose address is a name.
    """
    kind = vars.kubernetes_endpoint_by
    there = planes(own, vars.kubernetes_api_port, cluster)
    for plane in there:
        if kind != "given" and not is_address(plane.address):
            raise UnsupportedError(
                f"{kind} needs the address of {plane.name}, and {plane.address} is a name",
                hint=f"set kubernetes_node_address of {plane.name}",
            )
    given = urlsplit(f"//{spec.endpoint(vars, own)}")
    return EndpointSpec(
        kind=kind,
        address=vars.kubernetes_vip or given.hostname or "",
        port=spec.vip_port(vars) if vars.kubernetes_vip else given.port or 443,
        members=tuple(
            endpoint.Member(
                name=plane.name,
                addresses=own.addresses if plane.name == own.name else (plane.address,),
                port=plane.port,
            )
            for plane in there
        ),
        router_id=vars.kubernetes_vip_router_id,
        interface=vars.kubernetes_vip_interface,
    )


def resources(vars: Vars, host: Facts, own: Member, cluster: Cluster) -> list[Resource]:
    """What a control plane has for the endpoint, before it begins the cluster or joins it."""
    return endpoint.resources(endpoint_spec(vars, own, cluster), own.name, host)


def node_json(vars: Vars, own: Member, cluster: Cluster) -> dict[str, Any]:
    """What ``kube-node`` has to know of it: the address that ``kubeadm init`` needs at once."""
    if not own.first:
        return {}
    held = endpoint.hold(endpoint_spec(vars, own, cluster))
    return {} if held is None else {"endpoint_hold": held}


def notes(vars: Vars, own: Member, cluster: Cluster) -> list[Note]:
    """What is to be known of the choice."""
    told = endpoint.notes(endpoint_spec(vars, own, cluster))
    return [Note(level=level, text=text) for level, text in told]
