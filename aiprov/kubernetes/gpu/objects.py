"""What objects have in common: names, labels, namespaces, the pods that run on every GPU node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiprov.kubernetes.gpu.options import Gpus

ADDON = "gpu"
PRESENT = "nvidia.com/gpu.present"
"""The label by which pods find GPU nodes: the catalog's word, or that of whoever labels nodes."""

TOLERATIONS: tuple[Mapping[str, str], ...] = (
    {"key": "CriticalAddonsOnly", "operator": "Exists"},
    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
)
"""As in NVIDIA's chart (k8s-device-plugin v0.20.0, values.yaml)."""

Object = dict[str, Any]


def labels(name: str) -> dict[str, str]:
    """The labels of one of the add-on's objects: by them kube-admin finds those that are gone."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/managed-by": "aiprov",
        "aiprov.io/addon": ADDON,
    }


def head(api: str, kind: str, name: str, namespace: str | None = None) -> Object:
    """What an object begins with."""
    place = {} if namespace is None else {"namespace": namespace}
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, **place, "labels": labels(name)},
    }


def namespace(name: str) -> Object:
    """A namespace of what runs on GPU nodes. It may do what Pod Security keeps from users' pods.

    kubernetes.io/docs/concepts/security/pod-security-admission
    """
    made = head("v1", "Namespace", name)
    made["metadata"]["labels"] |= {
        f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")
    }
    return made


def image(gpus: Gpus, name: str) -> str:
    """An image, from the mirror where there is one: under its own path, without its registry."""
    if gpus.registry is None:
        return name
    return f"{gpus.registry}/{name.partition('/')[2]}"


def variable(name: str, value: str) -> Object:
    """A variable of a container."""
    return {"name": name, "value": value}


def of_pod(name: str, path: str) -> Object:
    """A variable of a container that says something of its pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def host_folder(name: str, path: str, kind: str = "Directory") -> Object:
    """A volume that is a folder of the host."""
    return {"name": name, "hostPath": {"path": path, "type": kind}}


def daemon_set(
    gpus: Gpus,
    name: str,
    *,
    containers: Sequence[Object],
    volumes: Sequence[Object],
    annotations: Mapping[str, str],
    node_selector: Mapping[str, str] | None = None,
    **pod: Any,
) -> Object:
    """A DaemonSet on the nodes that have GPUs. ``pod``: more of its pods' spec."""
    runtime = {} if gpus.runtime_class is None else {"runtimeClassName": gpus.runtime_class}
    selector = {"app.kubernetes.io/name": name}
    return {
        **head("apps/v1", "DaemonSet", name, gpus.namespace),
        "spec": {
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": selector, "annotations": dict(annotations)},
                "spec": {
                    "priorityClassName": "system-node-critical",
                    **runtime,
                    "nodeSelector": {PRESENT: "true", **(node_selector or {})},
                    "tolerations": [dict(one) for one in TOLERATIONS],
                    **pod,
                    "containers": list(containers),
                    "volumes": list(volumes),
                },
            },
        },
    }
