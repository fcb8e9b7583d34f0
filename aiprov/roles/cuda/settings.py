"""CUDA's variables."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from aiprov.roles import RoleVars
from aiprov.values import PublicKey, Url, Version

_BUILD = re.compile(r"\d+(\.\d+)+-\d+\+cuda(?P<major>\d+)\.\d+")


def minor(version: str) -> str:
    """Major and minor, which a toolkit's packages and folder are named by: 13.0 of 13.0.2."""
    return ".".join(version.split(".")[:2])


class Vars(RoleVars):
    """Settings of CUDA."""

    cuda_versions: tuple[Version, ...] = Field(
        default=(),
        description="toolkits to have side by side: 13.0, or an update of one, 13.0.2; unset is "
        "the newest that was made for the host's driver and compiles for its GPUs",
    )
    cuda_default: Version | None = Field(
        default=None,
        description="the one that /usr/local/cuda leads to; unset is the newest of them",
    )
    cuda_hold: bool = Field(
        default=True, description="keep upgrades from changing the packages' versions"
    )
    cuda_profile: bool = Field(
        default=True,
        description="put /usr/local/cuda/bin on the PATH of logins, and CUDA_HOME into their "
        "environment",
    )
    cuda_cudnn: bool | Version = Field(
        default=False,
        description="cuDNN 9 for the CUDA major of each toolkit; a version, or the beginning of "
        "one (9.25), keeps to it",
    )
    cuda_nccl: bool | str = Field(
        default=False,
        description="NCCL for the CUDA major of the default toolkit; a package's version "
        "(2.28.9-1+cuda13.0) instead of true keeps to it",
    )
    cuda_repository_url: Url | None = Field(
        default=None,
        description="where NVIDIA's repositories are, with ubuntu2404 and so on below: a mirror; "
        "unset is nvidia_driver_repository_url on hosts with that role, else NVIDIA's own",
    )
    cuda_repository_key: PublicKey | None = Field(
        default=None,
        description="armoured public key of the repository, where it is another than NVIDIA's, or "
        "one that aiprov does not bring along; unset is as for the URL",
    )

    @field_validator("cuda_nccl")
    @classmethod
    def _is_a_build(cls, value: bool | str) -> bool | str:
        if isinstance(value, str) and not _BUILD.fullmatch(value):
            raise ValueError(
                f"{value!r} is not a version of NCCL's package such as 2.28.9-1+cuda13.0, which "
                "says what CUDA it is for"
            )
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        minors = [minor(version) for version in self.cuda_versions]
        twice = {version for version in minors if minors.count(version) > 1}
        if twice:
            raise ValueError(
                f"CUDA {min(twice)} is there twice: its updates lie in the same folder"
            )
        if self.cuda_default is not None and minor(self.cuda_default) not in minors:
            raise ValueError(f"cuda_default {self.cuda_default} is not one of cuda_versions")
        nccl = _BUILD.fullmatch(self.cuda_nccl) if isinstance(self.cuda_nccl, str) else None
        majors = {version.partition(".")[0] for version in minors}
        if nccl is not None and majors and nccl["major"] not in majors:
            raise ValueError(
                f"cuda_nccl {self.cuda_nccl} is for CUDA {nccl['major']}, and cuda_versions has "
                f"none of that"
            )
        return self
