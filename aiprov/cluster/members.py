"""Who is in a cluster, by the inventory: its nodes, what each is for, and where its API is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING

from aiprov import settings
from aiprov.errors import UsageError
from aiprov.inventory import Host, Inventory

if TYPE_CHECKING:
    from aiprov.roles.kubernetes.settings import Vars

CONTROL_PLANE = "kube_control_plane"
WORKER = "kube_worker"


@dataclass(frozen=True, kw_only=True)
class Member:
    """A host of the inventory that is, or is to be, a node. ``name`` is the node's."""

    host: Host
    control_plane: bool
    worker: bool

    @cached_property
    def settings(self) -> Vars:
        """What the inventory says of Kubernetes on it. Raises ``InventoryErrors``."""
        found: Vars = settings.resolve("kubernetes", self.host)  # type: ignore[assignment]
        return found

    @property
    def name(self) -> str:
        """The node's name."""
        return self.settings.kubernetes_node_name or self.host.name.lower()


@dataclass(frozen=True, kw_only=True)
class Members:
    """All nodes of one cluster, control planes first, each in the inventory's order."""

    everyone: tuple[Member, ...]

    @property
    def control_planes(self) -> tuple[Member, ...]:
        """The first of them is the one that the cluster began with."""
        return self.having(lambda member: member.control_plane)

    def having(self, wanted: Callable[[Member], bool]) -> tuple[Member, ...]:
        """Those that are as wanted."""
        return tuple(member for member in self.everyone if wanted(member))

    @property
    def first(self) -> Member:
        """Whose settings speak for the cluster."""
        return self.control_planes[0]

    @property
    def version(self) -> str:
        """The version of Kubernetes that the inventory wants. Raises ``UsageError`` for several."""
        versions = {member.settings.kubernetes_version: member for member in self.everyone}
        if len(versions) > 1:
            named = ", ".join(f"{one} ({who.host.name})" for one, who in sorted(versions.items()))
            raise UsageError(
                f"the cluster's nodes have several kubernetes_version: {named}",
                hint="set it once, for the group of all nodes: an upgrade goes node by node itself",
            )
        return next(iter(versions))

    def endpoint(self) -> str:
        """Where the API is (``host:port``). Raises ``UsageError`` where nothing says it."""
        own = self.first.settings
        if own.kubernetes_endpoint:
            return own.kubernetes_endpoint
        if own.kubernetes_vip:
            from aiprov.roles.kubernetes.spec import vip_port

            return _joined(own.kubernetes_vip, vip_port(own))
        if len(self.control_planes) == 1:
            known = own.kubernetes_node_address or (self.first.host.address,)
            return _joined(known[0], own.kubernetes_api_port)
        raise UsageError(
            f"{len(self.control_planes)} control planes, and no endpoint that leads to them",
            hint="set kubernetes_endpoint, or give --server host:port",
        )


def members(inventory: Inventory) -> Members:
    """The nodes of the inventory's cluster, whatever the limit.

    Raises ``UsageError`` where the inventory has no control plane.
    """
    hosts = {host.name: host for host in inventory.everyone}
    groups = {
        name: inventory.groups[name].members if name in inventory.groups else ()
        for name in (CONTROL_PLANE, WORKER)
    }
    if not groups[CONTROL_PLANE]:
        raise UsageError(
            f"the inventory has no cluster: the group {CONTROL_PLANE} is empty",
            hint="name its hosts in kube_control_plane and kube_worker; give the inventory with -i",
        )
    names = dict.fromkeys((*groups[CONTROL_PLANE], *groups[WORKER]))
    return Members(
        everyone=tuple(
            Member(
                host=hosts[name],
                control_plane=name in groups[CONTROL_PLANE],
                worker=name in groups[WORKER],
            )
            for name in names
        )
    )


def _joined(address: str, port: int) -> str:
    try:
        return f"[{address}]:{port}" if ip_address(address).version == 6 else f"{address}:{port}"
    except ValueError:
        return f"{address}:{port}"
