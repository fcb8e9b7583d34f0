"""Docker's variables."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from aiprov.catalog import Source
from aiprov.roles import RoleVars
from aiprov.values import (
    Address,
    Cidr,
    Destination,
    InterfaceAddress,
    Name,
    Path,
    SecretUrl,
    Size,
    Url,
    Version,
)

UserName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]*\$?$", max_length=32)]

IN_UNIT = {"hosts": "-H fd://", "containerd": "--containerd="}
"""Keys of daemon.json that the packages' unit also gives as flags: the daemon refuses both."""


class AddressPool(BaseModel):
    """Addresses that Docker takes networks from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Cidr = Field(description="network that is cut up")
    size: int = Field(ge=8, le=128, description="prefix length of each piece")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        prefix = int(self.base.rpartition("/")[2])
        if self.size < prefix:
            raise ValueError(f"a /{self.size} does not fit into {self.base}")
        return self


class Ulimit(BaseModel):
    """A limit of processes in containers; -1 is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    soft: int = Field(ge=-1, description="limit that a process may raise")
    hard: int = Field(ge=-1, description="limit of that")

    @model_validator(mode="after")
    def _soft_below_hard(self) -> Self:
        if self.hard != -1 and (self.soft == -1 or self.soft > self.hard):
            raise ValueError(f"soft {self.soft} is above hard {self.hard}")
        return self


class Vars(RoleVars):
    """Settings of Docker."""

    model_config = ConfigDict(hide_input_in_errors=True)

    docker_source: Source = Field(
        default="docker",
        description="whose packages: Docker's docker-ce, or the distribution's docker.io (Debian "
        "and Ubuntu). containerd_source has to be the same.",
    )
    docker_version: Version | None = Field(
        default=None,
        description="version of the engine and its client, or the beginning of one (29.4); unset "
        "takes any that is installed, or the newest",
    )
    docker_buildx_version: Version | None = Field(
        default=None, description="version of docker-buildx-plugin (source docker)"
    )
    docker_compose_version: Version | None = Field(
        default=None, description="version of docker-compose-plugin (source docker)"
    )
    docker_hold: bool = Field(
        default=True, description="keep upgrades from changing the packages' versions, as a set"
    )
    docker_remove_conflicting: bool = Field(
        default=True,
        description="remove the packages that Docker names as conflicting (source docker; on the "
        "RHEL family podman is one of them)",
    )
    docker_cgroup_driver: Literal["systemd", "cgroupfs"] = Field(
        default="systemd", description="who manages containers' cgroups"
    )
    docker_log_driver: Name = Field(
        default="json-file", description="where containers' output goes"
    )
    docker_log_max_size: Size = Field(
        default="100m", description="size of a log file (json-file and local)"
    )
    docker_log_max_file: int = Field(
        default=3, ge=1, le=1000, description="log files kept of a container (json-file and local)"
    )
    docker_log_opts: dict[str, str] = Field(
        default_factory=dict, description="further options of the log driver"
    )
    docker_registry_mirrors: tuple[Url, ...] = Field(
        default=(), description="mirrors of Docker Hub, tried in this order"
    )
    docker_insecure_registries: tuple[str, ...] = Field(
        default=(), description="registries (host:port or network) without valid TLS"
    )
    docker_data_root: Path | None = Field(
        default=None, description="where images and containers lie; unset is /var/lib/docker"
    )
    docker_storage_driver: Name | None = Field(
        default=None, description="storage driver; unset leaves the choice to Docker"
    )
    docker_live_restore: bool = Field(
        default=True, description="let containers run on while the daemon restarts; not with swarm"
    )
    docker_address_pools: tuple[AddressPool, ...] = Field(
        default=(), description="addresses for container networks"
    )
    docker_bip: InterfaceAddress | None = Field(
        default=None, description="address of the default bridge, with its prefix"
    )
    docker_mtu: int | None = Field(
        default=None, ge=576, le=65535, description="MTU of the default bridge"
    )
    docker_dns: tuple[Address, ...] = Field(
        default=(), description="name servers for containers; unset are the host's"
    )
    docker_ulimits: dict[Name, Ulimit] = Field(
        default_factory=dict, description="default limits in containers, such as memlock, nofile"
    )
    docker_features: dict[Name, bool] = Field(
        default_factory=dict, description="features of the daemon, such as cdi"
    )
    docker_keep_forwarding: bool | None = Field(
        default=None,
        description="keep the host a router: Docker sets the FORWARD policy to DROP, and pods on "
        "other nodes are not reached; unset is true on hosts with the role kubernetes",
    )
    docker_users: tuple[UserName, ...] = Field(
        default=(), description="members of the group docker, who are as good as root"
    )
    docker_config_extra: dict[str, Any] = Field(
        default_factory=dict,
        description="further keys of daemon.json, merged over all others; null removes one",
    )
    docker_http_proxy: SecretUrl | None = Field(default=None, description="proxy for http")
    docker_https_proxy: SecretUrl | None = Field(default=None, description="proxy for https")
    docker_no_proxy: tuple[Destination, ...] = Field(
        default=("localhost", "127.0.0.1", "::1"),
        description="hosts, domains and networks that are reached without the proxy",
    )

    @field_validator("docker_insecure_registries")
    @classmethod
    def _are_registries(cls, registries: tuple[str, ...]) -> tuple[str, ...]:
        for registry in registries:
            if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d{1,5})?|[0-9a-f.:]+/\d{1,3}", registry):
                raise ValueError(f"{registry!r} is not host, host:port or a network: no http://")
        return registries

    @field_validator("docker_config_extra")
    @classmethod
    def _not_in_the_unit(cls, extra: dict[str, Any]) -> dict[str, Any]:
        for key, flag in IN_UNIT.items():
            if key in extra:
                raise ValueError(
                    f"{key!r} is given by the package's unit as {flag}, and Docker does not start "
                    f"when daemon.json has it too; use a drop-in of the unit"
                )
        return extra

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.docker_source == "distribution":
            for name in ("docker_buildx_version", "docker_compose_version"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for docker_source: docker")
        if self.docker_live_restore and "swarm-default-advertise-addr" in self.docker_config_extra:
            raise ValueError("docker_live_restore does not work with swarm: set it to false")
        return self
