"""Stopping what kubelet runs: the kubelet, its pods, and what it mounted for them.

kubeadm reset deletes the folder of kubelet even where something is still mounted in it, and so the
data there: what cannot be unmounted is told before, and nothing is deleted.
"""

import os
from typing import List

from .host import (
    ADMIN,
    Node,
    RefusedError,
    kubeadm,
    last_line,
    place,
    read,
    remove,
    run,
    tell,
    wait,
)

FOLDER = "/var/lib/kubelet"
RUNTIME_S = 120
RESET_S = 300
UNMOUNT_S = 20


def socket_of(node: Node) -> str:
    """The runtime's socket as kubeadm and crictl want it: as a URL from 1.24 on."""
    path = node.cri_socket.replace("unix://", "")
    return path if node.minor < 24 else f"unix://{path}"


def stop(node: Node) -> None:
    """Stop the kubelet and all pods, and unmount what they had. Raises ``RefusedError``."""
    if run(["systemctl", "is-active", "--quiet", "kubelet"])[0] == 0:
        tell("stop the kubelet")
        status, _, wrong = run(["systemctl", "stop", "kubelet"], RUNTIME_S)
        if status != 0:
            raise RefusedError(
                f"the kubelet does not stop: {last_line(wrong) or status}",
                "journalctl -u kubelet tells why",
            )
    remove_pods(node)
    unmount(min(UNMOUNT_S, node.wait_s))


def kubeadm_reset(node: Node, *words: str) -> None:
    """What kubeadm does to undo itself, without asking any cluster.

    Without a kubeconfig to name it may take root's own, which may be another cluster's; the one
    named is gone, so that no API server is waited for.
    """
    remove(ADMIN)
    socket = ("--cri-socket", socket_of(node))
    kubeadm("reset", "--force", "--kubeconfig", ADMIN, *socket, *words, timeout=RESET_S)


def remove_pods(node: Node) -> None:
    """Remove all pods that the runtime has for Kubernetes; other containers stay."""
    if not os.path.exists(place(node.cri_socket.replace("unix://", ""))):
        tell("no container runtime runs here: no pods are removed")
        return
    crictl = ["crictl", "-r", socket_of(node)]
    left: List[str] = []
    trouble: List[str] = []

    def gone() -> bool:
        status, said, wrong = run([*crictl, "pods", "-q"])
        trouble[:] = [last_line(wrong or said) or str(status)] if status != 0 else []
        if trouble:
            return False
        left[:] = said.split()
        for pod in left:
            tell(f"remove the pod {pod[:13]}")
            run([*crictl, "stopp", pod], RUNTIME_S)
            if run([*crictl, "rmp", pod], RUNTIME_S)[0] != 0:
                run([*crictl, "rmp", "-f", pod], RUNTIME_S)
        return not left

    removed = wait(gone, "all pods to be removed", min(RUNTIME_S, node.wait_s))
    if trouble:
        raise RefusedError(
            f"the pods cannot be listed: {trouble[0]}",
            "systemctl status containerd crio tells why the runtime does not answer",
        )
    if not removed:
        raise RefusedError(
            f"pods cannot be removed: {', '.join(pod[:13] for pod in left)}",
            "crictl pods and the runtime's log tell why",
        )


def mounts() -> List[str]:
    """What is mounted below kubelet's folder, the innermost first."""
    points = [line.split()[1] for line in read("/proc/mounts").splitlines() if line.split()[1:]]
    below = [point for point in points if point.startswith(f"{FOLDER}/")]
    return sorted(below, key=lambda point: point.count("/"), reverse=True)


def unmount(wait_s: float) -> None:
    """Unmount what is mounted below kubelet's folder. Raises ``RefusedError`` for what stays."""

    def none_left() -> bool:
        for point in mounts():
            run(["umount", point.replace("\\040", " ")])
        return not mounts()

    if not wait(none_left, "kubelet's mounts to be free", wait_s):
        raise RefusedError(
            f"still in use, so nothing is deleted: {', '.join(mounts())}",
            "end what has files open there (fuser -vm PATH), then run aiprov again",
        )
