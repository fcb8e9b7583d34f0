"""What a host has to be before it joins: asked before anything is touched."""

import os
import re
import socket
import time
from typing import Dict, List, Tuple

from .cluster import Credential, validity
from .host import PKI, Node, RefusedError, inside, must, place, read
from .standing import moment

Wrong = Tuple[str, str]
"""What is wrong, and the way out."""


def refuse_unfit(node: Node, who: Credential, ours: bool) -> None:
    """Raise ``RefusedError`` with all that keeps this host from joining.

    ``ours``: a run of this program was cut off, whose own processes may hold the ports.
    """
    wrong = [*_memory(node), *_kernel(node), *_runtime(node), *_versions(node)]
    wrong += _credential(node, who)
    if not ours:
        wrong += ports(node)
    refuse(wrong)


def refuse(wrong: List[Wrong]) -> None:
    """Raise ``RefusedError`` with all of what is wrong, if anything is."""
    if wrong:
        ways = list(dict.fromkeys(way for _, way in wrong if way))
        raise RefusedError("; ".join(what for what, _ in wrong), "; ".join(ways))


def _memory(node: Node) -> List[Wrong]:
    swaps = [line.split()[0] for line in read("/proc/swaps").splitlines()[1:] if line.split()]
    if not swaps or not node.more.get("swap_refused"):
        return []
    return [
        (
            f"swap is on: {', '.join(swaps)}",
            "swapoff --all, and take it out of /etc/fstab (or let kubelet have swap: "
            "kubernetes_kubelet.swap)",
        )
    ]


def _kernel(node: Node) -> List[Wrong]:
    modules = list(node.more.get("modules") or [])
    built_in = read(f"/lib/modules/{os.uname().release}/modules.builtin")
    wrong: List[Wrong] = []
    for name in modules:
        plain = name.replace("-", "_")
        file = re.compile(rf"/{re.escape(plain).replace('_', '[-_]')}\.ko", re.MULTILINE)
        if not os.path.isdir(place(f"/sys/module/{plain}")) and not file.search(built_in):
            wrong.append((f"the kernel module {name} is not loaded", f"modprobe {name}"))
    six = ":" in node.address
    needed = {"net/ipv6/conf/default/forwarding" if six else "net/ipv4/ip_forward": "1"}
    if "br_netfilter" in modules:
        needed[f"net/bridge/bridge-nf-call-ip{'6' if six else ''}tables"] = "1"
    for path, value in needed.items():
        found = read(f"/proc/sys/{path}").strip()
        if found != value:
            name = path.replace("/", ".")
            wrong.append(
                (f"{name} is {found or 'not there'}, not {value}", f"sysctl -w {name}={value}")
            )
    return wrong


def _runtime(node: Node) -> List[Wrong]:
    path = node.cri_socket.replace("unix://", "")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        try:
            client.connect(place(path))
        except OSError as error:
            return [
                (
                    f"no container runtime answers at {path}: {error.strerror or error}",
                    "systemctl status containerd crio tells why",
                )
            ]
    return []


def _versions(node: Node) -> List[Wrong]:
    found = must(["kubeadm", "version", "--output", "short"]).strip().lstrip("v")
    if found.partition("-")[0] == node.version:
        return []
    return [
        (
            f"kubeadm is of version {found}, not {node.version}",
            "run aiprov apply for this host: it installs the version",
        )
    ]


def _credential(node: Node, who: Credential) -> List[Wrong]:
    again = "run aiprov again: it makes a new credential"
    try:
        begin, end = validity(who.certificate)
    except (ValueError, IndexError):
        return [("the credential holds no certificate", again)]
    now = time.time()
    if now > end:
        return [(f"the credential ended at {moment(end)}", again)]
    if now + 300 < begin:
        return [
            (
                f"the credential begins at {moment(begin)}, and this host's clock says "
                f"{moment(now)}",
                "set the clock (timedatectl), then run aiprov again",
            )
        ]
    own = read(f"{PKI}/ca.crt")
    if node.control_plane and "".join(own.split()) != "".join(who.ca.split()):
        return [
            (
                f"the credential is of another cluster than {PKI}/ca.crt",
                "run aiprov apply for this host with one secrets file",
            )
        ]
    return []


def ports(node: Node) -> List[Wrong]:
    """The ports that are taken, of those that the node needs."""
    needed = {10250: "kubelet"}
    if node.control_plane:
        needed.update({node.api_port: "kube-apiserver", 2379: "etcd", 2380: "etcd"})
        needed.update({10257: "kube-controller-manager", 10259: "kube-scheduler"})
    wrong = []
    for port, inode in sorted(_listening(list(needed)).items()):
        by = _owner(inode)
        wrong.append(
            (
                f"port {port}, which {needed[port]} needs, is taken{by}",
                "stop what listens there (ss -ltnp), or remove an earlier Kubernetes: "
                "aiprov cluster reset -l HOST",
            )
        )
    return wrong


def _listening(wanted: List[int]) -> Dict[int, str]:
    """The ports of these that are listened on, and the number of the socket that does."""
    found: Dict[int, str] = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in read(path).splitlines()[1:]:
            words = line.split()
            port = int(words[1].rpartition(":")[2], 16)
            if words[3] == "0A" and port in wanted:
                found[port] = words[9]
    return found


def _owner(inode: str) -> str:
    """The process that has a socket open, as far as it is to be seen."""
    for pid in inside("/proc"):
        if not pid.isdigit():
            continue
        try:
            held = [os.readlink(place(f"/proc/{pid}/fd/{fd}")) for fd in inside(f"/proc/{pid}/fd")]
        except OSError:
            continue  # it ended meanwhile, or is the kernel's
        if f"socket:[{inode}]" in held:
            return f" by {read(f'/proc/{pid}/comm').strip()} (process {pid})"
    return ""
