"""NVIDIA's DRA driver: pods claim GPUs of DeviceClass ``gpu.nvidia.com``, by what they have to be.

github.com/kubernetes-sigs/dra-driver-nvidia-gpu 95932046: site/content/docs/install.md, Helm chart
(values.yaml, templates/validation.yaml). Its chart is installed: DeviceClasses, kubelet plugin,
admission policies and, for multi-node NVLink, definitions and a controller belong together.
"""

from __future__ import annotations

from typing import Any

from aiprov.catalog import kubernetes_gpu
from aiprov.kubernetes.charts import Chart
from aiprov.kubernetes.gpu import chart_rows, objects
from aiprov.kubernetes.gpu.options import Gpus
from aiprov.kubernetes.model import ClusterSpec

CHART = "dra-driver-nvidia-gpu"

_IMAGE = "registry.k8s.io/dra-driver-nvidia/dra-driver-nvidia-gpu"
_APIS = (("1.34", "v1"), ("1.33", "v1beta2"), ("1.32", "v1beta1"))
"""Versions of the API resource.k8s.io, each with the minor version that first serves it.

kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation; CHANGELOG-1.32 to 1.34.
"""


ADVISED = "1.34.2"
"""The oldest Kubernetes of the driver's own requirements (site/content/docs/prerequisites.md)."""


def charts(gpus: Gpus, cluster: ClusterSpec) -> list[Chart]:
    """The driver's chart."""
    made = values(gpus, cluster)
    return [chart_rows.chart(gpus, CHART, namespace=gpus.namespace, values=made, main=True)]


def notes(gpus: Gpus, cluster: ClusterSpec) -> list[str]:
    """What to know of versions."""
    told = []
    if not kubernetes_gpu.reached(ADVISED, cluster.version):
        told.append(
            f"NVIDIA's DRA driver asks for Kubernetes {ADVISED} or later; its chart goes on "
            f"{cluster.version} too."
        )
    if gpus.dra_compute_domains:
        told.append(
            "Compute domains need a driver of 570.158.01 or later, and nvidia-imex.service "
            "disabled on the hosts: the DRA driver runs it where it is needed."
        )
    return told


def api(version: str) -> str:
    """The API that a version of Kubernetes (1.32 or later) serves: ``resource.k8s.io/v1``."""
    served = next(name for since, name in _APIS if kubernetes_gpu.reached(since, version))
    return f"resource.k8s.io/{served}"


def values(gpus: Gpus, cluster: ClusterSpec) -> dict[str, Any]:
    """Values of the chart, before the user's own.

    ``gpuResourcesEnabledOverride`` is how the chart is told that no device plugin is there.
    """
    made: dict[str, Any] = {
        "nvidiaDriverRoot": "/",
        "resourceApiVersion": api(cluster.version),
        "gpuResourcesEnabledOverride": True,
        "resources": {
            "gpus": {"enabled": True},
            "computeDomains": {"enabled": gpus.dra_compute_domains},
        },
    }
    if gpus.dra_compute_domains:  # without feature discovery nobody else says who is joined
        plugin = {"containers": {"computeDomains": {"gpuCliqueLabelEnabled": True}}}
        made["kubeletPlugin"] = plugin
    if gpus.dra_feature_gates:
        made["featureGates"] = dict(sorted(gpus.dra_feature_gates.items()))
    if gpus.registry is not None:
        made["image"] = {"repository": objects.image(gpus, _IMAGE)}
    return made
