"""Taking Kubernetes off this host, so that it is as before, and may join again.

    kube-reset clean    0: nothing of Kubernetes is left; 1: something is, and what; 2: no telling
    kube-reset reset    takes it away; what is not Kubernetes' stays

The Node object is left to the cluster (``kube-admin delete``). The host's etcd member leaves its
cluster, if others of it answer; where those run and do not let it go, nothing is taken away. May be
cut off anywhere, and run again.
"""

import re
import shutil
from typing import Callable, Dict, List

from . import firewall, pods
from .cluster import ETCD_CLIENT, Etcd, UnansweredError, credential, member_address, split
from .hold import holders
from .host import (
    FOLDER,
    KUBERNETES,
    MANIFESTS,
    PKI,
    RUN,
    Node,
    RefusedError,
    alone,
    described,
    exists,
    inside,
    main,
    must,
    place,
    read,
    remove,
    tell,
    wait,
)
from .host import (
    run as command,
)
from .leftovers import empty
from .members import FORGET_S, let_go

STATE = ("/var/lib/kubelet", "/var/lib/cni", "/var/lib/calico", "/var/lib/cilium")
"""What kubelet and pod networks keep. The folder of etcd is each host's own."""

RUNTIME_STATE = ("/run/flannel", "/run/calico", "/run/cilium", "/var/log/pods")
LOGS = "/var/log/containers"

INTERFACES = re.compile(
    r"cni0|flannel\.1|flannel-v6\.1|kube-ipvs0|kube-bridge|nodelocaldns|cilium_\w+|lxc_health"
    r"|lxc[0-9a-f]{12,}|cali[0-9a-f]{11}|vxlan\.calico|vxlan-v6\.calico|wireguard\.cali"
)
CNI = "/etc/cni/net.d"
CNI_FILES = re.compile(r"(\d+-)?(aiprov|flannel|calico|cilium|multus|kube)\b.*|calico-kubeconfig")
ROUTES = "/usr/local/lib/aiprov/kube-routes"
ROUTES_UNIT = "aiprov-kube-routes.service"


def whatever() -> Node:
    """This host: by ``node.json``, or where that is not there, as Kubernetes usually is."""
    if exists(f"{FOLDER}/node.json"):
        return described()
    sockets = ("/run/containerd/containerd.sock", "/run/crio/crio.sock")
    there = [path for path in sockets if exists(path)]
    said = must(["kubeadm", "version", "--output", "short"]) if present() else "v1.36.0"
    return Node(
        name="",
        control_plane=False,
        worker=False,
        first=False,
        endpoint="",
        api_port=6443,
        address="",
        peers=[],
        version=said.strip().lstrip("v"),
        cri_socket=(there or sockets)[0],
        wait_s=300.0,
        more={},
    )


def present() -> bool:
    """Whether there is a kubeadm."""
    return shutil.which("kubeadm") is not None


def left(node: Node) -> List[str]:
    """What of Kubernetes is on this host."""
    found = [f"{KUBERNETES}/{name}" for name in inside(KUBERNETES)]
    found += [folder for folder in (*STATE, node.etcd_data) if inside(folder)]
    found += [f"{CNI}/{name}" for name in inside(CNI) if CNI_FILES.fullmatch(name)]
    found += [f"the interface {name}" for name in interfaces()]
    return found


def interfaces() -> List[str]:
    """The network interfaces that pod networks and kube-proxy made."""
    return [name for name in inside("/sys/class/net") if INTERFACES.fullmatch(name)]


def clean(node: Node) -> int:
    """The question."""
    found = left(node)
    for what in found:
        tell(f"{what} is left")
    return int(bool(found))


def reset(node: Node) -> int:
    """Take it away, the description of the host last."""
    with alone(node.wait_s):
        leave_etcd(node)  # which may be refused: before anything is touched
        forget_kubeconfig()
        virtual = exists(f"{MANIFESTS}/kube-vip.yaml")
        pods.stop(node)
        if virtual:
            give_up(split(node.endpoint)[0])
        if present() and exists(KUBERNETES):
            pods.kubeadm_reset(node)
        network()
        delete_files(node)
        tell("nothing of Kubernetes is left on this host")
    return 0


