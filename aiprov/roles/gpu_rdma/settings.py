"""RDMA's variables."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from aiprov.roles import RoleVars
from aiprov.values import PublicKey, Url, Version


class Vars(RoleVars):
    """Settings of RDMA with GPU memory."""

    gpu_rdma_stack: Literal["inbox", "doca", "present"] = Field(
        default="inbox",
        description="whose RDMA software: the distribution's, NVIDIA's DOCA-OFED, or the one that "
        "is present, which is only checked",
    )
    gpu_rdma_peermem: bool | None = Field(
        default=None,
        description="load nvidia_peermem; unset is with DOCA-OFED, and where GPUs and kernel have "
        "no DMA-BUF, which does without it",
    )
    gpu_rdma_active_ports: int = Field(
        default=1, ge=0, description="how many ports of RDMA adapters have to be active at least"
    )
    gpu_rdma_memlock: bool = Field(
        default=True,
        description="let logins and services lock as much memory as they like, which RDMA needs",
    )
    gpu_rdma_hold: bool = Field(
        default=True, description="keep upgrades from changing DOCA-OFED's and GDRCopy's versions"
    )
    gpu_rdma_reboot: Literal["auto", "never"] = Field(
        default="auto",
        description="whether to reboot when another RDMA stack is loaded than is installed; never "
        "fails instead",
    )
    gpu_rdma_doca_version: Version | None = Field(
        default=None, description="version of DOCA (3.2.1); unset is the one that the catalog has"
    )
    gpu_rdma_doca_repository_url: Url | None = Field(
        default=None,
        description="DOCA's repository for this OS and architecture: a mirror, or where aiprov "
        "does not know NVIDIA's own",
    )
    gpu_rdma_doca_repository_key: PublicKey | None = Field(
        default=None,
        description="armoured public key of DOCA's repository; NVIDIA's is GPG-KEY-Mellanox.pub",
    )
    gpu_rdma_gdrcopy: bool = Field(
        default=False, description="GDRCopy: its kernel module, built by DKMS, and its library"
    )
    gpu_rdma_gdrcopy_version: Version | None = Field(
        default=None, description="version of GDRCopy, or the beginning of one (2.6)"
    )
    gpu_rdma_gdrcopy_repository_url: Url | None = Field(
        default=None,
        description="a repository that has GDRCopy's packages, flat on Debian and Ubuntu: NVIDIA "
        "publishes them as plain files. Unset: one of the repositories that the host has",
    )
    gpu_rdma_gdrcopy_repository_key: PublicKey | None = Field(
        default=None, description="armoured public key of that repository"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        doca = (
            self.gpu_rdma_doca_version,
            self.gpu_rdma_doca_repository_url,
            self.gpu_rdma_doca_repository_key,
        )
        if self.gpu_rdma_stack != "doca" and any(doca):
            raise ValueError("gpu_rdma_doca_... are for gpu_rdma_stack: doca")
        if self.gpu_rdma_stack == "doca" and not self.gpu_rdma_doca_repository_key:
            raise ValueError(
                "gpu_rdma_stack doca needs gpu_rdma_doca_repository_key: the text of "
                "https://linux.mellanox.com/public/repo/doca/GPG-KEY-Mellanox.pub"
            )
        url, key = self.gpu_rdma_gdrcopy_repository_url, self.gpu_rdma_gdrcopy_repository_key
        if (url is None) != (key is None):
            raise ValueError(
                "gpu_rdma_gdrcopy_repository_url and gpu_rdma_gdrcopy_repository_key go together"
            )
        return self
