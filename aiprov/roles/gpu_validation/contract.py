"""The contract of the host: what validation has to find there."""

from __future__ import annotations

import json
from dataclasses import replace

from aiprov import stack
from aiprov.checks import expectations
from aiprov.resources import File, Resource
from aiprov.roles import Note
from aiprov.roles.gpu_sharing import mig
from aiprov.roles.gpu_validation import layout
from aiprov.roles.gpu_validation.settings import Vars
from aiprov.stack import Settings
from aiprov.survey.facts import Facts


def resources(vars: Vars, host: Facts, settings: Settings) -> list[Resource]:
    """The contract as a file."""
    told = expectations.document(expected(vars, host, settings))
    text = json.dumps(told, indent=2, sort_keys=True) + "\n"
    return [File(path=layout.EXPECTATIONS, content=text)]


def expected(vars: Vars, host: Facts, settings: Settings) -> expectations.Expectations:
    """What the host should have: its facts, its settings, those of its other roles."""
    made = expectations.expected(
        host,
        driver=driver(host, settings),
        gpu_count=_gpu_count(vars, settings),
        pcie_generation=vars.gpu_validation_pcie_generation,
        port_gbps=vars.gpu_validation_port_gbps,
    )
    sharing = settings.get("gpu_sharing")
    cut = mig.layouts(sharing, host) if sharing is not None else {}
    persistent = getattr(settings.get("nvidia_driver"), "nvidia_driver_persistence", True)
    gpus = (
        replace(
            gpu,
            mig=cut[gpu.address] is not None if gpu.address in cut else None,
            persistence=gpu.persistence and persistent,
        )
        for gpu in made.gpus
    )
    return replace(made, gpus=tuple(gpus))


def driver(host: Facts, settings: Settings) -> str | None:
    """The exact version that the role nvidia_driver has to bring; ``None``: it has the choice."""
    if "nvidia_driver" not in settings or stack.no_gpu(host):
        return None
    found = stack.resolved(host, settings).driver
    return found.version if found is not None else None


def notes(vars: Vars, host: Facts, settings: Settings) -> list[Note]:
    """What the contract leaves open, and could hold."""
    if _gpu_count(vars, settings) is not None or stack.no_gpu(host):
        return []
    count = len(stack.gpu_devices(host))
    text = f"{count} GPU{'s' * (count != 1)} are expected because so many are there: "
    text += "with gpu_validation_gpu_count one that is lost is missed after the next run too"
    return [Note(level="warning", text=text)]


def _gpu_count(vars: Vars, settings: Settings) -> int | None:
    known = getattr(settings.get("nvidia_driver"), "nvidia_driver_expected_gpus", None)
    return vars.gpu_validation_gpu_count or known
