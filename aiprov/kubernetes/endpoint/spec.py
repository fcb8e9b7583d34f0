"""What the control plane's address is, and who is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Literal

from aiprov.errors import UnsupportedError
from aiprov.survey.facts import Facts

Kind = Literal["given", "haproxy", "kube-vip"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A control plane: its name, its node's own addresses, the port of its API server."""

    name: str
    addresses: tuple[str, ...]
    port: int = 6443


@dataclass(frozen=True, kw_only=True)
class EndpointSpec:
    """The endpoint of a cluster.

    ``address``: the virtual address, or the name or address that was given; ``port``: the
    endpoint's. ``members``: all control planes, in the inventory's order. ``router_id``: VRRP's,
    1 to 255, one for each virtual address in a network segment. ``interface``: where the virtual
    address goes; ``None``: to the interface with the node's own address. ``health``: what haproxy
    asks an API server: ``http`` for /readyz, which needs anonymous access to it, or ``tls`` for a
    handshake alone.
    """

    kind: Kind
    address: str
    port: int
    members: tuple[Member, ...]
    router_id: int = 51
    interface: str | None = None
    health: Literal["http", "tls"] = "http"

    @property
    def ipv6(self) -> bool:
        """Whether the virtual address is an IPv6 address."""
        return ip_address(self.address).version == 6

    def address_of(self, member: Member) -> str:
        """A member's address of the same kind as the virtual one.

        Raises ``UnsupportedError`` where it has none.
        """
        version = ip_address(self.address).version
        for address in member.addresses:
            if ip_address(address).version == version:
                return address
        raise UnsupportedError(
            f"control plane {member.name} has no IPv{version} address, but the virtual address "
            f"{self.address} is one",
            hint="give the node an address of that kind too, or take another virtual address",
        )


def interface_of(host: Facts, address: str) -> str:
    """The interface with an address. Raises ``UnsupportedError`` where none has it."""
    for interface in host.interfaces:
        if any(ip_interface(item).ip == ip_address(address) for item in interface.addresses):
            return interface.name
    there = ", ".join(
        f"{item.name} {address}" for item in host.interfaces for address in item.addresses
    )
    raise UnsupportedError(
        f"no interface of {host.name} has the node's address {address} "
        f"(there are {there or 'none'})",
        hint="correct the node's address, or name the interface: kubernetes_vip_interface",
    )
