"""Taking Kubernetes off this host, so that it is as before, and may join again.

    kube-reset clean    0: nothing of Kubernetes is left; 1: something is, and what; 2: no telling
    kube-reset reset    takes it away; what is not Kubernetes' stays

The Node object is left to the cluster (``kube-admin delete``). The host's etcd member leaves its
cluster, if others of it answer. May be cut off anywhere, and run again.
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
)
from .host import (
    run as command,
)
from .leftovers import empty

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
        forget_kubeconfig()
        leave_etcd(node)
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
    """Take this host's member out of its etcd cluster, by any other that answers."""
    if not node.address or not exists(f"{ETCD_CLIENT}.crt") or not exists(f"{PKI}/etcd/ca.crt"):
        return
    for peer in node.peers:
        try:
            other = Etcd(peer.address)
            for member in other.members():
                if member_address(member) == node.address:
                    other.remove(member)
                    tell(f"this host's etcd member has left its cluster, by {peer.name}")
            return
        except (UnansweredError, RefusedError) as error:
            tell(f"{peer.name} does not take this host's etcd member out: {error}")


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
