"""The pod network that needs no download: CNI's bridge on each node, plain routes between them.

``kube-nodes`` follows the cluster's Nodes with the kubelet's certificate, ``kube-routes`` makes the
host what they say: docs/kubernetes-network.md.
"""

from __future__ import annotations

from typing import Any

from aiprov import programs
from aiprov.resources import Absent, File, Resource, Service
from aiprov.survey.facts import Facts

UNIT = "aiprov-kube-routes.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
FOLLOWER = "kube-nodes"
ROUTES = "kube-routes"
BINDING = "aiprov:kube-routes"


def resources(
    node: str, pod_cidrs: tuple[str, ...], mtu: int | None, host: Facts
) -> list[Resource]:
    """The programs and their unit, which waits by itself until the host is a node."""
    follower, routes = programs.path(FOLLOWER), programs.path(ROUTES)
    return [
        *programs.program(FOLLOWER, host),
        *programs.program(ROUTES, host),
        File(path=UNIT_FILE, content=unit(node, pod_cidrs, mtu)),
        Service(name=UNIT, enabled=True, running=True, restart_on=(UNIT_FILE, follower, routes)),
    ]


def absent() -> list[Resource]:
    """That nothing follows the Nodes. What an earlier network left is a reset's to remove."""
    return [Service(name=UNIT, enabled=False, running=False), Absent(path=UNIT_FILE)]


def unit(node: str, pod_cidrs: tuple[str, ...], mtu: int | None) -> str:
    """The systemd unit. It ends without touching a route: pods go on while it restarts."""
    words = [programs.path(FOLLOWER), "--node", node]
    words += [word for cidr in pod_cidrs for word in ("--pods", cidr)]
    words += [] if mtu is None else ["--mtu", str(mtu)]
    return f"""\
[Unit]
Description=Routes to the pods of all nodes, and this node's CNI network
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={" ".join(words)}
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


def manifests() -> list[dict[str, Any]]:
    """What lets kubelets' certificates read all Nodes.

    From 1.32 on the Node authorizer lets a kubelet read its own Node only
    (AuthorizeNodeWithSelectors: kubernetes.io node authorization, read 2026-11-21); RBAC may allow
    more. A Node holds no secret, and what else a kubelet may do stays as it is.
    """
    api = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": BINDING},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}
            ],
        },
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": BINDING},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": BINDING},
            "subjects": [{"apiGroup": api, "kind": "Group", "name": "system:nodes"}],
        },
    ]
