"""GPU feature discovery: labels of nodes by what the driver says of their GPUs.

github.com/NVIDIA/k8s-device-plugin v0.20.0: docs/gpu-feature-discovery/README.md,
deployments/helm/nvidia-device-plugin/templates/daemonset-gfd.yml and role.yml (2026-08-19). It
writes NodeFeature objects; Node Feature Discovery makes labels of them. Of that one, whose
definitions are long and its own to change, aiprov installs the chart, of the version that NVIDIA's
chart depends on.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiprov.kubernetes.charts import Chart
from aiprov.kubernetes.gpu import chart_rows, device_plugin, objects
from aiprov.kubernetes.gpu.options import Gpus

NAME = "gpu-feature-discovery"
NFD = "node-feature-discovery"


def manifests(gpus: Gpus, annotations: Mapping[str, str]) -> list[objects.Object]:
    """Its account, what that may do, and its DaemonSet; nothing unless it is asked for."""
    if not gpus.feature_discovery:
        return []
    rights = [
        {
            "apiGroups": ["nfd.k8s-sigs.io"],
            "resources": ["nodefeatures"],
            "verbs": ["get", "list", "watch", "create", "update"],
        },
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]
    return [
        objects.head("v1", "ServiceAccount", NAME, gpus.namespace),
        {
            **objects.head("rbac.authorization.k8s.io/v1", "Role", NAME, gpus.namespace),
            "rules": rights,
        },
        {
            **objects.head("rbac.authorization.k8s.io/v1", "RoleBinding", NAME, gpus.namespace),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": gpus.namespace}],
        },
        objects.daemon_set(
            gpus,
            NAME,
            annotations=annotations,
            serviceAccountName=NAME,
            containers=[_container(gpus)],
            volumes=[objects.host_folder("sys", "/sys"), device_plugin.config_volume()],
        ),
    ]


def _container(gpus: Gpus) -> objects.Object:
    return {
        "name": NAME,
        "image": device_plugin.vendor_image(gpus),
        "command": [NAME],
        "env": [
            objects.of_pod("NODE_NAME", "spec.nodeName"),
            objects.of_pod("NAMESPACE", "metadata.namespace"),
            objects.of_pod("POD_NAME", "metadata.name"),
            objects.variable("CONFIG_FILE", f"/config/{device_plugin.CONFIG_KEY}"),
            objects.variable("NVIDIA_VISIBLE_DEVICES", "all"),
            objects.variable("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
            *(
                [objects.variable("NVIDIA_MIG_MONITOR_DEVICES", "all")]
                if gpus.mig_strategy != "none"
                else []
            ),
        ],
        "securityContext": {"privileged": True},  # it looks for vGPUs among the host's devices
        "volumeMounts": [
            {"name": "sys", "mountPath": "/sys"},
            {"name": "config", "mountPath": "/config", "readOnly": True},
        ],
    }


def charts(gpus: Gpus) -> list[Chart]:
    """Node Feature Discovery's chart, told to let NVIDIA's labels pass."""
    if not gpus.feature_discovery or gpus.node_feature_discovery == "given":
        return []
    return [chart_rows.chart(gpus, NFD, namespace=NFD, values=nfd_values(gpus))]


def nfd_values(gpus: Gpus) -> dict[str, object]:
    """Values as NVIDIA's chart gives them (v0.20.0, values.yaml)."""
    values: dict[str, object] = {
        "master": {"config": {"extraLabelNs": ["nvidia.com"]}},
        "worker": {
            "tolerations": [dict(one) for one in objects.TOLERATIONS],
            "config": {
                "sources": {
                    "pci": {
                        "deviceClassWhitelist": ["02", "0200", "0207", "0300", "0302"],
                        "deviceLabelFields": ["vendor"],
                    }
                }
            },
        },
    }
    if gpus.registry is not None:
        name = "registry.k8s.io/nfd/node-feature-discovery"
        values["image"] = {"repository": objects.image(gpus, name)}
    return values
