"""Variables of sharing GPUs."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from aiprov.roles import RoleVars

Profile = Annotated[str, StringConstraints(pattern=r"^\d+g\.\d+gb([+-][a-z.]+)?$")]
"""A MIG profile as nvidia-smi names it: ``1g.10gb``, ``1g.10gb+me``."""

Memory = Annotated[str, StringConstraints(pattern=r"^[1-9]\d*[MG]$")]
"""Memory as MPS takes it: ``2G``, ``512M``."""


class Layout(BaseModel):
    """How some GPUs are cut into MIG instances."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: Literal["all"] | str | tuple[int, ...] = Field(
        default="all",
        description="which GPUs of the host: all; a model (h200, a100 80gb), its PCI id "
        "(10de:2335) or the address of one (0000:1e:00.0); or a list of indexes, as nvidia-smi "
        "counts them",
    )
    layout: Literal["off"] | dict[Profile, int] = Field(
        description="instances of each profile, {1g.18gb: 7}; {} is MIG with whatever "
        "instances others make; off is no MIG"
    )

    @field_validator("layout")
    @classmethod
    def _counts(cls, layout: str | dict[str, int]) -> str | dict[str, int]:
        for profile, count in layout.items() if isinstance(layout, dict) else ():
            if count < 1:
                raise ValueError(f"{count} x {profile} is no number of MIG instances")
        return layout

    @field_validator("gpus")
    @classmethod
    def _names_some(cls, gpus: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if isinstance(gpus, tuple) and any(index < 0 for index in gpus):
            raise ValueError("GPUs count from 0")
        if not gpus or (isinstance(gpus, str) and not re.search(r"[A-Za-z0-9]", gpus)):
            raise ValueError("name at least one GPU, or all")
        return gpus


class Vars(RoleVars):
    """Settings of sharing GPUs."""

    gpu_sharing_mig: tuple[Layout, ...] = Field(
        default=(),
        description="MIG layouts; of several that name a GPU the last one holds. GPUs that none "
        "names are left alone, except those that had a layout of an earlier run: their MIG is "
        "turned off.",
    )
    gpu_sharing_mps: bool = Field(
        default=False,
        description="run CUDA's multi-process service: processes share a GPU at the same time",
    )
    gpu_sharing_mps_active_thread_percentage: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="share of a GPU's threads that one MPS client gets, by default",
    )
    gpu_sharing_mps_pinned_memory_limit: Memory | None = Field(
        default=None, description="memory of each GPU that one MPS client gets (2G), by default"
    )
    gpu_sharing_compute_mode: Literal["default", "exclusive_process", "prohibited"] = Field(
        default="default",
        description="how many processes may use a GPU: default is any, exclusive_process one (with "
        "MPS, its server), prohibited none",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.gpu_sharing_mps:
            for name in (
                "gpu_sharing_mps_active_thread_percentage",
                "gpu_sharing_mps_pinned_memory_limit",
            ):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for gpu_sharing_mps: true")
        elif self.gpu_sharing_compute_mode == "prohibited":
            raise ValueError(
                "gpu_sharing_compute_mode: prohibited keeps MPS from the GPUs too: choose "
                "exclusive_process, which lets in its server alone"
            )
        return self
