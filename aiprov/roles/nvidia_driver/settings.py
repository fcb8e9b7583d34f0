"""The NVIDIA driver's variables."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from aiprov.catalog import drivers
from aiprov.catalog.nvidia_repositories import CUDA_URL
from aiprov.errors import CatalogError
from aiprov.roles import RoleVars
from aiprov.values import Address, Path, PublicKey, Url


def _text(value: Any) -> Any:
    """YAML reads ``580`` as a number."""
    return str(value) if type(value) is int else value


Branch = Annotated[str, BeforeValidator(_text)]
"""A driver branch: ``580``."""

DriverVersion = Annotated[
    str, BeforeValidator(_text), StringConstraints(pattern=r"^\d{3}(\.\d+){1,2}$")
]
"""A driver version as NVIDIA names it: ``580.95.05``."""

Kernel = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+[A-Za-z0-9.+_~-]*$")]
"""A kernel as ``uname -r`` names it."""

OptionName = Annotated[str, StringConstraints(pattern=r"^NVreg_[A-Za-z0-9]+$")]
OptionValue = Annotated[str, BeforeValidator(_text), StringConstraints(pattern=r"^[^\s\"'\\]+$")]


class Vars(RoleVars):
    """Settings of the NVIDIA driver."""

    nvidia_driver_branch: Branch | None = Field(
        default=None,
        description="branch to have, such as 580; unset takes the one with long-term support, or "
        "the best other one that serves the host's GPUs, kernels and CUDA toolkits",
    )
    nvidia_driver_version: DriverVersion | None = Field(
        default=None,
        description="exact version to have (580.95.05), in place of a branch; with a branch alone, "
        "what is installed of it stays, and a new host gets the newest",
    )
    nvidia_driver_source: Literal["auto", "nvidia", "distribution"] = Field(
        default="auto",
        description="whose packages: NVIDIA's repository, or the distribution's archive (Debian "
        "non-free, Ubuntu's signed modules); auto is NVIDIA's wherever they fit",
    )
    nvidia_driver_kernel_modules: Literal["auto", "open", "proprietary"] = Field(
        default="auto",
        description="which kernel modules; auto goes by the GPUs: open from Turing on, proprietary "
        "before",
    )
    nvidia_driver_graphics: bool = Field(
        default=False, description="also what displays need; false is for computing only"
    )
    nvidia_driver_kernels: tuple[Kernel, ...] = Field(
        default=(),
        description="kernels (uname -r) to have modules for; empty are the running one and the "
        "one that boots next",
    )
    nvidia_driver_load: bool = Field(
        default=True,
        description="load the driver and check that it works; false is for images, which are "
        "built where no GPU or another kernel is",
    )
    nvidia_driver_reboot: Literal["auto", "never"] = Field(
        default="auto",
        description="whether to reboot where the driver cannot be loaded otherwise, because GPUs "
        "are used or nouveau has them; never fails instead, and says who uses them",
    )
    nvidia_driver_hold: bool = Field(
        default=True,
        description="keep upgrades, unattended ones too, from changing the packages' versions",
    )
    nvidia_driver_repository_url: Url = Field(
        default=CUDA_URL,
        description="base of NVIDIA's repositories of the driver and CUDA, or of a mirror of them",
    )
    nvidia_driver_repository_key: PublicKey | None = Field(
        default=None,
        description="armoured public key of that repository; unset fetches NVIDIA's own from "
        "there and checks it",
    )
    nvidia_driver_distribution_url: Url = Field(
        default="http://deb.debian.org/debian",
        description="Debian mirror that has non-free and contrib (source distribution)",
    )
    nvidia_driver_distribution_keyring: Path = Field(
        default="/usr/share/keyrings/debian-archive-keyring.gpg",
        description="keyring of that mirror: the one that the host's own sources name, if they "
        "do, because apt refuses two for one place",
    )
    nvidia_driver_epel: bool = Field(
        default=True,
        description="install epel-release, whose repository has dkms (Rocky Linux and AlmaLinux; "
        "RHEL has no such package, enable EPEL there beforehand)",
    )
    nvidia_driver_module_options: dict[OptionName, OptionValue] = Field(
        default_factory=dict,
        description="further options of module nvidia (NVreg_...), over those that aiprov sets",
    )
    nvidia_driver_profiling_for_all: bool = Field(
        default=False,
        description="let every user read the GPUs' performance counters, not only root",
    )
    nvidia_driver_persistence: bool = Field(
        default=True, description="keep GPUs initialised while nothing uses them (persistenced)"
    )
    nvidia_driver_peermem: bool = Field(
        default=False,
        description="load nvidia_peermem: GPUDirect RDMA with an RDMA stack that needs it",
    )
    nvidia_driver_gds: bool = Field(
        default=False,
        description="GPUDirect Storage: NVIDIA's file system driver nvidia-fs (open modules, "
        "NVIDIA's repository)",
    )
    nvidia_driver_fabric_manager: bool | Literal["auto"] = Field(
        default="auto",
        description="fabric manager, which brings NVSwitches up; auto is where they are. false for "
        "virtual machines whose switches the machine below manages",
    )
    nvidia_driver_imex: bool | Literal["auto"] = Field(
        default="auto",
        description="run nvidia-imex, by which hosts share NVLink memory; auto is where there are "
        "such GPUs and nvidia_driver_imex_nodes says with whom",
    )
    nvidia_driver_imex_nodes: tuple[Address, ...] = Field(
        default=(), description="addresses of all hosts that share NVLink memory, this one too"
    )
    nvidia_driver_expected_gpus: int | None = Field(
        default=None, ge=1, le=64, description="how many GPUs have to be there; unset is any number"
    )

    @field_validator("nvidia_driver_branch")
    @classmethod
    def _is_a_branch(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            row = drivers.branch(value)
        except CatalogError as error:
            raise ValueError(f"{value!r} is not a branch; {error.hint}") from None
        if row.name != value:
            raise ValueError(f"{value!r} is a version: set nvidia_driver_version")
        return value

    @field_validator("nvidia_driver_version")
    @classmethod
    def _is_of_a_branch(cls, value: str | None) -> str | None:
        try:
            return value and drivers.branch(value).name and value
        except CatalogError as error:
            raise ValueError(f"{value!r} is of no branch that is known; {error.hint}") from None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        version, branch = self.nvidia_driver_version, self.nvidia_driver_branch
        if version is not None and branch is not None:
            raise ValueError(
                f"nvidia_driver_version {version} says the branch too: drop nvidia_driver_branch"
            )
        if self.nvidia_driver_imex is True and not self.nvidia_driver_imex_nodes:
            raise ValueError("nvidia_driver_imex needs nvidia_driver_imex_nodes: with whom?")
        if self.nvidia_driver_gds and self.nvidia_driver_source == "distribution":
            raise ValueError("nvidia_driver_gds is for nvidia_driver_source: nvidia")
        return self
