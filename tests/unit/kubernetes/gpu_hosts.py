"""Hosts with GPUs, as facts."""

from __future__ import annotations

from aiprov.survey.facts import Facts, PciDevice

GIB = 1024**3


def host(
    *devices: str, cpus: int = 192, gib: int = 2048, numa: tuple[int | None, ...] = ()
) -> Facts:
    return Facts(
        name="w1",
        hostname="w1",
        os_id="ubuntu",
        os_version="24.04",
        os_codename="noble",
        os_name="Ubuntu 24.04",
        family="debian",
        architecture="x86_64",
        kernel="6.8.0-90-generic",
        python="3.12.3",
        boot_id="0",
        cpus=cpus,
        memory_bytes=gib * GIB,
        pci_devices=tuple(
            PciDevice(
                address=f"0000:{index:02x}:00.0",
                vendor="10de",
                device=device,
                class_code="030200",
                numa_node=numa[index] if numa else None,
            )
            for index, device in enumerate(devices)
        ),
    )
