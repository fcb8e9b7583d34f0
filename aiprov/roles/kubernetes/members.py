"""Who is who in a cluster: names, addresses and roles of nodes, from the inventory alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aiprov.errors import UnsupportedError
from aiprov.kubernetes.model import DnsName
from aiprov.roles import Cluster, ClusterHost
from aiprov.roles.kubernetes.settings import Vars
from aiprov.survey.facts import Facts

CONTROL_PLANE = "kube_control_plane"
WORKER = "kube_worker"

_NODE_NAME = TypeAdapter(DnsName)

_OF_CONTAINERS = ("lo", "docker", "br-", "cni", "veth", "cali", "tunl", "vxlan", "flannel",
                  "cilium", "lxc", "kube-", "nodelocaldns", "virbr")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A control plane as the others know it. ``address``: or a name that leads to it."""

    name: str
    address: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Member:
    """This host's part in the cluster. ``peers``: the other control planes, in order."""

    name: str
    addresses: tuple[str, ...]
    control_plane: bool
    worker: bool
    first: bool
    peers: tuple[Plane, ...]


def member(vars: Vars, host: Facts, cluster: Cluster) -> Member:
    """This host's part in the cluster.

    Raises ``UnsupportedError`` for a host whose address cannot be told, and for control planes
    that are not 1, 3 or 5.
    """
    planes = cluster.groups.get(CONTROL_PLANE, ())
    control_plane = host.name in planes
    worker = host.name in cluster.groups.get(WORKER, ())
    check_count(planes)
    own = Member(
        name=vars.kubernetes_node_name or host.name.lower(),
        addresses=_addresses(vars, host, cluster),
        control_plane=control_plane,
        worker=worker,
        first=bool(planes) and planes[0] == host.name,
        peers=tuple(_plane(cluster.hosts[name]) for name in planes if name != host.name),
    )
    _check_name(own.name)
    _check_doubles(own, cluster)
    return own


def planes(own: Member, port: int, cluster: Cluster) -> tuple[Plane, ...]:
    """All control planes in the inventory's order, on one of which this is."""
    peers = {peer.name: peer for peer in own.peers}
    me = Plane(name=own.name, address=own.addresses[0], port=port)
    names = [_name(cluster.hosts[name]) for name in cluster.groups.get(CONTROL_PLANE, ())]
    return tuple(peers.get(name, me) for name in names)


def check_count(planes: Sequence[str]) -> None:
    """Refuse what is not 1, 3 or 5 control planes. Raises ``UnsupportedError``."""
    if len(planes) % 2 == 0:
        have = (
            f"{len(planes)} hosts are in {CONTROL_PLANE}" if planes else f"{CONTROL_PLANE} is empty"
        )
        raise UnsupportedError(
            have,
            hint="use 1, 3 or 5: etcd needs more than half of its members, so an even number "
            "stands no more losses than one fewer",
        )


def _check_name(name: str) -> None:
    try:
        _NODE_NAME.validate_python(name)
    except ValidationError:
        raise UnsupportedError(
            f"{name!r} cannot be a node's name (lower case letters, digits, hyphens and dots)",
            hint="set kubernetes_node_name",
        ) from None


def _check_doubles(own: Member, cluster: Cluster) -> None:
    """Names of all nodes as far as the groups tell them, and addresses of the control planes."""
    everyone = {*cluster.groups.get(CONTROL_PLANE, ()), *cluster.groups.get(WORKER, ())}
    addresses = [own.addresses[0], *(peer.address for peer in own.peers)]
    names = [own.name, *(peer.name for peer in own.peers)]
    for what, values in (
        ("name", [name.lower() for name in everyone]),
        ("name", names),
        ("address", addresses),
    ):
        for value, times in Counter(values).items():
            if times > 1:
                raise UnsupportedError(
                    f"the {what} {value} is taken: {times} nodes have it",
                    hint=f"give every node its own {what}: kubernetes_node_{what}",
                )


def _plane(host: ClusterHost) -> Plane:
    variables = host.variables
    return Plane(
        name=_name(host),
        address=_given(variables) or host.address,
        port=int(variables.get("kubernetes_api_port", 6443)),
    )


def _name(host: ClusterHost) -> str:
    return str(host.variables.get("kubernetes_node_name") or host.name.lower())


def _given(variables: Mapping[str, Any]) -> str | None:
    value = variables.get("kubernetes_node_address")
    if isinstance(value, list):
        value = value[0] if value else None
    return str(value) if value else None


# ---------------------------------------------------------------- the host's own address


def _addresses(vars: Vars, host: Facts, cluster: Cluster) -> tuple[str, ...]:
    """As given, or ansible_host where that is the host's own, or the only one that it has."""
    there = {str(ip_interface(one).ip): name for name, one in _there(host)}
    there.pop(vars.kubernetes_vip or "", None)
    if vars.kubernetes_node_address:
        for address in vars.kubernetes_node_address:
            if there and address not in there:
                raise UnsupportedError(
                    f"kubernetes_node_address {address} is on none of {host.name}'s interfaces, "
                    f"which have {', '.join(there)}",
                    hint="set it to one of these",
                )
        return vars.kubernetes_node_address
    first = _first(host, cluster, there)
    _check_known(first, host, cluster)
    return (first, *_second(vars, first, there))


def _first(host: Facts, cluster: Cluster, there: Mapping[str, str]) -> str:
    known = cluster.hosts.get(host.name)
    if known is not None and is_address(known.address):
        address = str(ip_address(known.address))
        if not there or address in there:
            return address
    kinds = [address for address in there if ip_address(address).version == 4] or list(there)
    if len(kinds) == 1:
        return kinds[0]
    raise UnsupportedError(
        f"{host.name} has {', '.join(kinds)}, and which of them is the node's is not said"
        if kinds
        else f"the address of {host.name} is not known",
        hint="set kubernetes_node_address, or an address as ansible_host",
    )


def _check_known(first: str, host: Facts, cluster: Cluster) -> None:
    """A control plane's address is told to the others by the inventory, which has to be right."""
    planes, workers = (cluster.groups.get(name, ()) for name in (CONTROL_PLANE, WORKER))
    known = cluster.hosts[host.name].address
    if host.name in planes and first != known and len({*planes, *workers}) > 1:
        raise UnsupportedError(
            f"the other nodes know {host.name} as {known}, and its own address is {first}",
            hint=f"set kubernetes_node_address of {host.name} in the inventory, such as in its "
            "host_vars",
        )


def _second(vars: Vars, first: str, there: Mapping[str, str]) -> tuple[str, ...]:
    """In a dual-stack cluster, the only address of the other kind on the same interface."""
    if len(vars.kubernetes_pod_cidrs) < 2:
        return ()
    version = ip_address(first).version
    other = [
        address
        for address, interface in there.items()
        if ip_address(address).version != version and interface == there.get(first)
    ]
    if len(other) != 1:
        raise UnsupportedError(
            f"a dual-stack node has an address of each kind, and beside {first} there are "
            f"{', '.join(other) or 'none'}",
            hint="set kubernetes_node_address to both",
        )
    return (other[0],)


def _there(host: Facts) -> Iterator[tuple[str, str]]:
    """The host's own addresses: not those of containers, nor of one link alone."""
    for interface in host.interfaces:
        if not interface.name.startswith(_OF_CONTAINERS):
            for address in interface.addresses:
                ip = ip_interface(address).ip
                if not (ip.is_link_local or ip.is_loopback):
                    yield interface.name, address


def is_address(text: str) -> bool:
    """Whether it is an IP address, and not a name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
