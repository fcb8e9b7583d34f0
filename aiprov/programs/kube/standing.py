"""What a member of a cluster is known by, as seen on the host itself."""

import time
from typing import List

from .cluster import (
    PATIENCE_S,
    Api,
    Credential,
    StrangerError,
    UnansweredError,
    alive,
    credential,
    plain,
    shown,
    split,
    validity,
)
from .host import (
    COMPONENTS,
    KUBELET,
    MANIFESTS,
    PAUSE_S,
    PKI,
    STARTED,
    STOPPED,
    Node,
    RefusedError,
    document,
    exists,
    inside,
    read,
)

LOOK_S = 8 * PAUSE_S
"""For how long what may be over in a moment is looked at. A question has half a minute."""


def by_file(path: str, node: Node, patient: bool = True) -> Api:
    """The API by a kubeconfig of this host. ``patient``: asked again where it has no answer."""
    patience = min(PATIENCE_S, node.wait_s) if patient else 0
    return Api(credential(read(path), path), patience=patience)


def lacks(node: Node, patient: bool = False) -> List[str]:
    """Why this host is no working member of the cluster; nothing where it is one.

    ``patient``: what may be over in a moment is looked at again, before anybody acts on it.
    """
    if not exists(KUBELET):
        return [f"{node.name} has not joined: {KUBELET} is not there"]
    begun = document(STARTED).get("what")
    if begun:
        return [f"{node.name} has joined by half: kubeadm {begun} was cut off"]
    return lasting(node) if patient else unfit(node)


def lasting(node: Node) -> List[str]:
    """What a member lacks for a while: an API server restarts, or answers late on a busy host."""
    reasons = unfit(node)
    end = time.monotonic() + LOOK_S  # from here on: after a slow look, too, there is a second
    while reasons and time.monotonic() < end:
        time.sleep(PAUSE_S)
        reasons = unfit(node)
    return reasons


def unwell(node: Node) -> List[str]:
    """Why kubelet does not work here; nothing where it does."""
    host, port = split(str(node.more.get("kubelet_healthz") or "127.0.0.1:10248"))
    try:
        status = plain(host, port, "/healthz")
    except UnansweredError as error:
        return [f"kubelet does not answer at {shown(host, port)}: {error}"]
    if status == 200:
        return []
    return [f"kubelet is not well: it answers {shown(host, port)} with {status}"]


def unfit(node: Node) -> List[str]:
    """What a member lacks of all that makes it one."""
    reasons = []
    try:
        who = credential(read(KUBELET), KUBELET)
    except RefusedError as error:
        return [str(error)]
    try:
        end = validity(who.certificate)[1]
        if time.time() > end:
            reasons.append(f"kubelet's certificate ended at {moment(end)}")
    except (ValueError, IndexError):
        reasons.append("kubelet's certificate cannot be read")
    reasons += unwell(node)
    if node.control_plane:
        there = inside(MANIFESTS)
        missing = [name for name in COMPONENTS if f"{name}.yaml" not in there]
        if missing:
            reasons.append(f"{MANIFESTS} lacks {', '.join(missing)}")
        else:
            reasons += _api_server(node)
    elif static_pods():
        reasons.append(f"{MANIFESTS} has {', '.join(static_pods())}, and this is a worker")
    return reasons or registered(node, who)


def static_pods() -> List[str]:
    """The components of a control plane that are on this host, be they stopped meanwhile."""
    there = {*inside(MANIFESTS), *inside(STOPPED)}
    return [name for name in COMPONENTS if f"{name}.yaml" in there]


def _api_server(node: Node) -> List[str]:
    """What is wrong with this host's own API server."""
    where = shown(node.address, node.api_port)
    try:
        answers = alive(node.address, node.api_port, read(f"{PKI}/ca.crt"))
    except StrangerError as error:
        return [f"what answers at {where} is not of this cluster: {error}"]
    return [] if answers else [f"this host's API server does not answer at {where}"]


def registered(node: Node, who: Credential) -> List[str]:
    """Whether the cluster knows it. Where no API server answers, what is on the host decides."""
    try:
        status = Api(who).ask(f"/api/v1/nodes/{node.name}")[0]
    except UnansweredError:
        return []
    if status == 404:
        return [f"the cluster has no Node {node.name}"]
    if status in (401, 403):
        return [f"the cluster does not accept kubelet's certificate ({status})"]
    return []


def ended(node: Node, api: Api) -> bool:
    """Whether a join that was cut off had done all of its work."""
    if not exists(KUBELET) or lasting(node):
        return False
    labels = api.node(node.name).get("metadata", {}).get("labels", {})
    roles = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
    return not node.control_plane or any(role in labels for role in roles)


def moment(seconds: float) -> str:
    """A time as people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
