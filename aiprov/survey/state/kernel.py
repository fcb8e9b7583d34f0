"""Modules, parameters and the kernel's command line: now, and at the next boot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiprov.errors import SurveyError
from aiprov.plain_files import grub_file, module_file, sysctl_file
from aiprov.resources import (
    KernelArgument,
    KernelModule,
    State,
    Sysctl,
)
from aiprov.survey.facts import Facts
from aiprov.survey.state import paths


def module_name(module: KernelModule) -> str:
    """The module as /sys calls it."""
    return module.name.replace("-", "_")


def module(facts: Facts, resource: KernelModule, answer: Mapping[str, Any]) -> State:
    """A module's state. It is missing only where the host says so, not where it cannot tell."""
    loaded = answer["modules"][module_name(resource)]
    found = {
        "loaded": bool(loaded),
        "at_boot": paths.is_as_wanted(facts, module_file(resource), answer),
    }
    if loaded is not None:
        return found
    return {**found, "missing_from": facts.kernel, "remedy": _remedy(facts)}


def _remedy(facts: Facts) -> str:
    """How a host comes to a module that its running kernel has not."""
    if facts.next_kernel != facts.kernel:
        return f"reboot the host: kernel {facts.next_kernel} is installed, and may have it"
    if facts.family == "redhat":
        return f"dnf install kernel-modules-extra-{facts.kernel}, or check the module's name"
    if facts.os_id == "ubuntu":
        return f"apt-get install linux-modules-extra-{facts.kernel}, or check the module's name"
    return (
        "check the module's name; kernels for clouds lack many: install "
        f"linux-image-{facts.deb_architecture} and reboot"
    )


def sysctl_path(key: str) -> str:
    """A parameter's place below /proc/sys. sysctl takes ``a.b/c`` for a/b.c and ``a/b.c`` as is."""
    first = re.search(r"[./]", key)
    if first is None or first[0] == "/":
        return key
    return key.translate(str.maketrans("./", "/."))


def sysctl(facts: Facts, resource: Sysctl, answer: Mapping[str, Any]) -> State:
    """A parameter's state. Several values are told apart by one space."""
    now = answer["sysctls"][sysctl_path(resource.key)]
    file = sysctl_file(resource)
    if paths.is_as_wanted(facts, file, answer):
        at_boot: str | None = resource.value
    else:
        at_boot = _assigned(paths.at(facts, file.path, answer).get("content") or "", resource.key)
    return {"value": " ".join(now.split()) if now is not None else None, "at_boot": at_boot}


def _assigned(text: str, key: str) -> str | None:
    found = [line.partition("=") for line in text.splitlines() if not line.startswith(("#", ";"))]
    values = [value.strip() for name, _, value in found if name.strip().lstrip("-") == key]
    return values[-1] if values else None


def argument(facts: Facts, resource: KernelArgument, answer: Mapping[str, Any]) -> State:
    """Whether the argument will be there at the next boot.

    The boot loader's menu says so; the file that makes it only where there is no menu. Wanted,
    it must be in every entry; unwanted, it must be in none. Raises ``SurveyError``.
    """
    lines = _boot_lines(facts, answer)
    if lines is None:
        return {"at_boot": paths.is_as_wanted(facts, grub_file(resource), answer)}
    have = [resource.argument in line.split() for line in lines]
    return {"at_boot": any(have) if resource.absent else bool(have) and all(have)}


def _boot_lines(facts: Facts, answer: Mapping[str, Any]) -> list[str] | None:
    if "grubby" not in answer:
        lines: list[str] | None = answer.get("grub")
        return lines
    rc, out, err = answer["grubby"]
    if rc != 0:
        said = str(err).strip().splitlines()
        raise SurveyError(
            facts.name,
            f"the kernels' arguments are not known: {said[-1] if said else f'exit status {rc}'}",
            hint="try it on the host: grubby --info=ALL",
        )
    return [found[1] for found in re.finditer(r'^args="(.*)"$', str(out), re.MULTILINE)]
