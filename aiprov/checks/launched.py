"""Ranks that Slurm or Kubernetes starts: their test, and what they are judged by.

A rendered command or manifest carries its test, a cell of the payload. What the ranks printed is
judged by that cell, as a host's journal is: a rank that is missing, says what is no event, or tells
of another test makes it not measured.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import yaml

from aiprov.checks import burn_in, sizes
from aiprov.checks.collectives import size_name
from aiprov.checks.model import Check, Measurement, Subject
from aiprov.errors import UsageError
from aiprov.payload.launchers import TRAINING, world
from aiprov.payload.plan import FORMAT_VERSION, Cell, PlanError, plan_from
from aiprov.payload.rank_events import heard_in, own_lines

OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv")
STRATEGIES = ("ddp", "fsdp")
MODELS = tuple(name for model in sizes.MODELS for name in (model.name, model.small[0]))
"""That may be trained; those called tiny are for CPUs."""
BYTES = {"cuda": (256 << 20, 1 << 30, 8 << 30), "cpu": (1 << 16, 1 << 20)}
"""Sizes of collectives, where none are asked for: those that others published figures for."""
SECONDS, STEPS = 60, 20
MEET_S, TRAINING_S = 600, 1800
"""Of the time limit: images are pulled in it, and ranks load PyTorch and meet."""
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


@dataclass(frozen=True, kw_only=True)
class Launched:
    """What is judged of ranks. ``passed_over``: lines of pods' logs that are no events."""

    checks: tuple[Check, ...]
    passed_over: int = 0


# ---------------------------------------------------------------- the test


def collective_cell(
    operation: str,
    devices: str,
    *,
    bytes_: Sequence[int],
    seconds: float,
    limit_s: float,
    seed: int,
) -> Cell:
    """A collective on the devices of a host: ``cuda:0,1``."""
    parameters = {"operation": operation, "bytes": list(bytes_), "seconds": seconds}
    return Cell(
        kind="collective", device=devices, limit_s=limit_s, seed=seed, parameters=parameters
    )


def training_cell(
    strategy: str, devices: str, *, model: str, steps: int, limit_s: float, seed: int
) -> Cell:
    """Training steps on the devices of a host, as validation makes them. Raises ``KeyError``."""
    known = {one.name: ("bf16", one.batch, one.length) for one in sizes.MODELS}
    known |= {name: ("fp32", 1, length) for name, length in (one.small for one in sizes.MODELS)}
    dtype, batch, length = known[model]
    parameters = {
        "strategy": strategy, "model": model, "dtype": dtype, "batch": batch, "length": length,
        "steps": steps,
    }  # fmt: skip
    return Cell(kind=TRAINING, device=devices, limit_s=limit_s, seed=seed, parameters=parameters)


def over_nodes(cell: Cell, nodes: int, *, address: str, port: int, interface: str = "") -> Cell:
    """The cell over several hosts, which meet at ``address``. Raises ``UsageError``: one rank."""
    if nodes * len(cell.devices) < 2:
        raise UsageError(
            "one rank has nobody to talk to", hint="give --nodes or --gpus: two ranks at least"
        )
    if nodes < 2:
        return cell
    meeting = {"address": address, "port": port, "nodes": nodes, "interface": interface}
    return replace(cell, parameters={**cell.parameters, "rendezvous": meeting})


def size_of(text: str) -> int:
    """Bytes of ``256MiB`` or ``4096``. Raises ``UsageError``."""
    number, power = text, 0
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if text.endswith(unit):
            number, power = text.removesuffix(unit), shift
    if not number.strip().isdecimal() or int(number) < 1:
        raise UsageError(f"{text!r} is no size", hint="write 256MiB, 8GiB or a number of bytes")
    return int(number) << power


def told(cell: Cell) -> str:
    """A line that says what the cell does: for who reads a rendered file."""
    own, ranks = cell.parameters, f"{world(cell)} ranks"
    if cell.kind == TRAINING:
        return f"train {own['model']} {own['dtype']} by {own['strategy']}, {ranks}"
    every = ", ".join(size_name(size) for size in own["bytes"])
    return f"{own['operation']} of {every} for {own['seconds']:g} s, {ranks}"


# ---------------------------------------------------------------- what was rendered


