"""The control planes as members of a cluster: their etcd, and whether all of them are well."""

import re
from typing import Any, Dict, List, Tuple

from .cluster import (
    ETCD_CLIENT,
    Api,
    Etcd,
    UnansweredError,
    member_address,
)
from .host import (
    INIT,
    MANIFESTS,
    Node,
    RefusedError,
    exists,
    kubeadm,
    must,
    read,
    tell,
    wait,
    write,
)

FORGET_S = 60
MANIFEST = f"{MANIFESTS}/etcd.yaml"


def etcd(address: str) -> Etcd:
    """The etcd member at an address, with a client certificate that is made if there is none."""
    if not exists(f"{ETCD_CLIENT}.crt") or not exists(f"{ETCD_CLIENT}.key"):
        kubeadm("init", "phase", "certs", "etcd-healthcheck-client", "--config", INIT)
    return Etcd(address)


def forget(node: Node) -> None:
    """A member that this host was in an earlier life is taken out of the etcd cluster.

    kubeadm would add no member to a cluster with one that is dead. A member that has just started
    counts as dead for some seconds. Raises ``RefusedError`` where etcd does not let it go.
    """
    silent: List[str] = []
    present: List[str] = []

    def gone() -> bool:
        del silent[:], present[:]
        return let_go(node, "earlier etcd member", silent, present)

    if wait(gone, "etcd to let this host's earlier member go", min(FORGET_S, node.wait_s)):
        return
    if present:
        raise RefusedError(
            f"etcd does not let this host's earlier member go: {'; '.join(silent)}",
            "more than half of its members have to be well: bring the other control planes up",
        )
    tell(f"no etcd member could be asked for an earlier life of this host: {'; '.join(silent)}")


def let_go(node: Node, what: str, silent: List[str], present: List[str]) -> bool:
    """Have any peer take this host's member out of etcd; whether one says that it is out.

    To ``silent`` goes what those said that did not do it, to ``present`` who knows the member.
    """
    for peer in node.peers:
        try:
            one = etcd(peer.address)
            for member in one.members():
                if member.get("name") == node.name or member_address(member) == node.address:
                    present.append(peer.name)
                    tell(f"remove this host's {what}, by {peer.name}")
                    one.remove(member)
            return True
        except UnansweredError as error:
            silent.append(f"{peer.name}: {error}")
    return False


def start_announced(node: Node) -> None:
    """Start an etcd member of this host that was announced to its cluster, and nothing more.

    A second of two that does not start leaves a cluster that cannot decide, not even to let it go.
    Older kubeadms (before 1.29, whose members learn first) leave it so when they are cut off there.
    Raises ``RefusedError`` where it does not come up.
    """
    if exists(MANIFEST):
        must(["systemctl", "start", "kubelet"], hint="journalctl -u kubelet tells why")
        return
    for peer in node.peers:
        try:
            one = etcd(peer.address)
            known = one.members()
        except UnansweredError:
            continue
        mine = [item for item in known if member_address(item) == node.address]
        if not mine or mine[0].get("name") or one.healthy():
            return
        tell("this host's etcd member was announced and not started, and is started now")
        must(["systemctl", "stop", "kubelet"])
        kubeadm("init", "phase", "certs", "etcd-server", "--config", INIT)
        kubeadm("init", "phase", "certs", "etcd-peer", "--config", INIT)
        kubeadm("init", "phase", "etcd", "local", "--config", INIT)
        write(MANIFEST, as_member(read(MANIFEST), node, known))
        must(["systemctl", "start", "kubelet"], hint="journalctl -u kubelet tells why")
        if not wait(one.healthy, "etcd to decide again", node.wait_s):
            raise RefusedError(
                f"etcd on {peer.name} has no leader, and this host's member does not help",
                "crictl logs of etcd on both hosts tells why; or go back to a snapshot: "
                "kube-etcd restore",
            )
        return


def as_member(manifest: str, node: Node, known: List[Dict[str, Any]]) -> str:
    """A manifest of etcd that begins a cluster, changed to be one more member of another."""
    urls = [f"{item.get('name') or node.name}={url}" for item in known for url in item["peerURLs"]]
    return re.sub(
        r"^( *- --initial-cluster)=.*$",
        lambda found: f"{found.group(1)}={','.join(urls)}\n{found.group(1)}-state=existing",
        manifest,
        flags=re.MULTILINE,
    )


def wait_until_well(node: Node, api: Api) -> None:
    """Wait until this host's API server is ready and all etcd members are. ``RefusedError`` if not.

    ``api`` is asked with an administrator's credential at this host's own address.
    """
    own = Api(api.who, node.address, node.api_port)
    state = [""]

    def well() -> bool:
        state[0] = "; ".join(unwell(node, own))
        return not state[0]

    if not wait(well, "the API server and all etcd members to be well", node.wait_s):
        raise RefusedError(
            f"{node.name} has joined, but {state[0]}",
            "crictl ps -a and crictl logs tell why; a control plane that is gone for good is to be "
            "removed first: aiprov cluster remove NAME",
        )


def unwell(node: Node, own: Api) -> List[str]:
    """What is not well: this host's API server, or any etcd member."""
    try:
        status = own.ask("/readyz")[0]
    except UnansweredError as error:
        return [f"the API server at {own} does not answer: {error}"]
    wrong = [] if status == 200 else [f"the API server at {own} is not ready ({status})"]
    present, lacking = etcd_state(node)
    if node.address not in present:
        wrong.append("this host is not among the etcd members")
    return wrong + lacking


def etcd_state(node: Node) -> Tuple[List[str], List[str]]:
    """The addresses of the etcd members, and what is wrong with any."""
    try:
        found = etcd(node.address).members()
    except UnansweredError as error:
        return [node.address], [f"etcd at {node.address} does not answer: {error}"]
    wrong = []
    for member in found:
        name = member.get("name") or member_address(member)
        if not member.get("name") or member.get("isLearner"):
            wrong.append(f"etcd member {name} has not started")
        elif not etcd(member_address(member)).healthy():
            wrong.append(f"etcd member {name} is not healthy")
    return [member_address(member) for member in found], wrong
