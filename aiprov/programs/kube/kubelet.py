"""This host's kubelet: its configuration and its flags, changed while it is a node."""

import re
from typing import Dict, List

from . import settings
from .cluster import Api
from .host import Node, RefusedError, document, must, read, remove, tell, wait, write
from .kubectl import phase
from .standing import lacks

FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
STATES = ("/var/lib/kubelet/cpu_manager_state", "/var/lib/kubelet/memory_manager_state")
_WORDS = re.compile(r'^KUBELET_KUBEADM_ARGS="?([^"\n]*)"?$', re.MULTILINE)


def configure(node: Node, api: Api, changed: List[str]) -> None:
    """Bring the kubelet to what is changed, and wait until it works with it."""
    concerned = {"kubelet", "patches", "kubelet flags"} & set(changed)
    if not concerned:
        return
    if concerned & {"kubelet", "patches"}:
        wait_until_published(node, api)
        take_configuration(node)
    if "kubelet flags" in concerned:
        write_flags(node)
    restart(node)


def wait_until_published(node: Node, api: Api) -> None:
    """The first control plane gives the cluster its configuration, which the others wait for."""
    what = "the first control plane to give the cluster the kubelets' configuration"
    trouble: List[str] = []

    def published() -> bool:
        del trouble[:]
        try:
            return settings.is_published(node, api)
        except RefusedError as error:
            trouble.append(str(error))
            return False

    if not wait(published, what, node.wait_s):
        raise RefusedError(
            f"the kubelets' configuration in the cluster is not the wanted one after "
            f"{node.wait_s:g} s{''.join(f': {one}' for one in trouble)}",
            "the first control plane gives it: run aiprov for that host too, and see what it says",
        )


def take_configuration(node: Node) -> None:
    """Write the kubelet's configuration as the cluster has it, with this node's patches."""
    patches = node.more.get("patches")
    flag = ["--patches", str(patches)] if patches else []
    phase("upgrade", "node", "phase", "kubelet-config", *flag)


def restart(node: Node) -> None:
    """Restart the kubelet, and wait until the node is a working member again."""
    tell("restart the kubelet")
    must(["systemctl", "daemon-reload"])
    before = document(settings.APPLIED).get("placement")
    if before and before != settings.placement():
        # A kubelet does not start with state that other settings have made, and makes it anew.
        # Source: kubernetes.io cpu-management-policies, memory-manager (read 2026-11-21).
        tell("CPUs and memory are given to pods by other settings: what is given is found anew")
        must(["systemctl", "stop", "kubelet"], hint="journalctl -u kubelet tells why")
        for path in STATES:
            remove(path)
    must(["systemctl", "restart", "kubelet"], hint="journalctl -u kubelet tells why")
    if not wait(lambda: not lacks(node), "the kubelet to work again", node.wait_s):
        raise RefusedError(
            f"the kubelet does not work as it is configured: {'; '.join(lacks(node))}",
            "journalctl -u kubelet tells why; with the settings put right, run aiprov again",
        )


def write_flags(node: Node) -> None:
    """Set the flags that this node's kubelet is to have; those it was given before go."""
    wanted: Dict[str, object] = dict(node.more.get("kubelet_flags") or {})
    before = document(settings.APPLIED).get("kubelet_flags") or []
    found = _WORDS.search(read(FLAGS))
    words = found.group(1).split() if found else []
    ours = {*wanted, *before}
    kept = [word for word in words if word.lstrip("-").partition("=")[0] not in ours]
    for name, value in sorted(wanted.items()):
        values = value if isinstance(value, list) else [value]
        kept += [f"--{name}={one}" for one in values]
    write(FLAGS, 'KUBELET_KUBEADM_ARGS="{}"\n'.format(" ".join(kept)))