def delete_files(node: Node) -> None:
    """Delete what it keeps in files, and what describes this host after all else."""
    for folder in (*STATE, node.etcd_data):
        empty(folder)
    for folder in RUNTIME_STATE:
        remove(folder)
    doomed = [f"{LOGS}/{name}" for name in inside(LOGS)]
    doomed += [f"{CNI}/{name}" for name in inside(CNI) if CNI_FILES.fullmatch(name)]
    doomed += [f"{RUN}/{name}" for name in inside(RUN) if name != "lock"]
    doomed += [f"{KUBERNETES}/{name}" for name in inside(KUBERNETES) if name != "aiprov"]
    doomed += [f"{FOLDER}/{name}" for name in inside(FOLDER) if name != "node.json"]
    for path in [*doomed, FOLDER]:
        remove(path)


def forget_kubeconfig() -> None:
    """root's kubeconfig goes, if it is for this cluster: by its authority."""
    path = "/root/.kube/config"
    own = "".join(read(f"{PKI}/ca.crt").split())
    try:
        theirs = credential(read(path), path).ca if exists(path) else ""
    except (RefusedError, ValueError):
        return  # with a token, say: somebody else wrote it
    if own and "".join(theirs.split()) == own:
        remove(path)


def leave_etcd(node: Node) -> None:
    """Take this host's member out of its etcd cluster, by any other that answers.

    While a control plane joins or leaves, etcd lets nobody go for a while. Raises ``RefusedError``
    where a cluster that may decide does not let it go: it would have a dead member for good.
    """
    if not node.peers or not node.address:
        return
    if not exists(f"{ETCD_CLIENT}.crt") or not exists(f"{PKI}/etcd/ca.crt"):
        return
    silent: List[str] = []
    present: List[str] = []

    def left() -> bool:
        del silent[:], present[:]
        return only_member(node) or let_go(node, "etcd member", silent, present)

    try:
        if wait(left, "etcd to let this host's member go", min(FORGET_S, node.wait_s)):
            return
        lives = bool(present) and majority_runs(node)
    except RefusedError as error:  # without certificates nobody can be asked
        tell(f"this host's etcd member is not taken out: {error}")
        return
    if lives:
        raise RefusedError(
            f"etcd does not let this host's member go, and would lose it: {'; '.join(silent)}",
            "run it again when the other control planes are well (aiprov cluster status); those "
            "that are gone for good leave first: aiprov cluster remove NAME --unreachable-ok",
        )
    told = "is dead for it from now on" if present else "is not taken out"
    tell(f"this host's etcd member {told}: {'; '.join(silent)}")


def only_member(node: Node) -> bool:
    """Whether etcd has no other member than this host's: with it the cluster ends."""
    try:
        known = Etcd(node.address).members()
    except UnansweredError:
        return False
    return bool(known) and all(member_address(member) == node.address for member in known)


def majority_runs(node: Node) -> bool:
    """Whether so many etcd members run, this host's too, that they may come to decide.

    Where they do not, the cluster is lost as it is, and a reset is how beginning again starts.
    """
    for peer in node.peers:
        try:
            known = [one for one in Etcd(peer.address).members() if not one.get("isLearner")]
        except UnansweredError:
            continue
        return 2 * sum(runs(member_address(member)) for member in known) > len(known)
    return False


def runs(address: str) -> bool:
    """Whether an etcd member is there, be it without a leader."""
    try:
        Etcd(address).members()
    except UnansweredError:
        return False
    return True


def give_up(address: str) -> None:
    """kube-vip was stopped before it could take the endpoint's address off this host."""
    for interface in sorted(holders(address)):
        tell(f"take {address} off {interface}")
        size = 128 if ":" in address else 32
        must(["ip", "address", "delete", f"{address}/{size}", "dev", interface])


def network() -> None:
    """Interfaces, rules, routes and namespaces of the pods' network."""
    if exists(f"/etc/systemd/system/{ROUTES_UNIT}"):
        must(["systemctl", "disable", "--now", ROUTES_UNIT])
        if exists(ROUTES):
            must([place(ROUTES), "remove"])
    served: List[str] = []
    if "kube-ipvs0" in interfaces():
        said = command(["ip", "-o", "addr", "show", "dev", "kube-ipvs0"])[1]
        served = re.findall(r"inet6? ([^/\s]+)", said)
    firewall.clear(served)
    for name in interfaces():
        tell(f"delete the interface {name}")
        status, _, wrong = command(["ip", "link", "delete", name])
        if status != 0 and name in interfaces():  # cali and lxc ones go in pairs
            raise RefusedError(f"ip link delete {name}: {wrong.strip() or status}")
    for name in inside("/run/netns"):
        if name.startswith("cni-"):
            command(["ip", "netns", "delete", name])


VERBS: Dict[str, Callable[[Node], int]] = {"clean": clean, "reset": reset}


def run(words: List[str]) -> int:
    """Run a verb."""
    return main("kube-reset", VERBS, words, whatever)
