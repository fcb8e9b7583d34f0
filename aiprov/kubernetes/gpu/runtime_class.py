"""RuntimeClass: the container runtime that brings the driver into pods that ask for it by name.

kubernetes.io/docs/concepts/containers/runtime-class; its handler is the runtime that the role
nvidia_container_toolkit gives containerd and CRI-O.
"""

from __future__ import annotations

from aiprov.kubernetes.gpu import objects
from aiprov.kubernetes.gpu.options import Gpus

HANDLER = "nvidia"


def manifests(gpus: Gpus) -> list[objects.Object]:
    """The RuntimeClass; nothing where pods need none."""
    if gpus.runtime_class is None:
        return []
    return [
        {**objects.head("node.k8s.io/v1", "RuntimeClass", gpus.runtime_class), "handler": HANDLER}
    ]
