"""One GPU for several containers: time slicing, and the daemon of CUDA's multi-process service.

github.com/NVIDIA/k8s-device-plugin v0.20.0: README.md (Shared Access to GPUs), api/config/v1,
deployments/helm/nvidia-device-plugin/templates/daemonset-mps-control-daemon.yml (2026-08-19).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiprov.kubernetes.gpu import objects
from aiprov.kubernetes.gpu.options import Gpus

NAME = "nvidia-mps-control-daemon"
CAPABLE = "nvidia.com/mps.capable"
"""The label of nodes that the daemon runs on."""


def config(gpus: Gpus) -> dict[str, Any]:
    """The part ``sharing`` of the device plugin's configuration; empty where GPUs are not shared.

    MPS refuses requests for several replicas unless it is told otherwise.
    """
    sharing = gpus.sharing
    if sharing is None:
        return {}
    resources = [{"name": one.name, "replicas": one.replicas} for one in sharing.resources]
    shared = {
        "renameByDefault": sharing.rename,
        "failRequestsGreaterThanOne": sharing.refuse_several,
        "resources": resources,
    }
    return {"timeSlicing" if sharing.by == "time-slicing" else "mps": shared}


def volumes(gpus: Gpus) -> list[objects.Object]:
    """What daemon and plugin share: the pipes of each resource, and memory of their own."""
    return [
        objects.host_folder("mps-root", gpus.mps_root, "DirectoryOrCreate"),
        {"name": "mps-shm", "hostPath": {"path": f"{gpus.mps_root}/shm"}},
    ]


def mounts() -> list[objects.Object]:
    """Where a container has them."""
    return [
        {"name": "mps-shm", "mountPath": "/dev/shm"},  # noqa: S108  a mount, not a file
        {"name": "mps-root", "mountPath": "/mps"},
    ]


def manifests(
    gpus: Gpus, image: str, config_volume: objects.Object, annotations: Mapping[str, str]
) -> list[objects.Object]:
    """The daemon's DaemonSet; nothing unless GPUs are shared by MPS."""
    if gpus.sharing is None or gpus.sharing.by != "mps":
        return []
    return [
        objects.daemon_set(
            gpus,
            NAME,
            annotations=annotations,
            node_selector={CAPABLE: "true"},
            automountServiceAccountToken=False,
            hostPID=True,  # a server of MPS finds its own process id under /proc
            initContainers=[
                {
                    "name": "mount-shm",
                    "image": image,
                    "command": ["mps-control-daemon", "mount-shm"],
                    "securityContext": {"privileged": True},
                    "volumeMounts": [
                        {
                            "name": "mps-root",
                            "mountPath": "/mps",
                            "mountPropagation": "Bidirectional",
                        }
                    ],
                }
            ],
            containers=[_container(image)],
            volumes=[*volumes(gpus), config_volume],
        )
    ]


def _container(image: str) -> objects.Object:
    return {
        "name": "mps-control-daemon",
        "image": image,
        "command": ["mps-control-daemon"],
        "env": [
            objects.of_pod("NODE_NAME", "spec.nodeName"),
            objects.variable("CONFIG_FILE", "/config/config.yaml"),
            objects.variable("NVIDIA_VISIBLE_DEVICES", "all"),
            objects.variable("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
        ],
        "securityContext": {"privileged": True},
        "volumeMounts": [*mounts(), {"name": "config", "mountPath": "/config", "readOnly": True}],
    }