def cell_in(text: str) -> tuple[Cell, bool]:
    """The test of a rendered srun command or Job, and whether pods' logs tell of it.

    Raises ``UsageError`` for a text that has none, or more than one.
    """
    commands = _job_commands(text)
    words = commands if commands else [_words(text)]
    found = [
        following for own in words for word, following in pairwise(own) if word == "--cell"
    ]  # fmt: skip
    if len(set(found)) != 1:
        raise UsageError(
            f"{len(set(found))} tests are in what was rendered, and one is judged",
            hint="give the file that aiprov ranks srun or aiprov ranks job printed",
        )
    try:
        plan = plan_from(
            f'{{"format_version": "{FORMAT_VERSION}", "campaign": "", "cells": [{found[0]}]}}'
        )
        (cell,) = plan.cells
        world(cell)
    except (PlanError, ValueError, TypeError) as error:
        raise UsageError(
            f"what was rendered has no test that makes sense: {error}", hint="render it again"
        ) from error
    return cell, bool(commands)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return []


def _job_commands(text: str) -> list[list[str]]:
    """The commands of the containers of all Jobs of a manifest; nothing where it is none."""
    try:
        documents = [one for one in yaml.safe_load_all(text) if isinstance(one, dict)]
        return [
            [str(word) for word in container["command"]]
            for one in documents
            if one.get("kind") == "Job"
            for container in one["spec"]["template"]["spec"]["containers"]
        ]
    except (yaml.YAMLError, KeyError, TypeError):
        return []


# ---------------------------------------------------------------- what the ranks said


def judge(cell: Cell, output: bytes, *, logged: bool = False, pci_id: str = "") -> Launched:
    """A check for each host of the cell, by what all of its ranks printed.

    ``logged``: it is pods' logs, which have standard error too. ``pci_id``: what the GPUs are, for
    bounds of physics and of published figures. Hosts are called as their ranks say, or ``node 1``.
    """
    own, passed_over = own_lines(output) if logged else (output, 0)
    events, end = heard_in(own, range(world(cell)))
    results = end["result"].get("ranks", {})
    if wrong := list(_of_another(cell, results) if end["status"] == "done" else ()):
        end, results = {"status": "error", "error": "; ".join(wrong)}, {}
    each = len(cell.devices)
    nodes = world(cell) // each
    checks: list[Check] = []
    for node, host in enumerate(_hosts(results, nodes, each)):
        ranks = range(node * each, (node + 1) * each)
        here = _on(cell, node)
        records: list[dict[str, Any]] = [
            {"event": "plan", "self_test": False, "cells": [{"id": here.id, **here.document}]},
            *({**one, "cell": here.id} for one in events
              if one["event"] == "fault" and one["rank"] in ranks),
            {**end, "event": "end", "cell": here.id, "result": {
                "ranks": {str(rank): results[str(rank)] for rank in ranks if str(rank) in results}
            }},
        ]  # fmt: skip
        devices = {
            name: burn_in.Device(
                subject=Subject(host=host, kind="gpu", id=name.partition(":")[2]), pci_id=pci_id
            )
            for name in cell.devices
        }
        checks += burn_in.judge(records, devices)
    return Launched(checks=tuple(checks), passed_over=passed_over)


def rates(check: Check) -> tuple[Measurement, ...]:
    """What a check measured with a unit: how fast it was."""
    return tuple(one for one in check.measurements if one.unit and one.value is not None)


def _on(cell: Cell, node: int) -> Cell:
    meeting = cell.parameters.get("rendezvous")
    if meeting is None:
        return cell
    return replace(cell, parameters={**cell.parameters, "rendezvous": {**meeting, "node": node}})


def _of_another(cell: Cell, results: Mapping[str, Any]) -> Iterable[str]:
    """What of the results is not of this cell."""
    for rank, result in results.items():
        if result.get("cell") != cell.id:
            other = str(result.get("cell"))[:40]
            yield f"rank {rank} did another test than was rendered: {other!r}"
        elif result.get("world") != world(cell):
            yield f"rank {rank} was one of {str(result.get('world'))[:40]}, not of {world(cell)}"


def _hosts(results: Mapping[str, Any], nodes: int, each: int) -> list[str]:
    """The name of each host; numbers where ranks do not tell them apart."""
    said = [str(results.get(str(node * each), {}).get("host", "")) for node in range(nodes)]
    if len(set(said)) == nodes and all(_HOST.fullmatch(name) for name in said):
        return said
    return [f"node {node}" for node in range(nodes)]
