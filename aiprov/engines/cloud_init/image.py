"""What a pristine image is, as facts: for a host that has never booted and cannot be asked."""

from __future__ import annotations

from collections.abc import Sequence

from aiprov.catalog import operating_system
from aiprov.errors import UsageError
from aiprov.survey.facts import Facts, PciDevice


def pristine(system: str, architecture: str, *, name: str, gpus: Sequence[str] = ()) -> Facts:
    """The facts of an image of that OS (``debian-12``), for the inventory's host of that name.

    Only what an image decides is in it: no network, no memory, no Secure Boot, and of devices the
    ``gpus`` (PCI ids) that the instance is going to have. Raises ``UsageError`` for a word that
    names no OS, ``UnsupportedError`` for an OS that has no row.
    """
    os_id, _, version = system.partition("-")
    if not os_id or not version:
        raise UsageError(f"--os {system}: not an OS and its version", hint="such as debian-12")
    row = operating_system(os_id, version)
    return Facts(
        name=name,
        hostname=name,
        os_id=row.id,
        os_version=version,
        os_codename=row.codename,
        os_name=row.name,
        family=row.family,
        architecture=architecture,
        kernel="",
        python=row.python,
        boot_id="",
        cpus=0,
        memory_bytes=0,
        pci_devices=tuple(_gpu(number, pci_id) for number, pci_id in enumerate(gpus, 1)),
    )


def _gpu(number: int, pci_id: str) -> PciDevice:
    vendor, _, device = pci_id.partition(":")
    address = f"0000:{number:02x}:00.0"
    return PciDevice(address=address, vendor=vendor, device=device, class_code="030200")
