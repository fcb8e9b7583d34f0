"""Kernel modules, parameters and arguments: live where the kernel lets us, and at every boot."""

import os
from typing import Any, Dict

from .commands import StepFailedError, must
from .paths import ensure_absent, ensure_file

Step = Dict[str, Any]


def ensure_module(step: Step) -> bool:
    """The module is loaded, and a file loads it at every boot."""
    changed = ensure_file(step["file"])
    if os.path.isdir("/sys/module/" + step["name"].replace("-", "_")):
        return changed
    must(["modprobe", step["name"]])  # says yes as well when it is built in
    return True


def ensure_sysctl(step: Step) -> bool:
    """The parameter has the value now, and a file sets it at every boot."""
    changed = ensure_file(step["file"])
    path = "/proc/sys/" + _as_path(step["key"])
    try:
        with open(path, encoding="utf-8") as source:
            now = source.read().split()
        if now == step["value"].split():
            return changed
        with open(path, "w", encoding="utf-8") as target:
            target.write(step["value"])
    except OSError as error:
        raise StepFailedError(f"{path}: {error.strerror}") from error
    return True


def _as_path(key: str) -> str:
    """``net.ipv4.ip_forward`` or, for names that hold a dot, ``net/ipv4/conf/eth0.7/mtu``."""
    return key if "/" in key else key.replace(".", "/")


def ensure_argument(step: Step) -> bool:
    """The argument is (or is not) on the kernel's command line from the next boot on."""
    if step["loader"] == "grubby":
        return _grubby(step)
    changed = ensure_absent(step["file"]) if step["absent"] else ensure_file(step["file"])
    if changed:
        must(["update-grub"])
    return changed


def _grubby(step: Step) -> bool:
    listed = must(["grubby", "--info=ALL"]).splitlines()
    lines = [line for line in listed if line.startswith("args=")]
    having = [step["argument"] in line[5:].strip('"').split() for line in lines]
    if having and all(has != step["absent"] for has in having):
        return False
    flag = "--remove-args=" if step["absent"] else "--args="
    must(["grubby", "--update-kernel=ALL", flag + step["argument"]])
    return True
