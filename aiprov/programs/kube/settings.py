"""What a node was last configured with, and what it is to be: labels, taints, and digests.

``applied.json`` keeps digests of the parts of kubeadm's configuration, so that a later change
shows, and the labels and taints that were set, so that those are taken away which are wanted no
longer.
"""

import hashlib
import json
import re
from typing import Any, Dict, List

from .cluster import Api, UnansweredError, said
from .host import FOLDER, INIT, Node, RefusedError, document, inside, read, tell, wait, write

APPLIED = f"{FOLDER}/applied.json"
ROLE_TAINTS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
CRI_SOCKET = "kubeadm.alpha.kubernetes.io/cri-socket"
DIGEST = "aiprov.io/kubelet-configuration"
TRY_S = 60
PLACEMENT = (
    *("cpuManagerPolicy", "cpuManagerPolicyOptions", "memoryManagerPolicy", "reservedMemory"),
    "reservedSystemCPUs",
)
PLACEMENT_FLAGS = ("--cpu-manager-policy=", "--reserved-cpus=")
RESERVED = ("kubeReserved", "systemReserved")
"""Of these the CPUs alone: memory that is kept by NUMA node is in ``reservedMemory``, too."""

Taint = Dict[str, str]


def documents(text: str) -> Dict[str, str]:
    """The documents of a file of YAML, by their kind."""
    found = {}
    for part in re.split(r"^---\s*$", text, flags=re.MULTILINE):
        kind = re.search(r"^kind: (\w+)", part, re.MULTILINE)
        if kind:
            found[kind.group(1)] = part.strip()
    return found


def section(text: str, key: str) -> str:
    """The lines of a top-level key."""
    found = re.search(rf"^{key}:.*\n(?:[ -].*\n?)*", text + "\n", re.MULTILINE)
    return found.group(0) if found else ""


def digests(node: Node) -> Dict[str, str]:
    """What the node is to be configured with, by part."""
    flags = node.more.get("kubelet_flags")
    parts = {
        "kubelet": str(node.more.get("kubelet_digest") or ""),
        "patches": "".join(
            f"{name}\n{read(f'/etc/kubernetes/patches/{name}')}"
            for name in inside("/etc/kubernetes/patches")
        ),
        "kubelet flags": json.dumps(flags, sort_keys=True) if flags else "",
    }
    if node.control_plane:
        whole = documents(read(INIT))
        cluster = whole.get("ClusterConfiguration", "")
        parts["control plane"] = re.sub(r"^kubernetesVersion:.*\n", "", cluster, flags=re.MULTILINE)
        parts["etcd"] = section(cluster, "etcd")
        files = node.more.get("control_plane_files") or []
        parts["control plane's files"] = "".join(f"{path}\n{read(path)}" for path in files)
    if node.first:
        parts["proxy"] = documents(read(INIT)).get("KubeProxyConfiguration", "")
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in parts.items() if text}


def placement() -> str:
    """By which settings of kubelet's its managers of CPUs and memory have made their state."""
    config = read("/var/lib/kubelet/config.yaml")
    words = read("/var/lib/kubelet/kubeadm-flags.env").replace('"', " ").split()
    parts = [section(config, key) for key in PLACEMENT]
    for key in RESERVED:
        parts += re.findall(r"^ +cpu:.*$", section(config, key), re.MULTILINE)
    parts += sorted(word for word in words if word.startswith(PLACEMENT_FLAGS))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def keep_record(node: Node) -> None:
    """Note that the node is configured as it is to be."""
    record = {
        "format_version": 1,
        "placement": placement(),
        "digests": digests(node),
        "labels": sorted(node.labels),
        "taints": [{"key": one["key"], "effect": one["effect"]} for one in wanted_taints(node)],
        "kubelet_flags": sorted(node.more.get("kubelet_flags") or {}),
    }
    write(APPLIED, json.dumps(record, indent=2) + "\n")


def changed(node: Node) -> List[str]:
    """The parts that are other than when the node was last configured."""
    before = document(APPLIED).get("digests") or {}
    now = digests(node)
    return [name for name in {**now, **before} if before.get(name) != now.get(name)]


# ---------------------------------------------------------------- the kubelets' configuration


def kubelet_config(node: Node) -> str:
    """The path of the ConfigMap with it: from 1.24 on it is named without the version."""
    suffix = f"-1.{node.minor}" if node.minor < 24 else ""
    return f"/api/v1/namespaces/kube-system/configmaps/kubelet-config{suffix}"


def is_published(node: Node, api: Api) -> bool:
    """Whether the cluster has the kubelets' configuration that this node is to take.

    Raises ``RefusedError`` where no API server says.
    """
    wanted = str(node.more.get("kubelet_digest") or "")
    if not wanted:
        return True
    status, found = api.answer(kubelet_config(node))
    if status not in (200, 404):
        raise RefusedError(f"{kubelet_config(node)} is answered with {status}: {said(found)}")
    annotations = found.get("metadata", {}).get("annotations") or {}
    return bool(annotations.get(DIGEST) == wanted)


def publish(node: Node, api: Api) -> None:
    """Note on the kubelets' configuration in the cluster which one it is. kubeadm drops the note.

    Raises ``RefusedError``.
    """
    wanted = str(node.more.get("kubelet_digest") or "")
    if node.first and wanted:
        body = {"metadata": {"annotations": {DIGEST: wanted}}}
        api.must(kubelet_config(node), "PATCH", body)


# ---------------------------------------------------------------- labels and taints


