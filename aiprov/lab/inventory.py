"""What a lab tells its users: an Ansible inventory and an ssh configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiprov.lab.machine import replace
from aiprov.lab.state import KUBERNETES, Folder, Host
from aiprov.lab.vendor import served

ROOT_GROUP = "lab"


def ssh_options(folder: Folder) -> dict[str, str]:
    """How any ssh client reaches a host of this lab: our key, our known hosts, no questions."""
    return {
        "UserKnownHostsFile": str(folder.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }


def inventory_text(folder: Folder, hosts: Iterable[Host], shared: Mapping[str, Any]) -> str:
    """A plain Ansible inventory in YAML; scalars are written as JSON, which YAML contains."""
    hosts = list(hosts)
    options = " ".join(f"-o {key}={value}" for key, value in ssh_options(folder).items())
    variables = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(folder.key),
        "ansible_ssh_common_args": options,
        "ansible_python_interpreter": "/usr/bin/python3",
        **shared,
    }
    lines = ["all:", "  vars:"]
    lines += [f"    {key}: {json.dumps(value)}" for key, value in variables.items()]
    lines += ["  children:", f"    {ROOT_GROUP}:", "      hosts:" if hosts else "      hosts: {}"]
    for host in hosts:
        lines += [f"        {host.name}:", f"          ansible_host: {json.dumps(host.address)}"]
        lines += [f"          {key}: {json.dumps(value)}" for key, value in host.variables]
    for group in sorted({group for host in hosts for group in host.groups}):
        lines += [f"    {group}:", "      hosts:"]
        lines += [f"        {host.name}: {{}}" for host in hosts if group in host.groups]
        told = _told(folder, group)
        lines += ["      vars:"] * bool(told)
        lines += [f"        {key}: {json.dumps(value)}" for key, value in told.items()]
    return "\n".join(lines) + "\n"


def _told(folder: Folder, group: str) -> Mapping[str, Any]:
    """The variables of a group that the lab itself made."""
    if group == served.GROUP:
        return served.variables(folder)
    if group == KUBERNETES:
        # Not at the top: the processes behind hosts import this, and it brings much with it.
        from aiprov.lab.kubernetes import nodes

        return nodes.variables(folder)
    return {}


def ssh_config_text(folder: Folder, hosts: Iterable[Host]) -> str:
    """An ssh configuration, so that ``ssh -F …/ssh_config NAME`` works."""
    blocks = [
        f"Host {host.name}\n    HostName {host.address}\n    HostKeyAlias {host.address}\n"
        for host in hosts
    ]
    common = {"User": "root", "IdentityFile": str(folder.key), **ssh_options(folder)}
    blocks.append("Host *\n" + "".join(f"    {key} {value}\n" for key, value in common.items()))
    return "\n".join(blocks)


def write(folder: Folder) -> None:
    """Write both for the hosts that the lab has now."""
    hosts = folder.read_hosts()
    shared: Mapping[str, Any] = {}
    if folder.variables.exists():
        shared = json.loads(folder.variables.read_text(encoding="utf-8"))
    replace(folder.inventory, inventory_text(folder, hosts, shared), mode=0o600)
    replace(folder.ssh_config, ssh_config_text(folder, hosts))
