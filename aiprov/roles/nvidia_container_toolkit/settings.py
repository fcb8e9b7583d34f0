"""The container toolkit's variables."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from aiprov.catalog.nvidia_repositories import TOOLKIT_URL
from aiprov.roles import RoleVars
from aiprov.values import PublicKey, Url, Version, laid_over

Runtime = Literal["docker", "containerd", "crio"]

CDI_SINCE = (1, 18)
"""The toolkit brings nvidia-cdi-refresh from this version on (its release notes, 2025-10)."""


class Vars(RoleVars):
    """Settings of NVIDIA's container toolkit."""

    nvidia_container_toolkit_state: Literal["present", "absent"] = Field(
        default="present",
        description="absent takes it away again: packages, runtimes, CDI specification",
    )
    nvidia_container_toolkit_version: Version | None = Field(
        default=None,
        description="version of its four packages, or the beginning of one (1.20); unset takes any "
        "that is installed, or the newest",
    )
    nvidia_container_toolkit_hold: bool = Field(
        default=True, description="keep upgrades from changing the packages' versions"
    )
    nvidia_container_toolkit_repository_url: Url = Field(
        default=TOOLKIT_URL,
        description="where NVIDIA's packages are, with stable/deb and so on below: a mirror",
    )
    nvidia_container_toolkit_repository_key: PublicKey | None = Field(
        default=None,
        description="armoured public key of a mirror that signs by itself; only with "
        "nvidia_container_toolkit_repository_url",
    )
    nvidia_container_toolkit_runtimes: Literal["auto"] | tuple[Runtime, ...] = Field(
        default="auto",
        description="container runtimes that get the runtime nvidia; auto are those that the "
        "host's roles bring; an empty list is for podman, which needs CDI alone",
    )
    nvidia_container_toolkit_default_runtime: bool | None = Field(
        default=None,
        description="make nvidia the runtime of containers that ask for none; false makes it "
        "Docker's own again, unset leaves it",
    )
    nvidia_container_toolkit_mode: Literal["auto", "cdi", "legacy"] = Field(
        default="auto", description="how the runtime nvidia brings GPUs into containers"
    )
    nvidia_container_toolkit_cdi: bool = Field(
        default=True,
        description="keep a CDI specification of the GPUs up to date, and let runtimes use it",
    )
    nvidia_container_toolkit_accept_envvar_when_unprivileged: bool | None = Field(
        default=None,
        description="let unprivileged containers choose GPUs by NVIDIA_VISIBLE_DEVICES; false "
        "keeps users from taking GPUs that Kubernetes did not give them; unset is the toolkit's "
        "own default, true",
    )
    nvidia_container_toolkit_accept_volume_mounts: bool | None = Field(
        default=None,
        description="let containers choose GPUs by volume mounts, as the device plugin can; unset "
        "is the toolkit's own default, false",
    )
    nvidia_container_toolkit_log_level: Literal["debug", "info", "warning", "error"] | None = Field(
        default=None, description="what the runtime nvidia logs; unset is info"
    )
    nvidia_container_toolkit_config_extra: dict[str, Any] = Field(
        default_factory=dict,
        description="further keys of /etc/nvidia-container-runtime/config.toml, merged over all "
        "others; null removes one",
    )
    nvidia_container_toolkit_containerd_config_version: Literal[2, 3, 4] | None = Field(
        default=None,
        description="schema of containerd's drop-in; unset is that of config.toml, and it can "
        "never be above that",
    )
    nvidia_container_toolkit_runtime_class: bool = Field(
        default=False, description="write the manifest of Kubernetes' RuntimeClass nvidia"
    )

    @field_validator("nvidia_container_toolkit_runtimes", mode="before")
    @classmethod
    def _one_by_name(cls, value: Any) -> Any:
        """A single runtime may be given without a list."""
        return (value,) if isinstance(value, str) and value != "auto" else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (
            self.nvidia_container_toolkit_repository_key
            and self.nvidia_container_toolkit_repository_url == TOOLKIT_URL
        ):
            raise ValueError(
                "nvidia_container_toolkit_repository_key is for a mirror: set its URL too"
            )
        if self.nvidia_container_toolkit_mode == "cdi" and not self.nvidia_container_toolkit_cdi:
            raise ValueError(
                "nvidia_container_toolkit_mode: cdi needs nvidia_container_toolkit_cdi"
            )
        version = self.nvidia_container_toolkit_version
        if version and self.nvidia_container_toolkit_cdi and _numbers(version) < CDI_SINCE:
            raise ValueError(
                f"container toolkit {version} does not keep CDI specifications up to date, which "
                "came with 1.18: ask for a newer one, or set nvidia_container_toolkit_cdi: false "
                "and nvidia_container_toolkit_mode: legacy"
            )
        return self


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def config_toml(vars: Vars) -> dict[str, Any]:
    """The keys of the toolkit's config.toml that are ours.

    Names: api/config/v1 of NVIDIA/nvidia-container-toolkit d34b3046 (1.20.0, 2026-08-21).
    """
    runtime: dict[str, Any] = {"mode": vars.nvidia_container_toolkit_mode}
    if vars.nvidia_container_toolkit_log_level is not None:
        runtime["log-level"] = vars.nvidia_container_toolkit_log_level
    values: dict[str, Any] = {"nvidia-container-runtime": runtime}
    accepted = {
        "envvar-when-unprivileged": vars.nvidia_container_toolkit_accept_envvar_when_unprivileged,
        "as-volume-mounts": vars.nvidia_container_toolkit_accept_volume_mounts,
    }
    for what, allowed in accepted.items():
        if allowed is not None:
            values[f"accept-nvidia-visible-devices-{what}"] = allowed
    return laid_over(values, vars.nvidia_container_toolkit_config_extra)
