"""Words, names and amounts as Kubernetes writes them, and what its values have in common.

Durations are Go's (``4m0s``), quantities Kubernetes' (``500m``, ``2Gi``).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_KEY = rf"({_DNS_NAME}/)?{_LABEL}"
_HOST_PORT = rf"({_DNS_NAME}|\d{{1,3}}(\.\d{{1,3}}){{3}}|\[[0-9a-f:]+\]):\d{{1,5}}"


def _written(pattern: str, form: str, most: int | None = None) -> AfterValidator:
    """A text of a form that words tell better than its pattern, of so many letters at most."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"{value!r} is not {form}")
        if most is not None and len(value) > most:
            raise ValueError(f"{value!r} is longer than {most} letters")
        return value

    return AfterValidator(check)


Release = Annotated[str, StringConstraints(pattern=r"^1\.\d+\.\d+$")]
"""A whole version (``1.36.4``): for less, kubeadm asks the Internet which one is meant."""

DnsName = Annotated[
    str,
    _written(
        _DNS_NAME,
        "a name of DNS: lower case letters, digits, hyphens and dots, with a letter or digit at "
        "both ends of each part",
        most=253,
    ),
]
"""A name of DNS in lower case, as nodes and domains have it."""

Endpoint = Annotated[
    str,
    _written(
        _HOST_PORT,
        "host and port, such as k8s.example.org:6443, 10.0.0.1:6443 or [fd00::1]:6443, in lower "
        "case",
    ),
]
"""Host and port: ``k8s.example.org:6443``, ``10.0.0.1:6443``, ``[fd00::1]:6443``."""

Key = Annotated[
    str,
    _written(
        _KEY,
        "a label's or taint's key, such as pool or example.net/pool: at most 63 letters, "
        "digits, _, . and -, with a letter or digit at both ends, behind a name of DNS and a "
        "slash or not",
    ),
]
"""The key of a label or taint: ``nvidia.com/gpu.product``."""

Value = Annotated[
    str,
    _written(
        rf"({_LABEL})?",
        "a label's or taint's value: at most 63 letters, digits, _, . and -, with a letter or "
        "digit at both ends, or nothing",
    ),
]
"""The value of a label or taint, which may be empty."""

Quantity = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(m|k|[KMGTPE]i|[MGTPE])?$")]
"""An amount of a resource: ``500m``, ``2Gi``, ``4``."""

Threshold = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(%|m|k|[KMGTPE]i|[MGTPE])?$")]
"""When pods are evicted: a quantity, or per cent."""

Duration = Annotated[str, StringConstraints(pattern=r"^(\d+h(\d+m)?(\d+s)?|\d+m(\d+s)?|\d+s)$")]
"""A time as Go writes it: ``1h30m0s``."""

CpuList = Annotated[str, StringConstraints(pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*$")]
"""CPUs by number: ``0-3,64-67``."""

Flag = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
"""A command line flag, without its dashes."""

Phase = Annotated[str, StringConstraints(pattern=r"^[a-z-]+(/[a-z-]+)*$")]
"""A phase of kubeadm's: ``addon/coredns``."""

Repository = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+(:\d{1,5})?(/[a-z0-9._-]+)*$")]
"""Where images are: ``registry.example.org:5000/k8s``."""

Arguments = dict[Flag, str | tuple[str, ...]]
"""Flags of a component; several values where a flag is given several times (from 1.31)."""

Reserved = dict[Literal["cpu", "memory", "ephemeral-storage", "pid"], Quantity]

Signal = Literal[
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
]
"""What eviction is decided by (kubernetes.io node-pressure-eviction, read 2026-11-21)."""


def _socket(value: str) -> str:
    path = value.removeprefix("unix://")
    if not path.startswith("/") or any(part in ("", "..") for part in path.split("/")[1:]):
        raise ValueError(f"{value!r} is not a socket such as /run/containerd/containerd.sock")
    return path


Socket = Annotated[str, AfterValidator(_socket)]
"""A container runtime's socket: a path; ``unix://`` before it is taken off."""


def _check(value: str) -> str:
    if value.lower() == "all":
        raise ValueError(f"{value!r} hides what is wrong with a host: name the checks")
    return value


PreflightCheck = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"), AfterValidator(_check)
]
"""A check of kubeadm's by its name, such as ``NumCPU``: never all of them."""


class Part(BaseModel):
    """A value of the model. Its mistakes do not repeat what was given: some of it is secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
