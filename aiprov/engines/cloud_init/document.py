"""The cloud-config document: YAML with a stable order of keys, long texts as readable blocks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from aiprov.diff import text_of
from aiprov.engines.cloud_init.program import STEPS, UNIT, argv, program
from aiprov.engines.cloud_init.steps import FirstBoot
from aiprov.resources import Command, File, Resource

HEADER = "#cloud-config\n"


def document(plan: FirstBoot, resources: Sequence[Resource], python: str) -> str:
    """The whole user-data. ``python`` is the host's interpreter, 3.6 or later."""
    steps = File(path=STEPS, content=_steps_text(plan), mode=0o600)
    files = (*plan.native, steps, *program(plan.steps, python))
    keys: dict[str, Any] = {
        **_names(resources),
        "write_files": [_entry(file) for file in files],
        "runcmd": [["systemctl", "enable", UNIT], argv(python, "run")],
    }
    if any(step["kind"] == "Reboot" for step in plan.steps):
        keys["power_state"] = {
            "mode": "reboot",
            "delay": "now",
            "message": "aiprov: this reboot is part of the first boot",
            "condition": argv(python, "wants-reboot"),
        }
    text = yaml.dump(keys, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    return HEADER + text


def _names(resources: Sequence[Resource]) -> dict[str, bool]:
    """Keep cloud-init off the names that are ours: it writes them anew at every boot."""
    paths = {item.path for item in resources if isinstance(item, File)}
    tools = {Path(item.argv[0]).name for item in resources if isinstance(item, Command)}
    keys = {}
    if "/etc/hostname" in paths or "hostnamectl" in tools:
        keys["preserve_hostname"] = True
    if "/etc/hosts" in paths:
        keys["manage_etc_hosts"] = False
    return keys


def _entry(file: File) -> dict[str, str]:
    return {
        "path": file.path,
        "owner": f"{file.owner}:{file.group}",
        "permissions": f"{file.mode:04o}",
        "content": text_of(file),
    }


def _steps_text(plan: FirstBoot) -> str:
    steps = {"format_version": "1.0", "steps": plan.steps, "written": plan.written}
    return json.dumps(steps, indent=1, ensure_ascii=False) + "\n"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as block scalars, so that a person can read them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
