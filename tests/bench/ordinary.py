"""The resources as an ordinary playbook: what an Ansible user would write for the same end state.

A fair peer: neighbouring packages are one task, holds are read once for all of them, services
are restarted by handlers, facts are not gathered, and no task is there without need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import yaml

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

Task = dict[str, Any]
HOSTNAME = "{{ base_hostname }}"


def playbook(resources: Sequence[Resource], hostname: str) -> str:
    """A playbook; what holds the host's own name has the inventory's variable instead."""
    watched = {
        path: item.name
        for item in resources
        if isinstance(item, Service)
        for path in item.restart_on
    }
    tasks: list[Task] = []
    for kind, group in groupby(resources, key=_neighbours):
        if kind == "other":
            for item in group:
                tasks += _tasks(item, watched, hostname)
        else:
            names = [item.name for item in group if isinstance(item, Package)]
            tasks.append(_apt(names, state=kind))
    tasks += _holds([item for item in resources if isinstance(item, Package) and item.hold])
    play = {
        "name": "The same end state by ordinary tasks",
        "hosts": "all",
        "gather_facts": False,
        "tasks": tasks,
        "handlers": [_restart(unit) for unit in dict.fromkeys(watched.values())],
    }
    return yaml.safe_dump([play], sort_keys=False, width=1000)


def task_count(text: str) -> int:
    """How many tasks a playbook has."""
    return len(yaml.safe_load(text)[0]["tasks"])


def _neighbours(item: Resource) -> str:
    if not isinstance(item, Package):
        return "other"
    if item.version is not None:
        raise BenchError(f"package {item.name}: the peers install any version")
    return "absent" if item.absent else "present"


def _tasks(item: Resource, watched: Mapping[str, str], hostname: str) -> Iterator[Task]:
    match item:
        case File():
            yield _copy(item, watched.get(item.path), hostname)
        case Directory():
            args = {"path": item.path, "state": "directory", "mode": f"{item.mode:04o}"}
            yield _task(f"Folder {item.path}", "file", {**args, **_owned(item)})
        case Absent():
            yield _task(f"No {item.path}", "file", {"path": item.path, "state": "absent"})
        case Sysctl():
            written = "sysctl_" + item.key.replace(".", "_").replace("-", "_")
            yield {**_copy(sysctl_file(item), None, hostname), "register": written}
            args = {"argv": ["sysctl", "-w", f"{item.key}={item.value}"]}
            yield {
                **_task(f"Set {item.key}", "command", args),
                "when": f"{written} is changed",
                "changed_when": True,
            }
        case Service():
            args = {"name": item.name}
            if item.enabled is not None:
                args["enabled"] = item.enabled
            if item.running is not None:
                args["state"] = "started" if item.running else "stopped"
            yield _task(f"Service {item.name}", "systemd_service", args)
        case Command(name=name) if name == f"hostname {hostname}":
            yield _task("Hostname", "hostname", {"name": HOSTNAME})
        case _:
            raise BenchError(f"no ordinary task is written here for {item}")


def _copy(file: File, notified: str | None, hostname: str) -> Task:
    content = text_for(file, hostname, HOSTNAME)
    args = {"content": content, "dest": file.path, "mode": f"{file.mode:04o}", **_owned(file)}
    if file.validate is not None:
        args["validate"] = " ".join(file.validate).replace("{staged}", "%s")
    task = _task(f"File {file.path}", "copy", args)
    return {**task, "notify": f"Restart {notified}"} if notified else task


def text_for(file: File, hostname: str, variable: str) -> str:
    """A file's content, the host's own name replaced by what stands for it."""
    if not isinstance(file.content, str) or "{{" in file.content:
        raise BenchError(f"{file.path} is not plain text")
    return file.content.replace(hostname, variable)


def _apt(names: Sequence[str], *, state: str) -> Task:
    return _task(f"Packages {state}: {', '.join(names)}", "apt", {"name": names, "state": state})


def _holds(packages: Sequence[Package]) -> Iterator[Task]:
    if not packages:
        return
    names = [package.name for package in packages]
    show = _task("Read holds", "command", {"argv": ["apt-mark", "showhold"]})
    yield {**show, "register": "held", "changed_when": False}
    hold = _task("Hold packages", "command", {"argv": ["apt-mark", "hold", *names]})
    yield {**hold, "when": f"{names} is not subset(held.stdout_lines)", "changed_when": True}


def _restart(unit: str) -> Task:
    return _task(f"Restart {unit}", "systemd_service", {"name": unit, "state": "restarted"})


def _owned(item: File | Directory) -> dict[str, str]:
    return {"owner": item.owner, "group": item.group}


def _task(name: str, module: str, args: Mapping[str, Any]) -> Task:
    return {"name": name, f"ansible.builtin.{module}": dict(args)}
