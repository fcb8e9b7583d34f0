"""What does not fit together: stack and version, MIG strategy and layouts, ways of sharing.

All of it would otherwise show as a plugin that does not start, GPUs that nobody can ask for, or
GPUs that are offered twice. Raises ``UnsupportedError``, with the way out as its hint.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiprov.catalog import kubernetes_gpu
from aiprov.errors import UnsupportedError
from aiprov.kubernetes.gpu import dra, operator
from aiprov.kubernetes.gpu.options import Gpus, NodeMig
from aiprov.kubernetes.model import ClusterSpec


def check(gpus: Gpus, cluster: ClusterSpec, nodes: Sequence[NodeMig] = ()) -> None:
    """Refuse what does not fit together; ``nodes`` are those whose settings are known."""
    _check_settings(gpus)
    if "cdi-cri" in gpus.device_list and gpus.stack == "device-plugin":
        _need("cdi-cri", cluster, "device_list: cdi-cri")
    if gpus.stack == "dra":
        _need("dra", cluster, "stack: dra")
        _check_chart(gpus, dra.CHART, cluster)
        _check_dra_api(cluster)
    if gpus.stack == "operator":
        _check_chart(gpus, operator.CHART, cluster)
    _check_sharing(gpus)
    for node in nodes:
        _check_mig(gpus, node)


def _check_settings(gpus: Gpus) -> None:
    """Settings that are of another stack than the one chosen."""
    of_stack = {
        "device-plugin": (
            "device_plugin_image",
            "device_plugin_command",
            "device_plugin_args",
            "device_list",
            "device_ids",
            "feature_discovery",
        ),
        "dra": ("dra_compute_domains", "dra_feature_gates"),
    }
    given = gpus.model_fields_set
    for stack, names in of_stack.items():
        asked = [name for name in names if name in given and getattr(gpus, name)]
        if asked and gpus.stack != stack:
            raise UnsupportedError(
                f"{', '.join(asked)}: not of stack {gpus.stack}, but of {stack}",
                hint=f"leave it out, set stack: {stack}, or say it in chart_values",
            )
    charts = [
        name
        for name in ("chart_values", "chart_repository", "chart_version", "chart_sha256")
        if getattr(gpus, name)
    ]
    if charts and gpus.stack == "device-plugin":
        raise UnsupportedError(
            f"{', '.join(charts)}: the device plugin is installed without a chart",
            hint="leave it out, or choose stack: operator or stack: dra",
        )


def _need(name: str, cluster: ClusterSpec, setting: str) -> None:
    """Refuse a feature that the version lacks, or has behind a gate that is not open."""
    row = kubernetes_gpu.feature(name)
    if not kubernetes_gpu.reached(row.since, cluster.version):
        raise UnsupportedError(
            f"Kubernetes {cluster.version} has no {row.text}, which {setting} asks for",
            hint=f"choose another, or use Kubernetes {row.since} or later",
        )
    on = kubernetes_gpu.reached(row.default, cluster.version)
    if not cluster.feature_gates.get(row.gate, on):
        raise UnsupportedError(
            f"{setting} needs the feature gate {row.gate}, which is off in Kubernetes "
            f"{cluster.version} as it is configured",
            hint=f"set feature_gates: {{{row.gate}: true}}, or use Kubernetes {row.default} or "
            "later without it",
        )


def _check_dra_api(cluster: ClusterSpec) -> None:
    """Beta versions of an API are not served unless the API server is told to."""
    api = dra.api(cluster.version)
    told = cluster.api_args.get("runtime-config", "")
    served = told if isinstance(told, str) else ",".join(told)
    if "beta" in api and f"{api}=true" not in served.split(","):
        raise UnsupportedError(
            f"the API {api}, which stack: dra needs, is not served by Kubernetes "
            f"{cluster.version} unless it is asked for",
            hint=f"set api_args: {{runtime-config: '{api}=true'}}, or use Kubernetes 1.34 or later",
        )


def _check_chart(gpus: Gpus, name: str, cluster: ClusterSpec) -> None:
    row = kubernetes_gpu.chart(name)
    if gpus.chart_version not in (None, row.version) or kubernetes_gpu.serves(row, cluster.version):
        return  # of another version than the catalog's nothing is known
    until = "later" if row.until is None else row.until
    raise UnsupportedError(
        f"{name} {row.version} is for Kubernetes {row.since} to {until}, not for {cluster.version}",
        hint="choose stack: device-plugin, or a chart_version that its release notes say is for "
        "this Kubernetes",
    )


def _check_sharing(gpus: Gpus) -> None:
    sharing = gpus.sharing
    if sharing is None:
        return
    if gpus.stack == "dra":
        raise UnsupportedError(
            "sharing is the device plugin's: with DRA each claim says how its GPU is shared",
            hint="leave sharing out, and open the driver's gates in dra_feature_gates "
            "(TimeSlicingSettings, MPSSupport)",
        )
    if sharing.by == "mps" and gpus.mig_strategy == "mixed":
        raise UnsupportedError(
            "MPS is for whole GPUs: the device plugin does not start with mig_strategy: mixed",
            hint="choose sharing by time-slicing, or mig_strategy: none",
        )
    cut = [one.name for one in sharing.resources if one.name != "nvidia.com/gpu"]
    if cut and gpus.mig_strategy != "mixed":
        raise UnsupportedError(
            f"{', '.join(cut)} cannot be shared: mig_strategy: {gpus.mig_strategy} offers no such "
            "resource",
            hint="set mig_strategy: mixed, or share nvidia.com/gpu",
        )


def _check_mig(gpus: Gpus, node: NodeMig) -> None:
    """A node's layouts against the strategy. Its layouts against its GPUs are its own role's."""
    cut = [layout for layout in node.layouts if layout is not None]
    if not cut or gpus.stack == "dra":
        return  # the DRA driver offers whole GPUs and MIG instances as they are
    if gpus.mig_strategy == "none":
        raise UnsupportedError(
            f"{node.name} has MIG layouts, which mig_strategy: none does not offer to pods",
            hint="set mig_strategy: mixed (a resource for each profile), or single "
            "(nvidia.com/gpu) where all GPUs of a node have instances of one profile",
        )
    if gpus.sharing is not None and gpus.sharing.by == "mps":
        raise UnsupportedError(
            f"{node.name} has MIG layouts, and MPS shares whole GPUs alone",
            hint="choose sharing by time-slicing, or take the layouts out of gpu_sharing_mig",
        )
    if gpus.mig_strategy == "single" and (len(node.profiles) > 1 or None in node.layouts):
        found = ", ".join(sorted(node.profiles))
        also = " and GPUs without MIG" if None in node.layouts else ""
        raise UnsupportedError(
            f"{node.name} has MIG instances of {found}{also}: mig_strategy: single is for nodes "
            "whose GPUs all have instances of one profile",
            hint="set mig_strategy: mixed, or give all of the node's GPUs one profile",
        )
