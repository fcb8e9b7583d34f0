"""What users say of GPUs in their cluster, and what the inventory says of MIG on its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from aiprov.kubernetes.model import DnsName, Part, Repository
from aiprov.stack import gpu_devices
from aiprov.survey.facts import Facts
from aiprov.values import Path

Image = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9.-]+(:\d{1,5})?(/[a-z0-9._-]+)*"
        r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$"
    ),
]
"""A container image: ``registry.example.org:5000/gpu/plugin:v1``."""

Resource = Annotated[
    str, StringConstraints(pattern=r"^nvidia\.com/(gpu|mig-\d+g\.\d+gb(\.[a-z.]+)?)$")
]
"""A resource of NVIDIA's device plugin: ``nvidia.com/gpu``, ``nvidia.com/mig-1g.10gb``."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in hexadecimal."""

DeviceList = Literal["envvar", "volume-mounts", "cdi-annotations", "cdi-cri"]
"""How the device plugin says which GPUs a container gets."""


class Shared(Part):
    """How many containers may have one device of a resource."""

    name: Resource = "nvidia.com/gpu"
    replicas: int = Field(ge=2)


class Sharing(Part):
    """GPUs of the whole cluster given to several containers each.

    ``rename``: offered as ``nvidia.com/gpu.shared``. ``refuse_several``: a container that asks for
    two replicas, which would not be two GPUs, is refused (time slicing alone; MPS always does).
    """

    by: Literal["time-slicing", "mps"]
    resources: tuple[Shared, ...] = Field(min_length=1)
    rename: bool = False
    refuse_several: bool = True

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        names = [resource.name for resource in self.resources]
        if len(set(names)) < len(names):
            raise ValueError("resources names one resource twice")
        if self.by == "mps" and names != ["nvidia.com/gpu"]:
            raise ValueError("MPS shares whole GPUs alone: resources can only be nvidia.com/gpu")
        return self


class Gpus(Part):
    """GPUs in Kubernetes: who offers them to pods, and how.

    ``stack``: NVIDIA's device plugin (resource ``nvidia.com/gpu``), its DRA driver (claims of
    DeviceClass ``gpu.nvidia.com``) or its GPU operator (which installs the others; driver and
    toolkit stay on the host). One of them: two would offer the same GPUs twice.
    ``runtime_class``: the RuntimeClass of pods that need the driver; None makes none, for hosts
    whose default runtime is NVIDIA's.
    ``registry``: where all images are mirrored under their own paths.
    ``device_plugin_image``, ``device_plugin_command`` and ``device_plugin_args``: another plugin.
    ``feature_discovery``: labels nodes by what the driver says of their GPUs; needs Node Feature
    Discovery, whose chart is installed unless ``node_feature_discovery`` is ``given``.
    ``cpu_manager``: kubelets have the static CPU manager, for which a device plugin by ``envvar``
    has to name device nodes too.
    ``dra_compute_domains``: multi-node NVLink (IMEX channels) by the DRA driver.
    ``chart_values``: laid over the values of the stack's chart.
    ``chart_repository``, ``chart_version`` and ``chart_sha256``: of the stack's chart, where the
    catalog's are not wanted.
    """

    stack: Literal["device-plugin", "dra", "operator"] = "device-plugin"
    namespace: DnsName = "nvidia-gpu"
    runtime_class: DnsName | None = "nvidia"
    registry: Repository | None = None
    mig_strategy: Literal["none", "single", "mixed"] = "none"
    sharing: Sharing | None = None
    device_list: tuple[DeviceList, ...] = Field(default=("envvar",), min_length=1)
    device_ids: Literal["uuid", "index"] = "uuid"
    cpu_manager: bool = False
    mps_root: Path = "/run/nvidia/mps"
    device_plugin_image: Image | None = None
    device_plugin_command: tuple[str, ...] | None = None
    device_plugin_args: tuple[str, ...] = ()
    feature_discovery: bool = False
    node_feature_discovery: Literal["chart", "given"] = "chart"
    dra_compute_domains: bool = False
    dra_feature_gates: dict[str, bool] = Field(default_factory=dict)
    chart_values: dict[str, Any] = Field(default_factory=dict)
    chart_repository: str | None = None
    chart_version: str | None = None
    chart_sha256: Digest | None = None


@dataclass(frozen=True, kw_only=True)
class NodeMig:
    """MIG of one node as its ``gpu_sharing_mig`` says.

    ``layouts``: of each of the node's GPUs, or each that is known, the instances by profile
    (``{"1g.18gb": 7}``); None for a GPU without MIG.
    """

    name: str
    layouts: tuple[Mapping[str, int] | None, ...] = ()

    @property
    def profiles(self) -> frozenset[str]:
        """The profiles of all its instances."""
        return frozenset(name for layout in self.layouts for name in layout or {})


def node_mig(host: Facts, layouts: Mapping[str, Mapping[str, int] | None]) -> NodeMig:
    """A node's MIG from its layouts by PCI address: GPUs that none of them names are whole."""
    devices = gpu_devices(host)
    return NodeMig(name=host.name, layouts=tuple(layouts.get(device.address) for device in devices))
