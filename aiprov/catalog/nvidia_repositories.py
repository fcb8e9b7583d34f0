"""NVIDIA's package repositories and the keys that sign them.

Rows lie in ``data/nvidia_repositories.toml``, key texts in ``data/keys``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Literal

from aiprov.catalog import OperatingSystem, Row, _rows
from aiprov.errors import CatalogError, UnsupportedError

CUDA_URL = "https://developer.download.nvidia.com/compute/cuda/repos"
TOOLKIT_URL = "https://nvidia.github.io/libnvidia-container"


@dataclass(frozen=True, kw_only=True)
class SigningKey(Row):
    """A public signing key. ``path``: its file below the repository, or the base URL.

    ``fingerprint`` or ``sha256`` is ``None`` where only the other is known. ``file``: its text in
    ``data/keys``; ``None`` where the catalog does not have it.
    """

    name: str
    path: str
    fingerprint: str | None = None
    sha256: str | None = None
    file: str | None = None

    @property
    def text(self) -> str | None:
        """The armoured key, where the catalog has it."""
        if self.file is None:
            return None
        return (files("aiprov.catalog") / "data" / "keys" / self.file).read_text(encoding="ascii")


@dataclass(frozen=True, kw_only=True)
class CudaRepository(Row):
    """NVIDIA's repository of drivers and CUDA for one OS. ``name``: its folder below ``CUDA_URL``.

    ``keyring``: the package that brings the key and the repository, on Debian and Ubuntu.
    ``first_cuda``: the oldest toolkit that is known to be in it; ``None`` where that is no limit.
    """

    os: list[str]
    os_version: str
    name: str
    key: str
    keyring: str | None = None
    first_cuda: str | None = None
    keyring_sha256: Mapping[str, str] = field(default_factory=dict)

    def path(self, architecture: str) -> str:
        """Its path below ``CUDA_URL``: ``ubuntu2404/x86_64``.

        Raises ``UnsupportedError`` for an architecture that NVIDIA has no driver for.
        """
        return f"{self.name}/{nvidia_architecture(architecture)}"

    def keyring_checksum(self, architecture: str) -> str | None:
        """The sha256 of the keyring package; ``None`` where it is not known."""
        return self.keyring_sha256.get(nvidia_architecture(architecture))


@dataclass(frozen=True, kw_only=True)
class ToolkitRepository(Row):
    """The container toolkit's repository. ``path``: below ``TOOLKIT_URL``."""

    family: Literal["debian", "redhat"]
    path: str
    key: str


def nvidia_architecture(architecture: str) -> str:
    """What NVIDIA's repositories call a machine's architecture (``uname -m``).

    Raises ``UnsupportedError`` for one that they do not have.
    """
    if architecture not in ("x86_64", "aarch64"):
        raise UnsupportedError(
            f"NVIDIA has no packages for {architecture}", hint="it has them for x86_64 and aarch64"
        )
    return "sbsa" if architecture == "aarch64" else architecture


def cuda_repository(os: OperatingSystem) -> CudaRepository:
    """NVIDIA's repository for an OS. Raises ``UnsupportedError`` where there is none."""
    for row in _rows(CudaRepository, "nvidia_repositories", "cuda"):
        if os.id in row.os and os.version == row.os_version:
            return row
    raise UnsupportedError(
        f"NVIDIA has no repository for {os.name}", hint="choose another source or OS"
    )


def toolkit_repository(os: OperatingSystem) -> ToolkitRepository:
    """The container toolkit's repository for an OS."""
    for row in _rows(ToolkitRepository, "nvidia_repositories", "toolkit"):
        if row.family == os.family:
            return row
    raise UnsupportedError(
        f"NVIDIA has no container toolkit for {os.name}", hint="choose another OS"
    )


def signing_keys() -> tuple[SigningKey, ...]:
    """All keys of NVIDIA's."""
    return _rows(SigningKey, "nvidia_repositories", "key")


def signing_key(name: str) -> SigningKey:
    """The key of that name. Raises ``CatalogError`` where there is none."""
    for row in signing_keys():
        if row.name == name:
            return row
    raise CatalogError(f"there is no key {name!r}", hint="see aiprov/catalog/data")
