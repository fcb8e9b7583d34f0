"""A pod that asks for GPUs, runs one command and ends: whether GPUs get into pods.

kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus (read 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RESOURCE = "nvidia.com/gpu"


def gpu_pod(
    name: str,
    image: str,
    command: Sequence[str],
    *,
    namespace: str = "default",
    resource: str = RESOURCE,
    count: int = 1,
    runtime_class: str | None = "nvidia",
    node_selector: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The pod. ``resource``: of which it gets ``count``; extended resources have limits alone.

    It has no rights of its own, so that it is let in where Pod Security is ``restricted``.
    """
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [{"key": RESOURCE, "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [
            {
                "name": "gpu",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": list(command),
                "resources": {"limits": {resource: count}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    if runtime_class is not None:
        spec["runtimeClassName"] = runtime_class
    if node_selector:
        spec["nodeSelector"] = dict(node_selector)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
