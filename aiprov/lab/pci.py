"""Simulated PCI devices: a prepared folder that a host sees as its /sys/bus/pci/devices.

The kernel's own lspci and every fact gatherer read these files, so no tool needs to be replaced.
This module knows the layout only; which device has which numbers is the caller's data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class PciDevice:
    """One PCI function as sysfs shows it. Numbers are as in the PCI id list."""

    address: str  # "0000:01:00.0"
    vendor: int
    device: int
    class_code: int = 0x030200  # class, subclass, programming interface
    subsystem_vendor: int = 0
    subsystem_device: int = 0
    revision: int = 0xA1
    current_link_speed: str = "32.0 GT/s PCIe"
    current_link_width: int = 16
    max_link_speed: str = "32.0 GT/s PCIe"
    max_link_width: int = 16
    numa_node: int = 0
    irq: int = 0
    config: bytes = b""  # 64 or 256 bytes; made from the numbers above when empty
    files: Mapping[str, str] = field(default_factory=dict)  # more sysfs files, by name


def config_space(device: PciDevice) -> bytes:
    """The first 256 bytes of configuration space, enough for lspci to name the device."""
    if device.config:
        return device.config
    space = bytearray(256)
    struct.pack_into("<HH", space, 0x00, device.vendor, device.device)
    struct.pack_into("<HH", space, 0x04, 0x0406, 0x0010)  # memory, bus master, INTx off; has list
    struct.pack_into("<I", space, 0x08, (device.class_code << 8) | device.revision)
    struct.pack_into("<HH", space, 0x2C, device.subsystem_vendor, device.subsystem_device)
    return bytes(space)


def sysfs_files(device: PciDevice) -> dict[str, bytes]:
    """The files of the device's folder by name."""
    text = {
        "vendor": f"0x{device.vendor:04x}",
        "device": f"0x{device.device:04x}",
        "class": f"0x{device.class_code:06x}",
        "subsystem_vendor": f"0x{device.subsystem_vendor:04x}",
        "subsystem_device": f"0x{device.subsystem_device:04x}",
        "revision": f"0x{device.revision:02x}",
        "current_link_speed": device.current_link_speed,
        "current_link_width": str(device.current_link_width),
        "max_link_speed": device.max_link_speed,
        "max_link_width": str(device.max_link_width),
        "numa_node": str(device.numa_node),
        "irq": str(device.irq),
        "enable": "1",
        "resource": "\n".join(["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 13),
        "modalias": (
            f"pci:v{device.vendor:08X}d{device.device:08X}"
            f"sv{device.subsystem_vendor:08X}sd{device.subsystem_device:08X}"
            f"bc{device.class_code >> 16:02X}sc{device.class_code >> 8 & 0xFF:02X}"
            f"i{device.class_code & 0xFF:02X}"
        ),
        **device.files,
    }
    files = {name: f"{value}\n".encode() for name, value in text.items()}
    files["config"] = config_space(device)
    return files


def write(devices: Iterable[PciDevice], folder: Path) -> None:
    """Lay the devices into a folder, one sub-folder each."""
    folder.mkdir(parents=True, exist_ok=True)
    for device in devices:
        place = folder / device.address
        place.mkdir()
        for name, content in sysfs_files(device).items():
            (place / name).write_bytes(content)
