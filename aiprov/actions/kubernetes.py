"""Kubernetes: a node is cordoned and tainted, with what was found before kept on the node itself.

The annotation says why, and which of the two it was that aiprov did: only that is undone. A node
is written only as it was read: where somebody else wrote it in between, it is read again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiprov.actions.model import Decision, Held
from aiprov.errors import AiprovError, HostError
from aiprov.inventory import Host, Inventory

ANNOTATION = "aiprov.io/validation"
TAINT = {"key": "aiprov.io/unhealthy", "value": "validation", "effect": "NoSchedule"}
TRIES = 6
PAUSE_S = 0.2

Node = Mapping[str, Any]


class ConflictError(AiprovError):
    """Somebody else wrote the object since it was read."""


class Nodes(Protocol):
    """The nodes of a cluster. Raises ``AiprovError`` for what goes wrong."""

    @property
    def where(self) -> str:
        """Who is asked."""
        ...

    def all(self) -> list[Node]:
        """All nodes."""
        ...

    def one(self, name: str) -> Node | None:
        """A node; ``None`` where there is none of this name."""
        ...

    def patch(self, name: str, change: Mapping[str, Any]) -> None:
        """Merge a change into a node (RFC 7386).

        Raises ``ConflictError`` where it says a ``resourceVersion`` that is not the node's.
        """
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Kubernetes:
    """Nodes that no new pod gets, by a cordon and by a taint."""

    kind = "cordon"

    def __init__(
        self,
        nodes: Nodes,
        inventory: Inventory,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._nodes = nodes
        self._wait = wait
        self._hosts = {node_name(host): host.name for host in inventory.everyone}
        self._names = {host: node for node, host in self._hosts.items()}

    def held(self) -> Mapping[str, Held]:
        """The nodes that have the annotation."""
        found = {}
        for node in self._nodes.all():
            kept = record(node)
            if kept is not None:
                name = str(node["metadata"]["name"])
                host = self._hosts.get(name, name)
                found[host] = Held(
                    host=host,
                    reason=str(kept.get("reason", "")),
                    since=str(kept.get("since", "")),
                    note="" if name in self._hosts else "not in the inventory that was given",
                )
        return found

    def take(self, decision: Decision, since: str, campaign: str) -> str:
        """Cordon and taint the node. Pods that are there stay: nobody's work is ended by this."""

        def change(node: Node) -> tuple[dict[str, Any] | None, str]:
            kept, taints = record(node) or {}, _taints(node)
            tainted = any(_same(taint) for taint in taints)
            cordoned = bool(node["spec"].get("unschedulable"))
            told = {
                "reason": decision.reason,
                "since": kept.get("since", since),
                "campaign": kept.get("campaign", campaign),
                "cordoned": bool(kept.get("cordoned")) or not cordoned,
                "tainted": bool(kept.get("tainted")) or not tainted,
            }
            name = node["metadata"]["name"]
            if kept == told and cordoned and tainted:
                return None, f"node {name} is cordoned and tainted since {told['since']}"
            did = [word for word, was in (("cordoned", cordoned), ("tainted", tainted)) if not was]
            had = [word for word, was in (("cordoned", cordoned), ("tainted", tainted)) if was]
            spec = {
                "unschedulable": True,
                **({} if tainted else {"taints": [*taints, TAINT]}),
            }
            words = f"node {name} {' and '.join(did)}" if did else f"node {name}: reason renewed"
            already = f" (it was {' and '.join(had)} already)" if had and did else ""
            about = {"annotations": {ANNOTATION: json.dumps(told, sort_keys=True)}}
            return {"metadata": about, "spec": spec}, words + already

        return self._changed(decision.host, change)

    def give(self, host: str) -> str:
        """Take back what aiprov did to the node; a cordon or taint of somebody else stays."""

        def change(node: Node) -> tuple[dict[str, Any] | None, str]:
            kept, name = record(node), node["metadata"]["name"]
            if kept is None:
                return None, f"node {name} has nothing of aiprov any more: left as it is"
            spec: dict[str, Any] = {}
            did = []
            cordoned = bool(node["spec"].get("unschedulable"))
            if kept.get("cordoned") and cordoned:
                spec["unschedulable"] = None
                did.append("uncordoned")
            taints = _taints(node)
            rest = [taint for taint in taints if not _same(taint)]
            if kept.get("tainted") and rest != taints:
                spec["taints"] = rest or None
                did.append("taint removed")
            if cordoned and not kept.get("cordoned"):
                did.append("it was cordoned before, and still is")
            about = {"annotations": {ANNOTATION: None}}
            change = {"metadata": about, **({"spec": spec} if spec else {})}
            return change, f"node {name}: {', '.join(did) or 'nothing of aiprov was left on it'}"

        return self._changed(host, change)

    def close(self) -> None:
        """End the connection."""
        self._nodes.close()

    def _changed(
        self, host: str, change: Callable[[Node], tuple[dict[str, Any] | None, str]]
    ) -> str:
        """Change a node as it is; where somebody else is quicker, as it then is."""
        name = self._names.get(host, host)
        for number in range(TRIES):
            node = self._nodes.one(name)
            if node is None:
                raise HostError(
                    host,
                    f"the cluster has no node {name}",
                    hint="kubernetes_node_name says how the cluster calls the host",
                )
            wanted, did = change(node)
            if wanted is None:
                return did
            version = node["metadata"]["resourceVersion"]
            wanted["metadata"] = {**wanted["metadata"], "resourceVersion": version}
            try:
                self._nodes.patch(name, wanted)
            except ConflictError:
                self._wait(PAUSE_S * 2**number)
            else:
                return did
        raise HostError(
            host,
            f"node {name} was changed by somebody else each of {TRIES} times",
            hint=f"who writes to it? kubectl get node {name} --show-managed-fields -o yaml",
        )


def node_name(host: Host) -> str:
    """How the cluster calls the host: as the role kubernetes does."""
    return str(host.variables.value("kubernetes_node_name") or host.name.lower())


def record(node: Node) -> dict[str, Any] | None:
    """What the annotation says; ``None`` where there is none.

    Of a damaged one nothing is known to be aiprov's, so that nothing is undone but the annotation.
    """
    text = (node["metadata"].get("annotations") or {}).get(ANNOTATION)
    if text is None:
        return None
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {"reason": f"the annotation {ANNOTATION} is damaged", "damaged": True}


def _taints(node: Node) -> list[Any]:
    return list(node["spec"].get("taints") or ())


def _same(taint: Mapping[str, Any]) -> bool:
    return all(taint.get(key) == TAINT[key] for key in ("key", "effect"))
