"""The cloud-config document: YAML with a stable order, and the program that runs the steps."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from aiprov.diff import text_of
from aiprov.engines.cloud_init.steps import FirstBoot
from aiprov.resources import Command, File, Resource

HEADER = "#cloud-config\n"

RUNNER = "/var/lib/aiprov/first_boot.pyz"
STEPS = "/var/lib/aiprov/first-boot.steps.json"
UNIT = "aiprov-first-boot.service"

_MAIN = "import sys\n\nfrom first_boot.run import main\n\nsys.exit(main(sys.argv))\n"
_PROGRAM = Path(__file__).parent.parent / "first_boot"


def document(plan: FirstBoot, resources: Sequence[Resource], python: str) -> str:
    """The whole user-data. ``python`` is the host's interpreter, 3.6 or later."""
    keys: dict[str, Any] = {
        **_names(resources),
        "write_files": [
            *(_entry(file) for file in plan.native),
            _entry(File(path=STEPS, content=_steps_text(plan), mode=0o600)),
            _entry(File(path=f"/etc/systemd/system/{UNIT}", content=_unit(python))),
            {
                "path": RUNNER,
                "permissions": "0700",
                "encoding": "b64",
                "content": base64.b64encode(program()).decode(),
            },
        ],
        "runcmd": [["systemctl", "enable", UNIT], [python, RUNNER, "run"]],
    }
    if any(step["kind"] == "Reboot" for step in plan.steps):
        keys["power_state"] = {
            "mode": "reboot",
            "delay": "now",
            "message": "aiprov: this reboot is part of the first boot",
            "condition": [python, RUNNER, "wants-reboot"],
        }
    text = yaml.dump(keys, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    return HEADER + text


def program() -> bytes:
    """The steps' program as one zip file that Python runs; the same bytes every time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(_member("__main__.py"), _MAIN)
        for path in sorted(_PROGRAM.glob("*.py")):
            archive.writestr(_member(f"first_boot/{path.name}"), path.read_text(encoding="utf-8"))
    return packed.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


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


def _unit(python: str) -> str:
    return f"""[Unit]
Description=aiprov: go on with the first boot after a reboot or a power loss
Wants=network-online.target
After=network-online.target
ConditionPathExists={STEPS}

[Service]
# Not oneshot: the boot must not wait for it, or a unit started by it could wait for the boot.
Type=simple
ExecStart={python} {RUNNER} resume

[Install]
WantedBy=multi-user.target
"""


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as block scalars, so that a person can read them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
