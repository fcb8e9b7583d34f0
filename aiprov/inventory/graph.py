"""The groups of an inventory as a tree: ``aiprov inventory graph``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiprov import FORMAT_VERSION
from aiprov.inventory import Inventory


def graph(inventory: Inventory) -> dict[str, Any]:
    """Groups with their children and those hosts that the limit leaves, as a document.

    As in Ansible's own graph, ``all`` shows its groups only: every host is in one of them.
    """
    shown = {n for n, group in inventory.groups.items() if n != "ungrouped" or group.hosts}
    kept = {host.name for host in inventory.hosts}
    return {
        "format_version": FORMAT_VERSION,
        "groups": {
            name: {
                "children": [name for name in group.children if name in shown],
                "hosts": [host for host in group.hosts if host in kept and name != "all"],
            }
            for name, group in inventory.groups.items()
            if name in shown
        },
    }


def graph_text(document: dict[str, Any]) -> str:
    """The same as a tree, hosts below their groups."""
    return "\n".join(_lines(document["groups"], "all"))


def _lines(groups: dict[str, Any], name: str) -> Iterator[str]:
    yield f"{name}:"
    group = groups.get(name, {"children": [], "hosts": []})
    below = [*group["children"], *group["hosts"]]
    for entry in below:
        last = entry == below[-1]
        lines = _lines(groups, entry) if entry in groups else iter([entry])
        for number, line in enumerate(lines):
            branch = ("└── " if last else "├── ") if number == 0 else ("    " if last else "│   ")
            yield f"{branch}{line}"
