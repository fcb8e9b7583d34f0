"""NVIDIA's device plugin: it offers GPUs and MIG instances as resources of a node.

github.com/NVIDIA/k8s-device-plugin v0.20.0: README.md (Configuring the NVIDIA device plugin
binary), api/config/v1, deployments/helm/nvidia-device-plugin/templates/daemonset-device-plugin.yml
and _helpers.tpl for what each choice needs (2026-08-19).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from aiprov.catalog import kubernetes_gpu
from aiprov.kubernetes.gpu import objects, sharing
from aiprov.kubernetes.gpu.options import Gpus
from aiprov.kubernetes.kubelet import dumped

NAME = "nvidia-device-plugin"
CONFIG_KEY = "config.yaml"
SOCKETS = "/var/lib/kubelet/device-plugins"
CDI = "/var/run/cdi"
CDI_HOOK = "/usr/bin/nvidia-cdi-hook"
"""Where the toolkit's package has it on the host."""


def image(gpus: Gpus) -> str:
    """The plugin's image, which feature discovery and MPS share: the catalog's, or another."""
    if gpus.device_plugin_image is not None:
        return gpus.device_plugin_image
    return vendor_image(gpus)


def vendor_image(gpus: Gpus) -> str:
    """NVIDIA's image, of the catalog's version."""
    return objects.image(gpus, kubernetes_gpu.image("device-plugin").reference)


def config(gpus: Gpus, *, pass_devices: bool) -> dict[str, Any]:
    """The plugin's configuration, version v1, which feature discovery and MPS read too."""
    document: dict[str, Any] = {
        "version": "v1",
        "flags": {
            "migStrategy": gpus.mig_strategy,
            "failOnInitError": True,
            "plugin": {
                "passDeviceSpecs": pass_devices,
                "deviceListStrategy": list(gpus.device_list),
                "deviceIDStrategy": gpus.device_ids,
            },
        },
    }
    if by_cdi(gpus):
        document["flags"]["nvidiaDriverRoot"] = "/"
        document["flags"]["plugin"]["nvidiaCTKPath"] = CDI_HOOK
    if gpus.sharing is not None:
        document["sharing"] = sharing.config(gpus)
        if gpus.sharing.by == "mps":
            document["flags"]["mpsRoot"] = gpus.mps_root
    return document


def by_cdi(gpus: Gpus) -> bool:
    """Whether the plugin writes CDI specifications."""
    return any(way.startswith("cdi-") for way in gpus.device_list)


def config_map(gpus: Gpus, *, pass_devices: bool) -> objects.Object:
    """The ConfigMap of the configuration."""
    text = dumped(config(gpus, pass_devices=pass_devices))
    return {**objects.head("v1", "ConfigMap", NAME, gpus.namespace), "data": {CONFIG_KEY: text}}


def config_volume() -> objects.Object:
    """The configuration as a volume."""
    return {"name": "config", "configMap": {"name": NAME}}


def config_annotations(made: Mapping[str, Any]) -> dict[str, str]:
    """The annotation by which pods are made anew when a ConfigMap of theirs changes."""
    text = "".join(made["data"][key] for key in sorted(made["data"]))
    return {"aiprov.io/config-sha256": hashlib.sha256(text.encode()).hexdigest()}


def manifests(
    gpus: Gpus, *, pass_devices: bool, annotations: Mapping[str, str]
) -> list[objects.Object]:
    """The plugin's DaemonSet."""
    mps = gpus.sharing is not None and gpus.sharing.by == "mps"
    return [
        objects.daemon_set(
            gpus,
            NAME,
            annotations=annotations,
            automountServiceAccountToken=False,  # it talks to its kubelet alone
            containers=[_container(gpus, pass_devices=pass_devices, mps=mps)],
            volumes=[
                objects.host_folder("sockets", SOCKETS),
                config_volume(),
                *(sharing.volumes(gpus) if mps else []),
                *_cdi_volumes(gpus),
            ],
        )
    ]


def _container(gpus: Gpus, *, pass_devices: bool, mps: bool) -> objects.Object:
    command = gpus.device_plugin_command
    if command is None and gpus.device_plugin_image is None:
        command = ("nvidia-device-plugin",)
    return {
        "name": "device-plugin",
        "image": image(gpus),
        **({} if command is None else {"command": list(command)}),
        **({"args": list(gpus.device_plugin_args)} if gpus.device_plugin_args else {}),
        "env": _environment(gpus),
        "securityContext": _rights(gpus, pass_devices=pass_devices),
        "volumeMounts": [
            {"name": "sockets", "mountPath": SOCKETS},
            {"name": "config", "mountPath": "/config", "readOnly": True},
            *(sharing.mounts() if mps else []),
            *_cdi_mounts(gpus),
        ],
    }


def _environment(gpus: Gpus) -> list[objects.Object]:
    watched = [objects.variable("NVIDIA_MIG_MONITOR_DEVICES", "all")]
    return [
        objects.of_pod("NODE_NAME", "spec.nodeName"),
        objects.variable("CONFIG_FILE", f"/config/{CONFIG_KEY}"),
        *(watched if gpus.mig_strategy != "none" else []),
        objects.variable("NVIDIA_VISIBLE_DEVICES", "all"),
        objects.variable("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
    ]


def _rights(gpus: Gpus, *, pass_devices: bool) -> dict[str, Any]:
    """As few as each choice needs."""
    if pass_devices:
        return {"privileged": True}
    if gpus.mig_strategy != "none" or "volume-mounts" in gpus.device_list:
        return {"capabilities": {"add": ["SYS_ADMIN"]}}
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _cdi_volumes(gpus: Gpus) -> list[objects.Object]:
    if not by_cdi(gpus):
        return []
    return [
        objects.host_folder("driver-root", "/"),
        objects.host_folder("cdi-root", CDI, "DirectoryOrCreate"),
    ]


def _cdi_mounts(gpus: Gpus) -> list[objects.Object]:
    if not by_cdi(gpus):
        return []
    return [
        {"name": "driver-root", "mountPath": "/driver-root", "readOnly": True},
        {"name": "cdi-root", "mountPath": CDI},
    ]
