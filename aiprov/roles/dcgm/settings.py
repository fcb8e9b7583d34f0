"""DCGM's variables."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from aiprov.roles import RoleVars
from aiprov.values import Address, Version


class Vars(RoleVars):
    """Settings of DCGM."""

    dcgm_version: Version | None = Field(
        default=None,
        description="version, or the beginning of one (4.5); unset takes any 4 that is installed, "
        "or the newest",
    )
    dcgm_hold: bool = Field(
        default=True, description="keep upgrades from changing the packages' versions, as a set"
    )
    dcgm_listen: Address | Literal["all"] | None = Field(
        default=None,
        description="address that the host engine listens on, or all: whoever reaches it may set "
        "clocks and run diagnostics, it asks for no password; unset is 127.0.0.1",
    )
    dcgm_port: int = Field(
        default=5555, ge=1, le=65535, description="port that the host engine listens on"
    )

    @field_validator("dcgm_version")
    @classmethod
    def _is_of_4(cls, version: str | None) -> str | None:
        if version is not None and version.partition(".")[0] != "4":
            raise ValueError(f"{version} is not a DCGM 4: older ones have other packages")
        return version
