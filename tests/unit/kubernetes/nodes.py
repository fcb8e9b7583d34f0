"""Hosts that are to be nodes, as facts, and resources as a case's file says them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aiprov import programs
from aiprov.resources import Command, File, Package, Resource, Secret, Service, Sysctl, address
from aiprov.survey.facts import Facts, Interface


def node(os: str = "debian 12", addresses: Sequence[str] = ("10.0.0.1/24",)) -> Facts:
    """A host of an OS, with an interface that has nothing to do with the cluster, and eth1."""
    os_id, version = os.split()
    return Facts(
        name="cp-1",
        hostname="cp-1",
        os_id=os_id,
        os_version=version,
        os_codename="",
        os_name=os,
        family="debian" if os_id in ("debian", "ubuntu") else "redhat",
        architecture="x86_64",
        kernel="6.1.0",
        python="3.11.2",
        boot_id="0",
        cpus=8,
        memory_bytes=2**34,
        interfaces=(
            Interface(name="eth0", mtu=1500, addresses=("198.51.100.7/24",)),
            Interface(name="eth1", mtu=9000, addresses=tuple(addresses)),
        ),
    )


def said(resources: Sequence[Resource]) -> list[Any]:
    """Resources as a case has them: programs of aiprov by address alone."""
    return [_said(one) for one in resources]


def _said(one: Resource) -> Any:
    match one:
        case File(path=path) if path.startswith(f"{programs.FOLDER}/"):
            return address(one)
        case File(content=Secret() as secret):
            return {address(one): secret.reveal()}
        case File(content=str(text), validate=validate):
            shown: Any = json.loads(text) if text.startswith("{") else text
            return {address(one): shown, **({"validate": " ".join(validate)} if validate else {})}
        case Sysctl(value=value):
            return {address(one): value}
        case Package(absent=absent):
            return {address(one): "absent"} if absent else address(one)
        case Service(running=running, restart_on=paths):
            return {address(one): list(paths) if running else "stopped"}
        case Command(argv=argv, unless=unless, after=after):
            question = " ".join(getattr(unless, "argv", (repr(unless),)))
            return {address(one): " ".join(argv), "unless": question, "after": list(after)}
    return address(one)
