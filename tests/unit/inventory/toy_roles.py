"""Roles as small as can be, so that cases speak of inventories and not of real roles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from aiprov.roles import RoleVars


class Pool(BaseModel):
    """A pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = Field(description="where it starts")
    size: int = Field(default=24, ge=8, le=32, description="how large it is")


class Base(RoleVars):
    """Settings of the base."""

    base_zone: str | None = Field(default=None, description="the time zone")


class Engine(RoleVars):
    """Settings of the engine."""

    engine_size: str = Field(default="10m", pattern=r"^\d+[kmg]$", description="size of a log")
    engine_count: int = Field(default=3, ge=1, le=10, description="how many logs")
    engine_mode: Literal["fast", "safe"] = Field(default="safe", description="how it runs")
    engine_power: Literal["on", "off", "auto"] = Field(default="auto", description="its power")
    engine_places: tuple[Pool, ...] = Field(
        default=(Pool(base="a"),), min_length=1, description="where it is"
    )
    engine_flag: bool = Field(default=True, description="whether it does")
    engine_version: str | None = Field(default=None, description="which one")
    engine_pools: tuple[Pool, ...] = Field(default=(), description="its pools")
    engine_limits: dict[str, int] = Field(default_factory=dict, description="limits by name")
    engine_token: SecretStr | None = Field(default=None, description="its token")
    engine_extra: dict[str, Any] = Field(default_factory=dict, description="anything more")
    engine_even: Annotated[int, Field(description="an even number")] = 2

    @field_validator("engine_even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


class Driver(RoleVars):
    """Settings of the driver, whose prefix begins with another role's name."""

    engine_driver_branch: Literal["570", "580"] = Field(description="the branch")


ROLES = {
    "base": SimpleNamespace(Vars=Base, REQUIRES=(), __name__="base", __doc__="The base."),
    "engine": SimpleNamespace(
        Vars=Engine,
        REQUIRES=("base",),
        __name__="engine",
        __doc__="The engine: it runs ``things``.\n\nMore of it.\n",
    ),
    "engine_driver": SimpleNamespace(
        Vars=Driver,
        REQUIRES=(),
        GROUPS=("driven",),
        doubts=lambda cluster: (
            [f"{len(cluster.hosts)} hosts: too many"] * ("driven" in cluster.groups)
        ),
        __name__="engine_driver",
        __doc__="The driver.",
    ),
}
