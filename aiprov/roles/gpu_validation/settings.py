"""Variables of validation."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from aiprov.catalog import pytorch
from aiprov.roles import RoleVars
from aiprov.values import Destination, SecretUrl, proxy_environment

Torch = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+(\+(cpu|cu\d{3}))?$")]
"""An exact version of PyTorch, perhaps of one build: ``2.13.0``, ``2.13.0+cu126``."""

Image = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._:/-]*(:[\w.-]+|@sha256:[0-9a-f]{64})$")
]
"""A container image with its tag or digest."""


def _folder_or_url(value: str) -> str:
    if not re.match(r"^(/|https?://[^\s@]+$)", value) or any(c.isspace() for c in value):
        raise ValueError(f"{value!r} is neither an absolute path on the host nor an https:// URL")
    return value


FindLinks = Annotated[str, AfterValidator(_folder_or_url)]
"""Where wheels lie: a folder on the host, or a page."""


Interface = Annotated[str, StringConstraints(pattern=r"^[^\s/:]{1,15}$")]
"""A network interface, as Linux names them."""
Adapter = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
"""An RDMA device, as Linux names them: ``mlx5_0``."""
Address = Annotated[str, AfterValidator(lambda value: str(IPv4Address(value)))]


def _has_password(url: SecretStr) -> bool:
    return "@" in urlsplit(url.get_secret_value()).netloc


class Vars(RoleVars):
    """Settings of validation."""

    gpu_validation_mode: Literal["venv", "container"] = Field(
        default="venv",
        description="where PyTorch is: in a virtual environment of its own on the host, or in an "
        "image that Docker runs with the GPUs (roles docker and nvidia_container_toolkit)",
    )
    gpu_validation_device: Literal["cuda", "cpu"] = Field(
        default="cuda",
        description="what is measured: GPUs, or with cpu the processors, on hosts that have none",
    )
    gpu_validation_torch: Torch = Field(
        default=pytorch.tested(),
        description="version of PyTorch in the environment, or of one build of it (2.13.0+cu126)",
    )
    gpu_validation_index_url: SecretUrl | None = Field(
        default=None,
        description="pip's index, such as https://download.pytorch.org/whl/cu126, which has the "
        "builds with CUDA 12.6, or a mirror; it may hold a password. Unset is what pip on the host "
        "is set to",
    )
    gpu_validation_find_links: FindLinks | None = Field(
        default=None,
        description="a folder on the host with wheels of PyTorch and all that it needs, or a page "
        "of links to them; without gpu_validation_index_url no index is asked then",
    )
    gpu_validation_image: Image | None = Field(
        default=None,
        description="image with Python 3.9 or later and PyTorch, with its tag or digest (mode "
        "container): nvcr.io/nvidia/pytorch:26.08-py3",
    )
    gpu_validation_http_proxy: SecretUrl | None = Field(
        default=None, description="proxy that pip goes through to http:// URLs"
    )
    gpu_validation_https_proxy: SecretUrl | None = Field(
        default=None, description="proxy that pip goes through to https:// URLs"
    )
    gpu_validation_no_proxy: tuple[Destination, ...] = Field(
        default=(), description="hosts, domains and networks that pip reaches without the proxy"
    )
    gpu_validation_gpu_count: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="how many GPUs the host should have; unset is nvidia_driver_expected_gpus, or "
        "as many as are there: set one of them, or a GPU that is lost is not missed after the "
        "next run",
    )
    gpu_validation_pcie_generation: int | None = Field(
        default=None,
        ge=1,
        le=7,
        description="PCI Express generation of the slots, where it is older than the GPUs'",
    )
    gpu_validation_port_gbps: float | None = Field(
        default=None, gt=0, description="rate that each InfiniBand port should have, in Gb/s"
    )
    gpu_validation_pairs: bool = Field(
        default=True, description="whether the GPUs meet those of other hosts, in pairs"
    )
    gpu_validation_pair_interface: Interface | None = Field(
        default=None,
        description="network interface through which pairs meet; unset is the one that has the "
        "inventory's address",
    )
    gpu_validation_pair_address: Address | None = Field(
        default=None,
        description="IPv4 address at which other hosts find this one for pairs; unset is the "
        "interface's",
    )
    gpu_validation_pair_adapters: tuple[Adapter, ...] | None = Field(
        default=None,
        description="InfiniBand or RoCE device of each GPU for pairs, in the order of the GPUs' "
        "PCI addresses ([mlx5_0, mlx5_3]); fewer are shared, [] is plain TCP. Unset is the nearest "
        "of the fastest that are active",
    )
    gpu_validation_pair_gbs: float | None = Field(
        default=None,
        gt=0,
        description="GB/s that a pair must reach in each direction; unset is 60 % of the rate of "
        "the slower port where both have InfiniBand or RoCE, else what other pairs reach",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        container = self.gpu_validation_mode == "container"
        if container != (self.gpu_validation_image is not None):
            raise ValueError("gpu_validation_image and gpu_validation_mode: container go together")
        if container:
            for name in ("gpu_validation_index_url", "gpu_validation_find_links"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for gpu_validation_mode: venv")
        return self

    @property
    def index_url(self) -> str | None:
        """pip's index, where it holds no password."""
        index = self.gpu_validation_index_url
        return None if index is None or _has_password(index) else index.get_secret_value()

    def pip_environment(self) -> dict[str, str]:
        """What pip is told by its environment: a proxy, and an index with a password."""
        index = self.gpu_validation_index_url
        hidden = index is not None and _has_password(index)
        return {
            **({"PIP_INDEX_URL": index.get_secret_value()} if index and hidden else {}),
            **proxy_environment(
                self.gpu_validation_http_proxy,
                self.gpu_validation_https_proxy,
                self.gpu_validation_no_proxy,
            ),
        }
