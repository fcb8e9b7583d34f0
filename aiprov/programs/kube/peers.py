"""The rest of the cluster as a host sees it before it joins: does it live, and may this host in?"""

import os
import time
from typing import Dict, List, Tuple

from .cluster import (
    Api,
    Credential,
    StrangerError,
    addresses,
    alive,
    is_ready,
    port_state,
    shown,
    split,
)
from .host import Node, RefusedError, wait

QUIET_S = float(os.environ.get("AIPROV_TEST_QUIET_S", "20"))
"""For how long the other control planes have to show that there is no cluster: one that is just
booting has its network before its kubelet."""
GONE_S = 90
"""How long a Node of this very host may stay Ready after its kubelet was stopped (kubelet reports
every 10 s, and is given 40 to 50 s)."""


def cluster_lives(node: Node, who: Credential, begun: str) -> bool:
    """Whether there is a cluster to join: true where one answers, false where there is none.

    Only the first control plane may find that there is none, and only where every other one shows
    it: a host that does not answer may be a cluster's. Where this host's own beginning was cut off
    (``begun``), what answers at the endpoint may be this host, so only the others are asked.
    Raises ``RefusedError`` where it cannot be told in time.
    """
    asked = api_servers(node)[1:] if begun == "init" else api_servers(node)
    found: List[str] = []
    answer: Dict[str, bool] = {}
    quiet = {"since": time.monotonic()}
    needed = min(QUIET_S, node.wait_s / 2) if node.peers else 0

    def known() -> bool:
        del found[:]
        if any(answers(where, who.ca) for where in asked):
            answer["lives"] = True
        elif node.first:
            found.extend(doubts(node))
            if found:
                quiet["since"] = time.monotonic()
            elif time.monotonic() - quiet["since"] >= needed:
                answer["lives"] = False
        return bool(answer)

    if not wait(known, awaited(node), node.wait_s):
        if not node.first:
            raise unanswered(node)
        raise RefusedError(
            f"it cannot be told whether a cluster lives: {'; '.join(found)}",
            "bring those hosts up and open their ports for each other (the API's, 2379, 2380 and "
            "10250), or take them out of the inventory if they are gone; one that has a Kubernetes "
            "which is to go: aiprov cluster reset -l HOST",
        )
    return answer["lives"]


def awaited(node: Node) -> str:
    if node.first:
        return "the other control planes, to tell whether a cluster lives"
    return f"an API server at {' or '.join(shown(*where) for where in api_servers(node))}"


def unanswered(node: Node) -> RefusedError:
    where = " or ".join(shown(*one) for one in api_servers(node))
    return RefusedError(
        f"no API server answered at {where} in {node.wait_s:g} s",
        "the first control plane begins the cluster: see what its run says; where it is done, "
        "see that this host reaches those addresses (firewall, load balancer)",
    )


def api_servers(node: Node) -> List[Tuple[str, int]]:
    """Where API servers may be, this host's own apart."""
    return [split(node.endpoint), *((peer.address, peer.port) for peer in node.peers)]


def answers(where: Tuple[str, int], ca: str) -> bool:
    """Whether an API server of this cluster answers. Raises ``RefusedError`` for another's."""
    try:
        return bool(alive(where[0], where[1], ca))
    except StrangerError as error:
        raise RefusedError(
            f"what answers at {shown(*where)} is not of this cluster: {error}",
            "if a cluster made with other secrets runs there: use its secrets file, or reset that "
            "host (aiprov cluster reset -l HOST); otherwise choose another endpoint or port",
        ) from error


def doubts(node: Node) -> List[str]:
    """Why the other control planes may have a cluster yet: nothing where all show that not."""
    found = []
    for peer in node.peers:
        for port, what in ((peer.port, "API server"), (2380, "etcd"), (10250, "kubelet")):
            state = port_state(peer.address, port)
            if state == "refused":
                continue
            where = f"{peer.name} ({shown(peer.address, port)})"
            if state == "open":
                found.append(f"something listens on {what}'s port of {where}, and no API answers")
            else:
                found.append(f"{where} cannot be asked: {state}")
            break
    return found


def refuse_skew(node: Node, api: Api) -> None:
    """Raise ``RefusedError`` where the cluster's version and this host's do not go together.

    Source: kubernetes.io version-skew-policy (read 2026-11-21): a kubelet is never newer than its
    API server, and three minor versions older at most (two before 1.25).
    """
    cluster = api.version()
    behind = int(cluster.split(".")[1]) - node.minor
    oldest = 3 if node.minor >= 25 else 2
    fits = behind == 0 if node.control_plane else 0 <= behind <= oldest
    if not fits:
        raise RefusedError(
            f"the cluster is of version {cluster}, and this host of {node.version}",
            "upgrade the cluster first (aiprov cluster upgrade), its control planes before its "
            f"workers, or set kubernetes_version to {cluster}",
        )


def refuse_taken(node: Node, api: Api) -> bool:
    """Raise ``RefusedError`` where the name is another machine's. Whether a Node has it at all.

    Asked before anything is done in this name: the etcd member of that machine would go with it.
    """
    found = api.node(node.name)
    there = addresses(found)
    if found and node.address not in there:
        raise RefusedError(
            f"the name {node.name} is taken by another machine (address {', '.join(there)}): "
            f"this host has {node.address}",
            f"give this host another name, or remove the other first: kubectl delete node "
            f"{node.name}",
        )
    return bool(found)


def name_free(node: Node, api: Api) -> None:
    """Raise ``RefusedError`` where the name is another machine's in the cluster.

    A Node with this host's address is this host's own, of an earlier life: kubeadm wants it to be
    seen as gone first.
    """
    if not refuse_taken(node, api):
        return
    ready = f"the Node {node.name} of this host's earlier life to be seen as gone"
    if not wait(lambda: not is_ready(api.node(node.name)), ready, min(GONE_S, node.wait_s)):
        raise RefusedError(
            f"the name {node.name} is taken by another machine with the same address "
            f"{node.address}: its Node is Ready, though no kubelet runs here",
            "find the other machine, or kubectl delete node " + node.name,
        )
