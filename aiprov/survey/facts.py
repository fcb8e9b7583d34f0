"""What a host *is*, and no role changes: OS, architecture, kernel, PCI devices, memory, network.

Pure parsers over the agent's raw answer. GPUs are found by PCI id, never by a tool that a role
installs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["debian", "redhat"]


@dataclass(frozen=True, kw_only=True)
class PciDevice:
    """One PCI function. Ids are lower-case hex without ``0x``; link speed in GT/s."""

    address: str
    vendor: str
    device: str
    class_code: str
    subsystem_vendor: str = ""
    subsystem_device: str = ""
    driver: str = ""
    numa_node: int | None = None
    link_speed: float | None = None
    link_width: int | None = None


@dataclass(frozen=True, kw_only=True)
class Interface:
    """A network interface and its addresses in CIDR notation."""

    name: str
    mac: str = ""
    mtu: int = 0
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A host's facts. ``name`` is the inventory's name of it, ``hostname`` its own."""

    name: str
    hostname: str
    os_id: str  # os-release ID: debian, ubuntu, rhel, rocky, almalinux
    os_version: str  # VERSION_ID: 12, 24.04, 9.6
    os_codename: str  # bookworm, noble; empty where there is none
    os_name: str  # PRETTY_NAME
    family: Family
    architecture: str  # uname -m: x86_64, aarch64
    kernel: str  # uname -r
    python: str  # 3.11.2
    boot_id: str
    cpus: int
    memory_bytes: int
    swap_bytes: int = 0
    virtualization: str = ""  # systemd-detect-virt; empty on bare metal
    secure_boot: bool | None = None  # None: not an EFI machine
    cgroup_version: Literal[1, 2] = 2
    pci_devices: tuple[PciDevice, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    time_zone: str = ""

    @property
    def deb_architecture(self) -> str:
        """dpkg's name of the architecture: amd64, arm64."""
        return {"x86_64": "amd64", "aarch64": "arm64"}.get(self.architecture, self.architecture)

    @property
    def os_major(self) -> str:
        """The OS's major version: 12, 24, 9."""
        return self.os_version.partition(".")[0]
