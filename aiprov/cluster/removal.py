"""Nodes leave a cluster: drained, deleted, out of etcd, and their hosts clean of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiprov.cluster.members import Member, Members
from aiprov.cluster.plane import ADMIN, Drain, Hosts, Say, answering
from aiprov.errors import HostError, UnreachableError, UsageError
from aiprov.programs import path

RESET = (path("kube-reset"), "reset")
RESET_S = 900.0
DELETE_S = 300.0
"""A node's deletion waits for an etcd without a leader, and then for the API, a minute each."""
GONE_S = 90.0
"""How long a node may seem ready whose host is gone: kubelet is missed after 40 to 50 s."""
LOOK_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """A node that is to leave. ``member``: none where the inventory does not have it any more.

    ``doubtful``: it seems ready, but its host is not reached, and that is said to be well.
    """

    name: str
    member: Member | None
    reachable: bool
    ready: bool
    doubtful: bool = False


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What a removal is going to do, and by way of which control plane."""

    plane: Member
    leaving: tuple[Leaving, ...]


def plan_removal(
    hosts: Hosts, members: Members, names: Sequence[str], *, unreachable_ok: bool
) -> Removal:
    """See that all of the nodes may leave, before any does. ``names``: of hosts or of nodes.

    Raises ``UsageError`` for a name that is none, or that leaves no control plane;
    ``UnreachableError`` for a host that does not answer, unless that is said to be well.
    """
    chosen = {name: _member(members, name) for name in names}
    going = [member.host.name for member in chosen.values() if member is not None]
    if not [one for one in members.control_planes if one.host.name not in going]:
        raise UsageError(
            "no control plane would be left",
            hint=f"to end the cluster: aiprov cluster reset -l {','.join(going)}",
        )
    plane = answering(hosts, members, going)
    known = {node["name"]: node for node in hosts.ask(plane, "nodes")["nodes"]}
    leaving = []
    for name, member in chosen.items():
        node = known.get(member.name if member else name)
        if node is None and member is None:
            raise UsageError(
                f"{name} is neither a host of the inventory nor a node of the cluster",
                hint=f"nodes are {', '.join(sorted(known))}",
            )
        reachable = member is not None and _reachable(hosts, member, unreachable_ok)
        ready = bool(node and node["ready"])
        leaving.append(
            Leaving(
                name=member.name if member else name,
                member=member,
                reachable=reachable,
                ready=ready,
                doubtful=ready and unreachable_ok and not reachable,
            )
        )
    return Removal(plane=plane, leaving=tuple(leaving))


def removal_text(removal: Removal) -> str:
    """What is going to be done, for a person."""
    lines = [f"by way of {removal.plane.host.name}:"]
    for one in removal.leaving:
        does = ["drain if it lives" if one.doubtful else "drain"] if one.ready else []
        does += ["delete", *(["reset its host"] if one.reachable else [])]
        why = "" if one.reachable else ", whose host is not reached: nothing is done there"
        lines.append(f"  {one.name}: {', '.join(does)}{why}")
    return "\n".join(lines)


def remove(
    hosts: Hosts,
    removal: Removal,
    drain: Drain,
    say: Say,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """One node after the other. Raises ``HostError`` at the first that cannot leave."""
    for one in removal.leaving:

        def told(_plane: str, line: str, node: str = one.name) -> None:
            say(node, line)

        if one.ready and not (one.doubtful and _dies(hosts, removal.plane, one, say, wait)):
            drain.run(hosts, removal.plane, one.name, told)
        else:
            say(one.name, "not drained: it is not ready, so its pods do not end by themselves")
        hosts.must(removal.plane, (ADMIN, "delete", one.name), told, timeout_s=DELETE_S)
        if one.reachable and one.member is not None:
            hosts.must(one.member, RESET, say, timeout_s=RESET_S)


def _dies(
    hosts: Hosts, plane: Member, one: Leaving, say: Say, wait: Callable[[float], object]
) -> bool:
    """Whether a node whose host is not reached turns out to be gone: its pods would not end."""
    say(one.name, f"its host is not reached: see for {GONE_S:g} s whether the node lives")
    end = time.monotonic() + GONE_S
    while time.monotonic() < end:
        try:
            nodes = hosts.ask(plane, "nodes")["nodes"]
        except HostError as error:
            say(one.name, f"cannot be told: {error}")
        else:
            if not any(node["ready"] for node in nodes if node["name"] == one.name):
                return True
        wait(LOOK_S)
    return False


def reset_text(members: Members, chosen: Sequence[Member]) -> str:
    """What is going to be lost, and what becomes of etcd, for a person. Asks no host."""
    names = [member.host.name for member in chosen]
    lines = [f"all that Kubernetes has on {', '.join(names)} is going to be lost"]
    total = len(members.control_planes)
    going = sum(member.control_plane for member in chosen)
    if going == total:
        return "\n".join([*lines, "no control plane is left: it is the end of the cluster"])
    if going:
        left, needed = total - going, total // 2 + 1
        fate = "it has" if left >= needed else "it would not have, and the API would not answer"
        lines.append(
            f"of {total} members of etcd, {left} would be left. A member that cannot be taken out, "
            f"since no other answers, still counts: etcd needs {needed} of {total}, which {fate}"
        )
    lines.append(f"if the cluster is to live on, rather: aiprov cluster remove {' '.join(names)}")
    return "\n".join(lines)


def reset(hosts: Hosts, chosen: Sequence[Member], say: Say) -> list[HostError]:
    """Take Kubernetes off hosts. What failed; one host does not stop the others."""
    failed = []
    for member in chosen:
        try:
            hosts.must(member, RESET, say, timeout_s=RESET_S)
        except HostError as error:
            failed.append(error)
            say(member.host.name, f"failed: {error.message}")
    return failed


def _member(members: Members, name: str) -> Member | None:
    for member in members.everyone:
        if name in (member.host.name, member.name):
            return member
    return None


def _reachable(hosts: Hosts, member: Member, unreachable_ok: bool) -> bool:
    try:
        hosts.run(member, ("true",))
    except UnreachableError as error:
        if unreachable_ok:
            return False
        raise UnreachableError(
            error.host,
            error.message,
            hint="if it is gone for good: --unreachable-ok. It may not come back before a reset",
        ) from error
    return True
