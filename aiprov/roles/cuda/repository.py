"""NVIDIA's repository, for roles that need it for something else than the driver.

Where the driver comes from it, role ``nvidia_driver`` has put it there. Everywhere else it is added
without the driver's packages: on a host without a GPU nothing may bring a driver in, and next to a
distribution's driver nothing may replace a part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from aiprov.catalog.nvidia_repositories import CUDA_URL
from aiprov.catalog.resolution import Resolution
from aiprov.errors import UnsupportedError
from aiprov.resources import Absent, DnfRepository, File, Resource
from aiprov.roles.nvidia_driver.repository import cuda_repository
from aiprov.survey.facts import Facts

PREFERENCES = "/etc/apt/preferences.d/aiprov-no-nvidia-driver"

DRIVER_PACKAGES = (
    "cuda-compat-*",
    "cuda-drivers*",
    "firmware-nvidia*",
    "kmod-nvidia*",
    "libcuda1*",
    "libcudadebugger1*",
    "libnvcuvid1*",
    "libnvidia-*",
    "libnvoptix1*",
    "libnvsdm*",
    "libxnvctrl*",
    "nvidia-alternative*",
    "nvidia-dkms*",
    "nvidia-driver*",
    "nvidia-egl-*",
    "nvidia-fabric*",
    "nvidia-firmware*",
    "nvidia-imex*",
    "nvidia-kernel*",
    "nvidia-kmod*",
    "nvidia-libXNVCtrl*",
    "nvidia-modprobe*",
    "nvidia-open*",
    "nvidia-opencl-*",
    "nvidia-persistenced*",
    "nvidia-settings*",
    "nvidia-smi*",
    "nvidia-suspend*",
    "nvidia-utils*",
    "nvidia-vdpau-*",
    "nvidia-xconfig*",
    "nvlink5*",
    "xserver-xorg-video-nvidia*",
)
"""The driver's packages in NVIDIA's repository, as apt and dnf match names."""


def repository(
    host: Facts,
    settings: Mapping[str, Any],
    resolution: Resolution,
) -> list[Resource]:
    """The repository, unless role ``nvidia_driver`` has it, and what keeps its drivers away.

    Raises ``UnsupportedError`` where ``cuda`` names another one than the driver comes from.
    """
    theirs = settings.get("nvidia_driver")
    url, key = _chosen(settings)
    driver = resolution.driver
    if theirs is not None and driver is not None and driver.source == "nvidia":
        _refuse_another(theirs.nvidia_driver_repository_url, url)
        return [Absent(path=PREFERENCES)] if host.family == "debian" else []
    return [*_preferences(host, url), *_without_drivers(cuda_repository(host, url, key))]


def _chosen(settings: Mapping[str, Any]) -> tuple[str, str | None]:
    """Its base URL and key: the first that ``cuda`` or ``nvidia_driver`` names, or NVIDIA's own."""
    url: str | None = None
    key: str | None = None
    for slug in ("cuda", "nvidia_driver"):
        theirs = settings.get(slug)
        url = url or getattr(theirs, f"{slug}_repository_url", None)
        key = key or getattr(theirs, f"{slug}_repository_key", None)
    return url or CUDA_URL, key


def _refuse_another(theirs: str | None, ours: str) -> None:
    if theirs is not None and ours != theirs:
        raise UnsupportedError(
            f"the driver comes from {theirs}, and CUDA should from {ours}",
            hint="set only nvidia_driver_repository_url: both are in that repository",
        )


def _preferences(host: Facts, url: str) -> list[Resource]:
    """apt's way to leave packages of a repository alone (apt_preferences(5))."""
    if host.family != "debian":
        return []
    text = (
        f"Package: {' '.join(DRIVER_PACKAGES)}\n"
        f'Pin: origin "{urlsplit(url).hostname}"\n'
        "Pin-Priority: -1\n"
    )
    return [File(path=PREFERENCES, content=text)]


def _without_drivers(items: list[Resource]) -> list[Resource]:
    return [
        replace(item, exclude=(*item.exclude, *DRIVER_PACKAGES))
        if isinstance(item, DnfRepository)
        else item
        for item in items
    ]
