"""GPUs in Kubernetes: what is applied to the cluster, and which labels nodes have.

Everything here is pure: values in, documents out. Upstream's pages are named where a document is
made of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiprov.kubernetes.charts import Chart
from aiprov.kubernetes.gpu import (
    device_plugin,
    dra,
    feature_discovery,
    objects,
    operator,
    runtime_class,
    sharing,
)
from aiprov.kubernetes.gpu.fit import check
from aiprov.kubernetes.gpu.kubelet_advice import kubelet_defaults
from aiprov.kubernetes.gpu.labels import labels
from aiprov.kubernetes.gpu.objects import ADDON
from aiprov.kubernetes.gpu.options import Gpus, NodeMig, Shared, Sharing, node_mig
from aiprov.kubernetes.gpu.pod import gpu_pod
from aiprov.kubernetes.model import ClusterSpec

__all__ = [
    "ADDON",
    "Gpus",
    "NodeMig",
    "Shared",
    "Sharing",
    "charts",
    "check",
    "gpu_pod",
    "kubelet_defaults",
    "labels",
    "manifests",
    "node_mig",
    "notes",
]


def manifests(
    gpus: Gpus, cluster: ClusterSpec, nodes: Sequence[NodeMig] = ()
) -> list[objects.Object]:
    """The objects to be applied, in their order. Raises ``UnsupportedError`` as ``check`` does.

    Charts are installed after them: the namespaces of both are among them, and allow what runs
    there. The operator makes the RuntimeClass itself.
    """
    check(gpus, cluster, nodes)
    spaces = [objects.namespace(gpus.namespace)]
    if any(chart.namespace != gpus.namespace for chart in charts(gpus, cluster)):
        spaces.append(objects.namespace(feature_discovery.NFD))
    if gpus.stack == "operator":
        return spaces
    classes = runtime_class.manifests(gpus)
    if gpus.stack == "dra":
        return [*classes, *spaces]
    pass_devices = _pass_devices(gpus, cluster)
    config = device_plugin.config_map(gpus, pass_devices=pass_devices)
    annotations = device_plugin.config_annotations(config)
    image, volume = device_plugin.vendor_image(gpus), device_plugin.config_volume()
    return [
        *classes,
        *spaces,
        config,
        *device_plugin.manifests(gpus, pass_devices=pass_devices, annotations=annotations),
        *sharing.manifests(gpus, image, volume, annotations),
        *feature_discovery.manifests(gpus, annotations),
    ]


def _pass_devices(gpus: Gpus, cluster: ClusterSpec) -> bool:
    """Whether kubelets have to know device nodes too.

    The static CPU manager rewrites containers' cgroups, and with them takes away devices that only
    the runtime knew of (k8s-device-plugin README.md, PASS_DEVICE_SPECS). CDI's are in the
    container's own specification.
    """
    static = gpus.cpu_manager or cluster.kubelet.cpu_manager == "static"
    return static and not device_plugin.by_cdi(gpus)


def charts(gpus: Gpus, cluster: ClusterSpec) -> list[Chart]:
    """The charts that Helm has to install, in their order. Raises as ``check`` does."""
    check(gpus, cluster)
    match gpus.stack:
        case "dra":
            return dra.charts(gpus, cluster)
        case "operator":
            return operator.charts(gpus)
        case "device-plugin":
            return feature_discovery.charts(gpus)


def notes(gpus: Gpus, cluster: ClusterSpec) -> list[str]:
    """What a user has to know of this choice, in sentences."""
    told = []
    by_runtime = gpus.stack == "operator" or (
        gpus.stack == "device-plugin" and not device_plugin.by_cdi(gpus)
    )
    if by_runtime and gpus.runtime_class is not None:
        told.append(
            f"Pods that ask for GPUs need runtimeClassName: {gpus.runtime_class}, unless NVIDIA's "
            "is the default runtime of their node."
        )
    if gpus.sharing is not None and gpus.sharing.by == "time-slicing":
        told.append(
            "Time slicing keeps nothing apart: containers on one GPU share its memory, and its "
            "faults."
        )
    if gpus.sharing is not None and gpus.sharing.by == "mps":
        told.append("NVIDIA calls MPS in its device plugin experimental.")
    if gpus.stack == "dra":
        told += dra.notes(gpus, cluster)
    told += [
        f"The chart {chart.name} {chart.version} comes from {chart.repository} by its version "
        "alone: no checksum of it is known."
        for chart in charts(gpus, cluster)
        if chart.sha256 is None
    ]
    return told
