"""The resources as a plain pyinfra deploy: its stock operations, its own ssh connector, its CLI.

A fair peer: neighbouring packages are one operation, holds are one fact, and a restart is part of
the operation that looks after the service anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from aiprov.plain_files import sysctl_file
from aiprov.resources import (
    Absent,
    Command,
    Directory,
    File,
    Package,
    Resource,
    Service,
    Sysctl,
)
from tests.bench.measure import BenchError
from tests.bench.ordinary import text_for

HEAD = """\
from io import StringIO

from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, server, systemd

hostname = host.data.base_hostname
held = set((host.get_fact(Command, command="apt-mark showhold") or "").split())
put = {}
"""


def inventory(everyone: Mapping[str, Any], *, known_hosts: str) -> str:
    """An inventory file of pyinfra for the hosts of an Ansible inventory (its group ``all``)."""
    shared = {
        "ssh_user": everyone["vars"]["ansible_user"],
        "ssh_key": everyone["vars"]["ansible_ssh_private_key_file"],
        "ssh_known_hosts_file": known_hosts,
        "ssh_strict_host_key_checking": "yes",
    }
    hosts = [
        (
            name,
            {
                "ssh_hostname": variables["ansible_host"],
                "base_hostname": variables["base_hostname"],
                **shared,
            },
        )
        for name, variables in everyone["children"]["bench"]["hosts"].items()
    ]
    return f"hosts = {hosts!r}\n"


def deploy(resources: Sequence[Resource], hostname: str) -> str:
    """A deploy file."""
    lines: list[str] = []
    for kind, group in groupby(resources, key=_neighbours):
        if kind == "other":
            for item in group:
                lines += _operations(item, hostname)
        else:
            names = [item.name for item in group if isinstance(item, Package)]
            lines.append(f"apt.packages(packages={names!r}, present={kind == 'present'})")
    holds = [item.name for item in resources if isinstance(item, Package) and item.hold]
    lines.append(f"if not held.issuperset({holds!r}):")
    lines.append(f"    server.shell(commands={[' '.join(('apt-mark hold', *holds))]!r})")
    return HEAD + "\n".join(lines) + "\n"


def _neighbours(item: Resource) -> str:
    if not isinstance(item, Package):
        return "other"
    return "absent" if item.absent else "present"


def _operations(item: Resource, hostname: str) -> Iterator[str]:
    match item:
        case File():
            text = text_for(item, hostname, "@hostname@")
            source = repr(text)
            if "@hostname@" in text:
                source += ".replace('@hostname@', hostname)"
            yield (
                f"put[{item.path!r}] = files.put(src=StringIO({source}), dest={item.path!r}, "
                f"mode='{item.mode:o}', user={item.owner!r}, group={item.group!r})"
            )
        case Directory():
            yield (
                f"files.directory(path={item.path!r}, mode='{item.mode:o}', "
                f"user={item.owner!r}, group={item.group!r})"
            )
        case Absent():
            yield f"put[{item.path!r}] = files.file(path={item.path!r}, present=False)"
        case Sysctl():
            path = sysctl_file(item).path
            yield (
                f"server.sysctl(key={item.key!r}, value={item.value!r}, persist=True, "
                f"persist_file={path!r})"
            )
        case Service():
            changed = [f"put[{path!r}].will_change" for path in item.restart_on]
            yield (
                f"systemd.service(service={item.name!r}, running={item.running!r}, "
                f"enabled={item.enabled!r}, restarted={' or '.join(changed) or 'False'})"
            )
        case Command(name=name) if name == f"hostname {hostname}":
            yield "server.hostname(hostname=hostname)"
        case _:
            raise BenchError(f"no pyinfra operation is written here for {item}")
