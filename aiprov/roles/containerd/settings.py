"""containerd's variables."""

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
from aiprov.values import Destination, Name, Path, PublicKey, SecretUrl, Url, Version

RUNC = "io.containerd.runc.v2"
DOCKER_URL = "https://download.docker.com"

RegistryName = Annotated[str, StringConstraints(pattern=r"^(_default|[a-z0-9.-]+(:\d{1,5})?)$")]
"""A registry as image names have it (``docker.io``, ``registry:5000``), or ``_default``."""

Plugin = Annotated[str, StringConstraints(pattern=r"^io\.containerd\.[a-z0-9-]+\.v\d+\.[\w-]+$")]
"""A plugin's full id: ``io.containerd.snapshotter.v1.btrfs``."""


class Runtime(BaseModel):
    """One runtime of the CRI plugin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str = Field(default=RUNC, description="shim that runs it")
    binary: Path | None = Field(default=None, description="OCI runtime, where it is not runc")
    options: dict[str, Any] = Field(default_factory=dict, description="further options of the shim")
    extra: dict[str, Any] = Field(default_factory=dict, description="further keys of the runtime")


class Mirror(BaseModel):
    """One place to pull a registry's images from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Url = Field(description="URL of the mirror")
    capabilities: tuple[Literal["pull", "resolve", "push"], ...] = Field(
        default=("pull", "resolve"), description="what the mirror is trusted with"
    )
    ca: Path | None = Field(default=None, description="CA certificate, a path on the host")
    skip_verify: bool = Field(default=False, description="accept any TLS certificate")
    override_path: bool = Field(default=False, description="the URL holds the API's whole path")


class Registry(BaseModel):
    """Where a registry's images come from: its mirrors in order, then its own server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: Url | None = Field(default=None, description="URL of the registry itself")
    mirrors: tuple[Mirror, ...] = Field(default=(), description="mirrors, tried in this order")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.server is None and not self.mirrors:
            raise ValueError("give a server or at least one mirror")
        return self


class Vars(RoleVars):
    """Settings of containerd."""

    model_config = ConfigDict(hide_input_in_errors=True)

    containerd_source: Source = Field(
        default="docker",
        description="whose package: Docker's containerd.io, or the distribution's containerd "
        "(Debian and Ubuntu). The docker role needs the same source.",
    )
    containerd_version: Version | None = Field(
        default=None,
        description="version or the beginning of one (2.2, 1.7.24); unset takes any that is "
        "installed, or the newest",
    )
    containerd_hold: bool = Field(
        default=True, description="keep upgrades from changing the package's version"
    )
    containerd_repository_url: Url = Field(
        default=DOCKER_URL,
        description="where Docker's packages are, with linux/debian and so on below: a mirror",
    )
    containerd_repository_key: PublicKey | None = Field(
        default=None,
        description="armoured public key of a mirror that signs by itself; only with "
        "containerd_repository_url",
    )
    containerd_config_version: Literal[2, 3, 4] | None = Field(
        default=None,
        description="schema of config.toml, where an older one is to be kept; unset is the newest "
        "that the installed containerd reads",
    )
    containerd_systemd_cgroup: bool = Field(
        default=True, description="let systemd manage containers' cgroups, in every runc runtime"
    )
    containerd_runtimes: dict[Name, Runtime] = Field(
        default_factory=dict, description="runtimes beside runc (or more about runc)"
    )
    containerd_default_runtime: Name = Field(
        default="runc", description="runtime of pods that ask for none"
    )
    containerd_disabled_plugins: tuple[Plugin, ...] = Field(
        default=(), description="plugins that are not loaded, by their full ids; never the CRI"
    )
    containerd_imports: tuple[Path, ...] = Field(
        default=("/etc/containerd/conf.d/*.toml",),
        description="further configuration files; replaces the list in the file",
    )
    containerd_sandbox_image: str | None = Field(
        default=None, description="image of pods' pause container; unset leaves it to containerd"
    )
    containerd_data_root: Path | None = Field(
        default=None, description="where images and containers lie; unset is /var/lib/containerd"
    )
    containerd_snapshotter: Name | None = Field(
        default=None, description="snapshotter of the CRI plugin; unset is overlayfs"
    )
    containerd_registries: dict[RegistryName, Registry] = Field(
        default_factory=dict,
        description="mirrors by registry (docker.io, registry:5000, _default), as hosts.toml",
    )
    containerd_cni_bin_dir: Path | None = Field(
        default=None,
        description="where CNI plugins lie; unset leaves what the package says (Debian's says "
        "/usr/lib/cni, most CNI installers use /opt/cni/bin)",
    )
    containerd_cni_conf_dir: Path | None = Field(
        default=None, description="where CNI configurations lie; unset leaves what the package says"
    )
    containerd_cdi: bool = Field(
        default=True, description="let pods ask for devices by CDI (NVIDIA GPUs)"
    )
    containerd_config_extra: dict[str, Any] = Field(
        default_factory=dict,
        description="further keys of config.toml, merged over all others; null removes one",
    )
    containerd_http_proxy: SecretUrl | None = Field(default=None, description="proxy for http")
    containerd_https_proxy: SecretUrl | None = Field(default=None, description="proxy for https")
    containerd_no_proxy: tuple[Destination, ...] = Field(
        default=("localhost", "127.0.0.1", "::1"),
        description="hosts, domains and networks that are reached without the proxy; add pod and "
        "service networks, node addresses, .svc and .cluster.local for Kubernetes",
    )

    @field_validator("containerd_disabled_plugins")
    @classmethod
    def _keeps_the_cri(cls, plugins: tuple[str, ...]) -> tuple[str, ...]:
        for plugin in plugins:
            if re.search(r"\.cri(\.|$)", plugin):
                raise ValueError(f"{plugin} is the CRI, which Kubernetes needs")
        return plugins

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.containerd_default_runtime not in {"runc", *self.containerd_runtimes}:
            raise ValueError(
                f"containerd_default_runtime {self.containerd_default_runtime!r} is not one of "
                f"containerd_runtimes"
            )
        if self.containerd_repository_key and self.containerd_repository_url == DOCKER_URL:
            raise ValueError("containerd_repository_key is for a mirror: set its URL too")
        return self
