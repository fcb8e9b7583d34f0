"""How a cluster is: its nodes, API, etcd and certificates, against what the inventory says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiprov import FORMAT_VERSION
from aiprov.cluster.members import Member, Members
from aiprov.cluster.plane import Hosts, answering, patiently
from aiprov.errors import HostError, UnreachableError

FEW_DAYS = 30
"""A certificate that ends sooner is a problem: kubeadm's are good for a year."""


def status(hosts: Hosts, members: Members) -> dict[str, Any]:
    """The whole as a document. Raises ``HostError`` where no control plane answers."""
    plane = answering(hosts, members)
    nodes = hosts.ask(plane, "nodes", "--pods")["nodes"]
    health = hosts.ask(plane, "health")
    ends = dict(certificates(hosts, members))
    problems = [*health["problems"], *_missing(members, nodes), *_ending(ends)]
    return {
        "format_version": FORMAT_VERSION,
        "verb": "cluster status",
        "asked": plane.host.name,
        "healthy": not problems,
        "problems": problems,
        "versions": {**_versions(hosts, plane), "wanted": members.version},
        "nodes": [{**node, "host": _host(members, node)} for node in nodes],
        "etcd": health["etcd"],
        "certificates": ends,
    }


def certificates(hosts: Hosts, members: Members) -> Iterator[tuple[str, dict[str, Any]]]:
    """The certificates of each control plane, or why they are not known."""
    for member in members.control_planes:
        try:
            found = hosts.ask(member, "certificates")["certificates"]
        except HostError as error:
            lost = isinstance(error, UnreachableError)
            told = {"error": error.message, "hint": error.hint, "unreachable": lost}
            yield member.host.name, {**told, "all": []}
        else:
            yield member.host.name, {"error": None, "unreachable": False, "all": found}


def soonest(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The certificate of a control plane that ends first."""
    return min(found["all"], key=lambda one: int(one["days_left"]), default=None)


def _versions(hosts: Hosts, plane: Member) -> Mapping[str, Any]:
    known = patiently(lambda: hosts.ask(plane, "version"))
    return {name: known[name] for name in ("api", "cluster")}


def _host(members: Members, node: Mapping[str, Any]) -> str | None:
    for member in members.everyone:
        if member.name == node["name"]:
            return member.host.name
    return None


def _missing(members: Members, nodes: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    there = {node["name"] for node in nodes}
    for member in members.everyone:
        if member.name not in there:
            why = f"the inventory has it, the cluster has not: aiprov apply -l {member.host.name}"
            yield {"what": f"node {member.name}", "why": why}


def _ending(ends: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for host, found in ends.items():
        if found["error"]:
            yield {"what": f"certificates of {host}", "why": found["error"]}
        for one in found["all"]:
            if one["days_left"] < FEW_DAYS:
                ends_so = f"it ends in {one['days_left']} days"
                way = "the cluster's secrets" if one["authority"] else "aiprov cluster certificates"
                how = f"see docs: {way}" if one["authority"] else f"{way} --renew"
                yield {"what": f"certificate {one['name']} of {host}", "why": f"{ends_so}: {how}"}


# ---------------------------------------------------------------- as text


def status_text(document: Mapping[str, Any]) -> str:
    """The same for a person: problems last, where the eye ends."""
    versions = document["versions"]
    wanted = "" if versions["api"] == versions["wanted"] else f" (wanted {versions['wanted']})"
    lines = [f"Kubernetes {versions['api']}{wanted}, asked of {document['asked']}", ""]
    lines += table(
        ("NODE", "ROLES", "READY", "VERSION", "PODS", "GPUS", ""),
        [_row(node) for node in document["nodes"]],
    )
    lines.append("")
    for member in document["etcd"]:
        lines.append(f"etcd {member['name']}: {member['reason'] or 'healthy'}")
    for host, found in document["certificates"].items():
        first = soonest(found)
        if first is not None:
            lines.append(f"certificates of {host}: {first['days_left']} days ({first['name']})")
    lines.append("")
    if document["healthy"]:
        lines.append("all is well")
    lines += [f"problem: {one['what']}: {one['why']}" for one in document["problems"]]
    return "\n".join(lines)


def certificates_text(ends: Mapping[str, Mapping[str, Any]]) -> str:
    """All certificates of the control planes, those that end first at the top."""
    lines = []
    for host, found in ends.items():
        lines.append(host)
        if found["error"]:
            lines.append(f"  not known: {found['error']}")
            lines += [f"  hint: {found['hint']}"] if found["hint"] else []
        for one in sorted(found["all"], key=lambda item: int(item["days_left"])):
            lines.append(f"  {one['name']:28} {one['days_left']:5} days, {one['valid_until'][:10]}")
    return "\n".join(lines)


def _row(node: Mapping[str, Any]) -> tuple[str, ...]:
    gpus = ", ".join(f"{n} {name.removeprefix('nvidia.com/')}" for name, n in node["gpus"].items())
    notes = [] if node["schedulable"] else ["cordoned"]
    notes += [] if node["host"] else ["not in the inventory"]
    return (
        node["name"],
        ",".join(node["roles"]),
        "yes" if node["ready"] else "no",
        node["version"],
        str(node["pods"]),
        gpus or "-",
        ", ".join(notes),
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns as wide as what stands in them."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
