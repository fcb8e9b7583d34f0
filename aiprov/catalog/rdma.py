"""RDMA with GPU memory: adapters, the software that drives them, and what each needs.

Rows lie in ``data/rdma.toml``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aiprov.catalog import OperatingSystem, Row, _numbers, _rows
from aiprov.errors import UnsupportedError

DOCA_URL = "https://linux.mellanox.com/public/repo/doca"


@dataclass(frozen=True, kw_only=True)
class Adapter(Row):
    """Network adapters that speak RDMA. ``doca``: NVIDIA's DOCA-OFED drives them."""

    name: str
    vendor: str
    classes: list[str]
    doca: bool
    devices: list[str] = field(default_factory=list)

    def is_one(self, vendor: str, device: str, class_code: str) -> bool:
        """Whether a PCI function is one of them."""
        return (
            vendor == self.vendor
            and class_code[:4] in self.classes
            and device in (self.devices or [device])
        )


@dataclass(frozen=True, kw_only=True)
class Inbox(Row):
    """A distribution's own RDMA packages. ``peer_memory``: its kernels let nvidia_peermem in."""

    os: list[str]
    packages: list[str]
    peer_memory: bool


@dataclass(frozen=True, kw_only=True)
class DmaBuf(Row):
    """The first kernel whose RDMA takes GPU memory by DMA-BUF."""

    kernel: str


@dataclass(frozen=True, kw_only=True)
class Doca(Row):
    """DOCA-OFED's repository for releases of an OS, and the version of DOCA to have by default."""

    os: str
    os_versions: list[str]
    path: str
    version: str
    package: str


@dataclass(frozen=True, kw_only=True)
class Copy(Row):
    """GDRCopy's packages and its kernel module."""

    family: Literal["debian", "redhat"]
    packages: list[str]
    module: str


def adapter(vendor: str, device: str, class_code: str) -> Adapter | None:
    """What RDMA adapter a PCI function is; ``None`` where it is none."""
    for row in _rows(Adapter, "rdma", "adapter"):
        if row.is_one(vendor, device, class_code):
            return row
    return None


def inbox(os: OperatingSystem) -> Inbox:
    """The distribution's own RDMA stack. Raises ``UnsupportedError`` where it is not known."""
    for row in _rows(Inbox, "rdma", "inbox"):
        if os.id in row.os:
            return row
    raise UnsupportedError(
        f"{os.name}'s own RDMA packages are not known", hint="install them, and set present"
    )


def has_dma_buf(line: tuple[int, ...]) -> bool:
    """Whether a kernel's (major, minor) RDMA takes GPU memory by DMA-BUF."""
    return line >= _numbers(_rows(DmaBuf, "rdma", "dma_buf")[0].kernel)


def doca(os: OperatingSystem) -> Doca | None:
    """DOCA-OFED's repository; ``None`` where its name for this OS is not known."""
    for row in _rows(Doca, "rdma", "doca"):
        if os.id == row.os and os.version in row.os_versions:
            return row
    return None


def doca_architecture(architecture: str) -> str:
    """What DOCA's repositories call a machine's architecture (``uname -m``)."""
    return "arm64-sbsa" if architecture == "aarch64" else architecture


def gdrcopy(os: OperatingSystem) -> Copy:
    """GDRCopy for an OS."""
    return next(row for row in _rows(Copy, "rdma", "gdrcopy") if row.family == os.family)
