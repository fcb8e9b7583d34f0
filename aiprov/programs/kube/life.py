"""A node over its life: whether it is configured and of the version that it should be.

    kube-life configured   0: it is; 1: what was changed or is other; 2: it cannot be told
    kube-life configure    makes it so
    kube-life upgraded     0: it is of its version; 1: what is not; 2: it cannot be told
    kube-life upgrade      makes it so; kubeadm and kubelet have to be of that version

Of a host that has not joined there is nothing to say: joining makes it all of this. Control planes
take turns, each waits until all of them are well.
"""

from typing import Callable, Dict, List

from . import kubelet, settings, upgrading
from .cluster import Api
from .host import (
    ADMIN,
    COMPONENTS,
    FOLDER,
    INIT,
    KUBELET,
    PKI,
    STARTED,
    Node,
    RefusedError,
    alone,
    document,
    exists,
    kubeadm,
    main,
    remove,
    tell,
)
from .kubectl import phase
from .members import wait_until_well
from .standing import by_file
from .static_pods import followed, start, stop
from .turn import turn

NO_PROXY = "addon/kube-proxy"


def is_member(node: Node) -> bool:
    """Whether this host has joined, and not by half."""
    return exists(KUBELET) and not document(STARTED)


def ask(reasons: Callable[[Node], List[str]]) -> Callable[[Node], int]:
    """A verb that tells the reasons why something is not so."""

    def verb(node: Node) -> int:
        found = reasons(node) if is_member(node) else []
        for reason in found:
            tell(reason)
        return int(bool(found))

    return verb


# ---------------------------------------------------------------- configuration


def unconfigured(node: Node, patient: bool = False) -> List[str]:
    """What was changed since the node was last configured, and what is other in the cluster.

    Raises ``RefusedError`` where nothing was changed here, and no API server says the rest.
    ``patient``: what nobody says is asked for again, unless something was changed here anyway.
    """
    lines = [f"{name} of the configuration: changed" for name in settings.changed(node)]
    try:
        api = by_file(KUBELET, node, patient=patient and not lines)
        lines += settings.drift(node, api.node(node.name))
        if node.first and not settings.is_published(node, api):
            lines.append("the cluster does not show which kubelet configuration it has")
    except RefusedError:
        if not lines:
            raise
    return lines


def configure(node: Node) -> int:
    """Make it so."""
    with alone(node.wait_s):
        if not is_member(node) or not unconfigured(node, patient=True):
            return 0
        changed = settings.changed(node)
        if node.control_plane:
            api = by_file(ADMIN, node)
            if not node.first and {"kubelet", "patches"} & set(changed):
                kubelet.wait_until_published(node, api)  # before the turn: the first needs it
            with turn(api, node.name, node.wait_s):
                configure_control_plane(node, api, changed)
                kubelet.configure(node, api, changed)
                settings.settle(node, api)
                wait_until_well(node, api)
        else:
            api = by_file(KUBELET, node)
            kubelet.configure(node, api, changed)
            settings.settle(node, api)
            settings.refuse_taints(node, api)
        settings.keep_record(node)
    return 0


def configure_control_plane(node: Node, api: Api, changed: List[str]) -> None:
    """Bring the cluster's own record, and this host's static pods, to what they should be."""
    there = upgrading.recorded(api)
    if there != node.version:
        raise RefusedError(
            f"the cluster is of version {there}, not {node.version}: it is not configured as such",
            "upgrade it first: kube-life upgrade, as aiprov cluster upgrade does",
        )
    if node.first:
        if {"control plane", "kubelet", "proxy"} & set(changed) or not settings.is_published(
            node, api
        ):
            phase("init", "phase", "upload-config", "all", "--config", INIT)
            settings.publish(node, api)
        if "proxy" in changed and NO_PROXY not in (node.more.get("skip_phases") or []):
            phase("init", "phase", "addon", "kube-proxy", "--config", INIT)
    if "control plane" in changed:
        # The names in it may be others now; without the file kubeadm makes a new one.
        remove(f"{PKI}/apiserver.crt")
        remove(f"{PKI}/apiserver.key")
        kubeadm("init", "phase", "certs", "apiserver", "--config", INIT)
        with followed(node, api, COMPONENTS[1:]):
            kubeadm("init", "phase", "control-plane", "all", "--config", INIT)
    if "etcd" in changed:
        with followed(node, api, COMPONENTS[:1]):
            kubeadm("init", "phase", "etcd", "local", "--config", INIT)
    if "control plane's files" in changed:
        stop(["kube-apiserver"])
        start(node, ["kube-apiserver"])
    wait_until_well(node, api)


# ---------------------------------------------------------------- versions


def upgrade(node: Node) -> int:
    """Make it of its version."""
    with alone(node.wait_s):
        if not is_member(node) or not upgrading.outdated(node, patient=True):
            return 0
        upgrading.refuse_packages(node)
        if node.control_plane:
            api = by_file(ADMIN, node)
            with turn(api, node.name, node.wait_s):
                upgrading.upgrade_control_plane(node, api)
        else:
            upgrading.upgrade_worker(node, by_file(KUBELET, node))
    return 0


VERBS: Dict[str, Callable[[Node], int]] = {
    "configured": ask(unconfigured),
    "configure": configure,
    "upgraded": ask(upgrading.outdated),
    "upgrade": upgrade,
}


def run(words: List[str]) -> int:
    """Run a verb."""
    if words in (["configured"], ["upgraded"]) and not exists(f"{FOLDER}/node.json"):
        return 0
    return main("kube-life", VERBS, words)
