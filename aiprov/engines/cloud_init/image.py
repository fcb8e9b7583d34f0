"""What a pristine image is, as facts: for a host that has never booted and cannot be asked."""

from __future__ import annotations

from aiprov.catalog import operating_system
from aiprov.errors import UsageError
from aiprov.survey.facts import Facts


def pristine(system: str, architecture: str, *, name: str) -> Facts:
    """The facts of an image of that OS (``debian-12``), for the inventory's host of that name.

    Only what an image decides is in it: no devices, no network, no memory, no Secure Boot. Raises
    ``UsageError`` for a word that names no OS, ``UnsupportedError`` for an OS that has no row.
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
    )
