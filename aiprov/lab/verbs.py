"""The lab's verbs as the command line has them: names in, documents out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiprov.errors import LabError
from aiprov.lab.access import is_running
from aiprov.lab.access import ssh_argv as access_argv
from aiprov.lab.build import HostSpec
from aiprov.lab.handle import Lab
from aiprov.lab.state import default_directory


def bring_up(
    hosts: Sequence[str],
    *,
    number: int | None,
    suite: str,
    groups: Sequence[str],
    directory: str | None,
    say: Callable[[str], object],
) -> None:
    """Bring hosts up: those named (``NAME`` or ``NAME:SUITE``), or ``number`` of them."""
    if not hosts and number is None:
        number = 1
    names = [*hosts, *(f"lab{one + 1}" for one in range(number or 0))]
    specs = []
    for word in names:
        name, _, own = word.partition(":")
        specs.append(HostSpec(name=name, suite=own or suite, groups=groups))
    lab = _lab(directory)
    lab.up(specs, say=say)
    say(f"inventory: {lab.inventory}")


def take_down(directory: str | None) -> None:
    """Remove the lab. Nothing happens where there is none."""
    _lab(directory).down()


def status(directory: str | None) -> dict[str, Any]:
    """The lab's hosts as a document."""
    lab = _lab(directory)
    return {
        "format_version": "1.0",
        "inventory": str(lab.inventory),
        "hosts": [
            {
                "name": host.name,
                "address": host.address,
                "suite": host.suite,
                "running": is_running(lab.folder, host),
            }
            for host in lab.hosts.values()
        ],
    }


def ssh_argv(directory: str | None, host: str, user: str) -> list[str]:
    """The ssh command that logs in. Raises ``LabError`` for a host that there is not."""
    lab = _lab(directory)
    if host not in lab.hosts:
        raise LabError(
            f"the lab has no host {host}", hint=f"it has {', '.join(lab.hosts) or 'none: lab up'}"
        )
    return access_argv(lab.directory, host, user)


def _lab(directory: str | None) -> Lab:
    return Lab(Path(directory) if directory else default_directory())
