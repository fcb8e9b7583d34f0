"""NVIDIA's GPU operator, told that driver, container toolkit and MIG layouts are the host's.

docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/getting-started.html (pre-installed
driver and toolkit); github.com/NVIDIA/gpu-operator v26.7.0, deployments/gpu-operator/values.yaml.
"""

from __future__ import annotations

from typing import Any

from aiprov.kubernetes.charts import Chart
from aiprov.kubernetes.gpu import chart_rows, feature_discovery, objects, sharing
from aiprov.kubernetes.gpu.options import Gpus
from aiprov.kubernetes.kubelet import dumped

CHART = "gpu-operator"
SHARED = "aiprov-device-plugin"

_IMAGES = {
    "operator": "nvcr.io/nvidia",
    "validator": "nvcr.io/nvidia",
    "devicePlugin": "nvcr.io/nvidia",
    "gfd": "nvcr.io/nvidia",
    "dcgm": "nvcr.io/nvidia/cloud-native",
    "dcgmExporter": "nvcr.io/nvidia/k8s",
    "nodeStatusExporter": "nvcr.io/nvidia",
}
"""Where the parts that run here have their images, for a mirror."""


def charts(gpus: Gpus) -> list[Chart]:
    """The operator's chart, with Node Feature Discovery unless that is there already."""
    return [chart_rows.chart(gpus, CHART, namespace=gpus.namespace, values=values(gpus), main=True)]


def values(gpus: Gpus) -> dict[str, Any]:
    """Values of the chart, before the user's own."""
    made: dict[str, Any] = {
        # The roles nvidia_driver, nvidia_container_toolkit and gpu_sharing have done these.
        "driver": {"enabled": False},
        "toolkit": {"enabled": False},
        "migManager": {"enabled": False},
        "mig": {"strategy": gpus.mig_strategy},
        "nfd": {"enabled": gpus.node_feature_discovery == "chart"},
    }
    if gpus.runtime_class is not None:
        made["operator"] = {"runtimeClass": gpus.runtime_class}
    if gpus.sharing is not None:
        text = dumped({"version": "v1", "sharing": sharing.config(gpus)})
        made["devicePlugin"] = {
            "config": {"create": True, "name": SHARED, "default": "any", "data": {"any": text}},
            "mps": {"root": gpus.mps_root},
        }
    if gpus.registry is not None:
        for part, place in _IMAGES.items():
            made.setdefault(part, {})["repository"] = objects.image(gpus, place)
        nfd = feature_discovery.nfd_values(gpus)
        made[feature_discovery.NFD] = {"image": nfd["image"]}
    return made
