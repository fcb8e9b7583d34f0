"""A node brought to another version of Kubernetes, as kubeadm does it.

The first control plane in turn whose cluster is of an older version upgrades the cluster, the
others follow, workers after all of them. What was cut off is done again: kubeadm may be.
"""

import re
from typing import List

from . import kubectl, kubelet, settings
from .cluster import Api, is_ready
from .host import (
    FOLDER,
    KUBELET,
    MANIFESTS,
    Node,
    PassingError,
    RefusedError,
    exists,
    minor,
    must,
    read,
    remove,
    tell,
    wait,
    write,
)
from .members import wait_until_well
from .standing import by_file

UPGRADE_S = 1800
"""For kubeadm's upgrade, which waits for each component of a control plane."""

UNDER_WAY = f"{FOLDER}/upgrading.json"
"""There while ``kubeadm upgrade apply`` is under way, whose last steps leave no trace."""

CONFIG = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
OWN = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def version(text: str) -> str:
    """The version in an answer: ``1.36.4`` of ``Kubernetes v1.36.4``."""
    found = re.search(r"v?(\d+\.\d+\.\d+)", text)
    return found.group(1) if found else text.strip()


def parts(text: str) -> List[int]:
    """A version by its numbers, as versions are compared."""
    return [int(part) for part in text.split(".")]


def older(one: str, other: str) -> bool:
    """Whether a version is before another."""
    return parts(one) < parts(other)


def recorded(api: Api) -> str:
    """The version that the cluster says it has. Raises ``RefusedError``."""
    text = str(api.must(CONFIG).get("data", {}).get("ClusterConfiguration") or "")
    found = re.search(r"^kubernetesVersion:\s*[\"']?v?([0-9.]+)", text, re.MULTILINE)
    if not found:
        raise RefusedError(
            "the cluster's ConfigMap kubeadm-config has no version",
            "was the cluster made by kubeadm? kubectl -n kube-system get cm kubeadm-config",
        )
    return found.group(1)


# ---------------------------------------------------------------- the question


def outdated(node: Node, patient: bool = False) -> List[str]:
    """What of this node is of another version than it should be.

    Raises ``RefusedError`` where all on this host is of it, and no API server tells what runs.
    ``patient``: what nobody tells is asked for again, unless something here is not of it anyway.
    """
    lines = []
    if exists(UNDER_WAY):
        lines.append("kubeadm upgrade was cut off")
    found = version(must(["kubelet", "--version"]))
    if found != node.version:
        lines.append(f"kubelet is of version {found}, not {node.version}")
    for name in OWN if node.control_plane else ():
        image = image_version(name)
        if image != node.version:
            lines.append(f"{name} is of version {image or 'unknown'}, not {node.version}")
    try:
        running = running_kubelet(by_file(KUBELET, node, patient=patient and not lines), node.name)
    except RefusedError:
        if not lines:
            raise
        return lines
    if running and running not in (node.version, found):
        lines.append(f"the kubelet that runs is of version {running}, not {node.version}")
    return lines


def image_version(name: str) -> str:
    """The version of a static pod, by its image's tag."""
    found = re.search(
        r"^\s*(?:- )?image:\s*\S+:v?(\d+\.\d+\.\d+)", read(f"{MANIFESTS}/{name}.yaml"), re.M
    )
    return found.group(1) if found else ""


def running_kubelet(api: Api, name: str) -> str:
    """The version that the kubelet has told the cluster; empty where it has told none.

    Raises ``RefusedError`` where no API server says.
    """
    told = api.node(name).get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")
    return version(told) if told else ""


# ---------------------------------------------------------------- doing it


def refuse_packages(node: Node) -> None:
    """Raise ``RefusedError`` where kubeadm or kubelet is not of the wanted version."""
    for argv in (["kubeadm", "version", "--output", "short"], ["kubelet", "--version"]):
        found = version(must(argv))
        if found != node.version:
            raise RefusedError(
                f"{argv[0]} is of version {found}, not {node.version}",
                "run aiprov for this host: it installs the packages first",
            )