def wanted_taints(node: Node) -> List[Taint]:
    """The taints that the node is to have; a control plane that takes no work has its own."""
    taints = [dict(one) for one in node.more.get("taints") or []]
    if node.control_plane and not node.worker:
        key = ROLE_TAINTS[0] if node.minor >= 25 else ROLE_TAINTS[1]
        if not any(one["key"] == key for one in taints):
            taints.insert(0, {"key": key, "effect": "NoSchedule"})
    return taints


def label_changes(node: Node, found: Dict[str, Any]) -> Dict[str, Any]:
    """The labels to set, with None for those to take away."""
    has = found.get("metadata", {}).get("labels") or {}
    wanted = node.labels
    gone = [key for key in document(APPLIED).get("labels") or [] if key not in wanted]
    changes = {key: value for key, value in wanted.items() if has.get(key) != value}
    return {**changes, **{key: None for key in gone if key in has}}


def taints_after(node: Node, found: Dict[str, Any]) -> List[Taint]:
    """The taints as they should be: the wanted ones, and those that others set."""
    has = list(found.get("spec", {}).get("taints") or [])
    ours = {(one["key"], one["effect"]) for one in document(APPLIED).get("taints") or []}
    ours |= {(key, "NoSchedule") for key in ROLE_TAINTS}
    wanted = wanted_taints(node)
    ours |= {(one["key"], one["effect"]) for one in wanted}
    others = [one for one in has if (one["key"], one["effect"]) not in ours]
    kept = [one for one in has if any(_same(one, want) for want in wanted)]
    new = [want for want in wanted if not any(_same(one, want) for one in has)]
    return [*kept, *new, *others]


def _same(one: Taint, other: Taint) -> bool:
    return all((one.get(key) or "") == (other.get(key) or "") for key in ("key", "value", "effect"))


def drift(node: Node, found: Dict[str, Any]) -> List[str]:
    """How a Node's labels and taints are other than they should be."""
    lines = []
    has = found.get("metadata", {}).get("labels") or {}
    for key, value in sorted(label_changes(node, found).items()):
        if value is None:
            lines.append(f"the Node has the label {key}, which is wanted no longer")
        else:
            lines.append(f"the Node's label {key} is {has.get(key)!r}, not {value!r}")
    return [*lines, *taint_drift(node, found)]


def taint_drift(node: Node, found: Dict[str, Any]) -> List[str]:
    """How a Node's taints are other than they should be."""
    if not _differ(taints_after(node, found), found):
        return []
    names = ", ".join(f"{one['key']}:{one['effect']}" for one in wanted_taints(node))
    return [f"the Node's taints are not {names or 'none'}"]


def refuse_taints(node: Node, api: Api) -> None:
    """Raise ``RefusedError`` for taints that are to change: a kubelet may not change its own.

    Source: kubernetes.io admission-controllers, NodeRestriction (read 2026-11-21).
    """
    found = api.node(node.name)
    after, has = taints_after(node, found), list(found.get("spec", {}).get("taints") or [])
    kept = {(one["key"], one["effect"]) for one in after}
    new = [one for one in after if not any(_same(one, other) for other in has)]
    words = [f"{one['key']}={one.get('value') or ''}:{one['effect']}" for one in new]
    gone = [one for one in has if (one["key"], one["effect"]) not in kept]
    words += [f"{one['key']}:{one['effect']}-" for one in gone]
    if words:
        raise RefusedError(
            f"{'; '.join(taint_drift(node, found))}, and a kubelet may not change its own",
            f"kubectl taint node {node.name} --overwrite {' '.join(words)}; then run aiprov again",
        )


def _differ(after: List[Taint], found: Dict[str, Any]) -> bool:
    has = list(found.get("spec", {}).get("taints") or [])
    return len(has) != len(after) or any(not any(_same(a, b) for b in has) for a in after)


def settle(node: Node, api: Api) -> None:
    """Give the Node its labels and taints. Raises ``RefusedError``.

    On workers ``api`` is asked as the kubelet, which may set labels and no taints: those it
    registers with (see ``refuse_taints``).
    """

    def set_all() -> bool:
        found = api.node(node.name)
        if not found:
            return False  # the kubelet is about to register it
        lines = drift(node, found)
        if not node.control_plane:
            lines = [line for line in lines if line not in taint_drift(node, found)]
        metadata: Dict[str, Any] = {"resourceVersion": found["metadata"]["resourceVersion"]}
        body: Dict[str, Any] = {"metadata": metadata}
        annotations = found["metadata"].get("annotations") or {}
        if needs_socket(node, annotations):
            # kubeadm sets it at the end of a join; a later upgrade asks for it.
            metadata["annotations"] = {CRI_SOCKET: node.cri_socket}
        elif not lines:
            return True
        for line in lines:
            tell(f"set right: {line}")
        metadata["labels"] = label_changes(node, found)
        if node.control_plane:
            body["spec"] = {"taints": taints_after(node, found)}
        try:
            status, answer = api.ask(f"/api/v1/nodes/{node.name}", "PATCH", body)
        except UnansweredError:
            return False
        if status in (409, 429) or status >= 500:
            return False
        if status >= 300:
            raise RefusedError(
                f"the Node {node.name} cannot be changed ({status}): {answer.get('message')}",
                "labels of kubernetes.io that kubelets may not set are for control planes only",
            )
        return True

    what = f"the Node {node.name} to take its labels and taints"
    if not wait(set_all, what, min(TRY_S + api.patience, node.wait_s)):
        raise RefusedError(
            f"the Node {node.name} does not take its labels and taints",
            "it is not there, or others change it all the time: kubectl describe node tells",
        )


def needs_socket(node: Node, annotations: Dict[str, str]) -> bool:
    """Whether the Node lacks the runtime's socket, which newer kubeadms keep in a file."""
    in_file = "instance-config.yaml" in inside("/var/lib/kubelet")
    return CRI_SOCKET not in annotations and not in_file
