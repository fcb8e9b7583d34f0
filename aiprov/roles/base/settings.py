"""The base role's variables."""

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
from aiprov.values import Address, Destination, Name, PackageName, SecretUrl

HostName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
        r"(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
        max_length=64,
    ),
]
"""A host's name. Linux takes 64 characters at most."""

NtpServer = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]+$")]
SysctlKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+([./][A-Za-z0-9_*-]+)+$")]
ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]
OptionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9:_-]*$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
OneLine = Annotated[str, StringConstraints(pattern=r"^[^\n\"\\]*$")]

KEPT_OFF = (
    "containerd",
    "runc",
    "docker",
    "nvidia-",
    "libnvidia-",
    "cuda-",
    "kubelet",
    "kubeadm",
    "kubectl",
    "kubernetes-cni",
    "cri-tools",
)


class Limit(BaseModel):
    """One line of limits.conf(5)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str = Field(pattern=r"^\S+$", description="user, @group, or *")
    type: Literal["soft", "hard", "-"] = Field(default="-", description="- is both")
    item: str = Field(pattern=r"^[a-z]+$", description="what is limited, such as memlock, nofile")
    value: int | Literal["unlimited"] = Field(description="the limit")


class Vars(RoleVars):
    """Settings of the base."""

    model_config = ConfigDict(hide_input_in_errors=True)

    # packages
    base_packages: tuple[PackageName, ...] = Field(default=(), description="packages to have")
    base_packages_absent: tuple[PackageName, ...] = Field(
        default=(), description="packages not to have"
    )
    base_packages_held: dict[PackageName, str | None] = Field(
        default_factory=dict,
        description="packages to have and to hold, each with its version, the beginning of one, or "
        "null for any",
    )
    base_unattended_upgrades_keep_off: tuple[OneLine, ...] = Field(
        default=KEPT_OFF,
        description="beginnings of package names (regular expressions) that unattended-upgrades "
        "leaves alone",
    )
    base_apt_lock_timeout_s: int = Field(
        default=300, ge=0, le=3600, description="how long apt waits for another apt, in seconds"
    )
    base_apt_retries: int = Field(default=3, ge=0, le=20, description="how often apt tries again")
    base_apt_install_recommends: bool | None = Field(
        default=None, description="whether apt installs recommended packages; unset is apt's choice"
    )
    base_apt_options: dict[OptionName, OneLine] = Field(
        default_factory=dict, description="further options of apt, such as Acquire::ForceIPv4"
    )
    base_dnf_options: dict[OptionName, OneLine] = Field(
        default_factory=dict,
        description="options of dnf's main section; aiprov then owns the whole /etc/dnf/dnf.conf",
    )

    # who the host is
    base_manage_hostname: bool = Field(default=True, description="set the host's name")
    base_hostname: HostName | None = Field(
        default=None,
        description="the host's name; unset is the inventory's name of it, unless that is an "
        "address or localhost",
    )
    base_manage_etc_hosts: bool = Field(
        default=True,
        description="write /etc/hosts from the inventory, all of it: other lines belong into "
        "base_etc_hosts_extra. Also keeps cloud-init from writing it.",
    )
    base_etc_hosts_extra: dict[Address, tuple[HostName, ...]] = Field(
        default_factory=dict, description="further lines of /etc/hosts: names by address"
    )

    # time
    base_time_sync: Literal["auto", "chrony", "timesyncd", "none"] = Field(
        default="auto", description="who keeps the clock; auto is what the OS ships"
    )
    base_ntp_servers: tuple[NtpServer, ...] = Field(
        default=(), description="time servers; unset are the distribution's"
    )
    base_time_zone: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z]+(/[A-Za-z0-9_+-]+){0,2}$",
        description="time zone, such as Etc/UTC; unset leaves it alone",
    )

    # kernel
    base_sysctls: dict[SysctlKey, str | int] = Field(
        default_factory=dict, description="kernel parameters, now and at every boot"
    )
    base_limits: tuple[Limit, ...] = Field(
        default=(), description="limits of login sessions (limits.conf)"
    )
    base_kernel_modules: tuple[ModuleName, ...] = Field(
        default=(), description="kernel modules, loaded now and at every boot"
    )
    base_swap: Literal["keep", "off"] = Field(
        default="keep", description="off: no swap, now and at any boot (Kubernetes)"
    )

    # network
    base_http_proxy: SecretUrl | None = Field(default=None, description="proxy for http")
    base_https_proxy: SecretUrl | None = Field(default=None, description="proxy for https")
    base_no_proxy: tuple[Destination, ...] = Field(
        default=("localhost", "127.0.0.1", "::1"),
        description="hosts, domains and networks that are reached without the proxy",
    )
    base_environment: dict[VariableName, OneLine] = Field(
        default_factory=dict,
        description="variables for every login; with these or a proxy, aiprov owns the whole "
        "/etc/environment",
    )
    base_ca_certificates: dict[Name, str] = Field(
        default_factory=dict, description="CA certificates to trust: PEM text by name"
    )

    @field_validator("base_ca_certificates")
    @classmethod
    def _one_certificate_each(cls, certificates: dict[str, str]) -> dict[str, str]:
        # update-ca-certificates links the first certificate of a file only.
        pem = re.compile(
            r"\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*"
        )
        for name, text in certificates.items():
            if not pem.fullmatch(text):
                raise ValueError(f"{name} is not one certificate as PEM text")
        return certificates

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        twice = set(self.base_packages_absent) & {*self.base_packages, *self.base_packages_held}
        if twice:
            raise ValueError(f"wanted and not wanted at once: {', '.join(sorted(twice))}")
        if self.base_ntp_servers and self.base_time_sync == "none":
            raise ValueError("base_ntp_servers without anyone to use them: base_time_sync is none")
        if self.base_hostname is not None and not self.base_manage_hostname:
            raise ValueError("base_hostname is not used while base_manage_hostname is false")
        return self
