#!/usr/bin/python3
"""Stand-in of aiprov's lab: nvidia-container-runtime, which gives containers their GPUs, then runc.

Before a container is created its bundle's config.json gets the device nodes and mounts of the GPUs
that the container asks for: by NVIDIA_VISIBLE_DEVICES, or by CDI annotations in mode ``cdi``.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any, Dict, List

VERSION = "@VERSION@"
CONFIG = "/etc/nvidia-container-runtime/config.toml"
_NONE = ("", "void", "none")


class Failed(Exception):
    """No container comes of this, for this reason."""


def setting(section: str, key: str, default: str) -> str:
    """A key of the toolkit's configuration."""
    try:
        with open(CONFIG, encoding="utf-8") as source:
            text = source.read()
    except OSError:
        return default
    part = re.search(r"^\[%s\]$(.*?)(?=^\[|\Z)" % re.escape(section), text, re.M | re.S)
    found = re.search(r"^%s\s*=\s*(.+)$" % re.escape(key), part.group(1), re.M) if part else None
    return found.group(1).strip().strip('"') if found else default


def bundle(words: List[str]) -> str:
    """The folder of the container that is to be created; empty where none is."""
    if not {"create", "run"} & set(words):
        return ""
    for number, word in enumerate(words):
        if word in ("--bundle", "-b") and number + 1 < len(words):
            return words[number + 1]
        if word.startswith("--bundle="):
            return word.partition("=")[2]
    return "."


def asked(config: Dict[str, Any]) -> List[str]:
    """The devices that a container asks for."""
    environment = config.get("process", {}).get("env") or []
    values = [one.partition("=")[2] for one in environment
              if one.startswith("NVIDIA_VISIBLE_DEVICES=")]  # fmt: skip
    wanted = values[-1] if values else ""
    names = [] if wanted in _NONE else wanted.split(",")
    for key, value in (config.get("annotations") or {}).items():
        if key.startswith("cdi.k8s.io/"):
            names += value.split(",")
    return [name.strip().replace("nvidia.com/gpu=", "") for name in names]


def specification() -> Dict[str, Any]:
    """The CDI specification, made for this container. Raises ``Failed`` where it cannot be."""
    done = subprocess.run(
        ["/usr/bin/nvidia-ctk", "cdi", "generate", "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if "CDI_OUTPUT" not in key},
        check=False,
    )
    if done.returncode:
        raise Failed(done.stderr.decode(errors="replace").strip())
    return dict(json.loads(done.stdout.decode()))


def known() -> List[str]:
    """The devices of the specifications that lie on this host."""
    told = subprocess.run(
        ["/usr/bin/nvidia-ctk", "cdi", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    names = told.stdout.decode().split()
    return [name.replace("nvidia.com/gpu=", "") for name in names]


def edit(config: Dict[str, Any], edits: Dict[str, Any]) -> None:
    """Lay the changes of a CDI device over a container."""
    process = config.setdefault("process", {})
    process["env"] = (process.get("env") or []) + (edits.get("env") or [])
    linux = config.setdefault("linux", {})
    resources = linux.setdefault("resources", {})
    nodes = linux["devices"] = linux.get("devices") or []
    rules = resources["devices"] = resources.get("devices") or []
    for entry in edits.get("deviceNodes") or []:
        status = os.stat(entry["path"])
        numbers = {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
        if entry["path"] not in [one["path"] for one in nodes]:
            nodes.append(dict(numbers, path=entry["path"], type="c", fileMode=0o666))
        rules.append(dict(numbers, allow=True, type="c", access="rwm"))
    mounts = config["mounts"] = config.get("mounts") or []
    for entry in edits.get("mounts") or []:
        mounts.append({
            "destination": entry["containerPath"],
            "type": "bind",
            "source": entry["hostPath"],
            "options": entry["options"],
        })  # fmt: skip


def give(folder: str) -> None:
    """Give a container the GPUs that it asks for."""
    place = os.path.join(folder, "config.json")
    with open(place, encoding="utf-8") as source:
        config = json.load(source)
    names = asked(config)
    if not names:
        return
    spec = specification()
    if setting("nvidia-container-runtime", "mode", "auto") == "cdi":
        lost = [name for name in names if name not in known()]
        if lost:
            lost = ["nvidia.com/gpu=" + name for name in lost]
            raise Failed("unresolvable CDI devices %s" % ", ".join(lost))
    found = {one["name"]: one["containerEdits"] for one in spec["devices"]}
    for name in names:
        if name not in found:
            raise Failed("failed to generate spec for device %s: no such device" % name)
        edit(config, found[name])
    edit(config, spec["containerEdits"])
    with open(place + ".new", "w", encoding="utf-8") as out:
        json.dump(config, out)
    os.replace(place + ".new", place)


def main() -> int:
    words = sys.argv[1:]
    if "--version" in words or "-v" in words:
        print("NVIDIA Container Runtime version %s\n(stand-in of aiprov's lab)" % VERSION)
    folder = bundle(words)
    if folder:
        try:
            give(folder)
        except Failed as error:
            print("nvidia-container-runtime: %s" % error, file=sys.stderr)
            return 1
    real = shutil.which("runc")
    if real is None:
        print("nvidia-container-runtime: no runc on PATH", file=sys.stderr)
        return 1
    os.execv(real, [real, *words])
    return 0


if __name__ == "__main__":
    sys.exit(main())