def refuse_step(node: Node, there: str) -> None:
    """Raise ``RefusedError`` where kubeadm does not go from the cluster's version to the wanted."""
    if older(node.version, there):
        raise RefusedError(
            f"the cluster is of version {there}, and does not go back to {node.version}",
            f"set kubernetes_version to {there} or later",
        )
    if node.minor - minor(there) > 1:
        raise RefusedError(
            f"the cluster is of version {there}: {node.version} is more than one minor version on",
            f"upgrade to 1.{minor(there) + 1} first (aiprov cluster upgrade goes minor by minor)",
        )


def upgrade_control_plane(node: Node, api: Api) -> None:
    """Upgrade the cluster, or follow it; this host has the turn."""
    there = recorded(api)
    refuse_step(node, there)
    wait_until_well(node, api)
    if older(there, node.version) or exists(UNDER_WAY):
        write(UNDER_WAY, f'{{"to": "{node.version}"}}\n')
        by_kubeadm(node, api, "apply", f"v{node.version}", "--yes")
        settings.publish(node, api)
        remove(UNDER_WAY)
    elif any(image_version(name) != node.version for name in OWN):
        by_kubeadm(node, api, "node")
    else:
        kubelet.take_configuration(node)
    end(node, api)
    wait_until_well(node, api)


def by_kubeadm(node: Node, api: Api, *words: str) -> None:
    """Let kubeadm upgrade, and once more where it got no answer: it asks for less than a second."""
    argv = ["upgrade", *words, *flags(node)]
    try:
        kubectl.kubeadm(*argv, timeout=UPGRADE_S)
    except PassingError as error:
        tell(f"once more: {error}")
        api.node(node.name)
        kubectl.kubeadm(*argv, timeout=UPGRADE_S)


def flags(node: Node) -> List[str]:
    """The flags of ``kubeadm upgrade``."""
    patches = node.more.get("patches")
    left_out = list(node.more.get("ignore_preflight_errors") or [])
    if {"addon", "addon/coredns"} & set(node.more.get("skip_phases") or []):
        # kubeadm looks how the Corefile would be carried over, and fails where there is none.
        left_out += ["CoreDNSMigration", "CoreDNSUnsupportedPlugins"]
    ignored = ",".join(left_out)
    return [
        "--etcd-upgrade=true",
        *(["--patches", str(patches)] if patches else []),
        *([f"--ignore-preflight-errors={ignored}"] if ignored else []),
    ]


def upgrade_worker(node: Node, api: Api) -> None:
    """Follow the control planes: a kubelet is never newer than they are."""

    there = [""]

    def control_planes_are() -> bool:
        try:
            there[0] = min(recorded(api), api.version(), key=parts)
        except RefusedError as error:
            there[0] = f"unknown ({error})"
        return there[0] == node.version

    if not wait(
        control_planes_are, f"the control planes to be of version {node.version}", node.wait_s
    ):
        raise RefusedError(
            f"the cluster is of version {there[0]}, and this host's kubelet of {node.version}",
            "upgrade the control planes first: aiprov cluster upgrade does so",
        )
    by_kubeadm(node, api, "node")
    end(node, api)


def end(node: Node, api: Api) -> None:
    """Restart the kubelet, and wait until the cluster sees the node Ready at its version."""
    kubelet.restart(node)

    def seen() -> bool:
        try:
            found = api.node(node.name)
        except RefusedError as error:
            tell(str(error))
            return False
        told = found.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")
        return version(told) == node.version and is_ready(found)

    if not wait(seen, f"the Node {node.name} to be Ready at {node.version}", node.wait_s):
        raise RefusedError(
            f"the Node {node.name} is not Ready at version {node.version}",
            "journalctl -u kubelet and kubectl describe node tell why; then run aiprov again",
        )
