"""Which nodes an upgrade goes to and in which order, by what runs and what is wanted. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiprov.catalog.kubernetes import check_kubelet, check_upgrade
from aiprov.cluster.members import Member, Members
from aiprov.errors import UnsupportedError, UsageError


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node that an upgrade goes to. ``present``: what it runs; ``alone``: nowhere to drain to.

    ``upgrade``: false for one that an earlier run has upgraded, and left cordoned.
    """

    member: Member
    present: str
    upgrade: bool = True
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """What an upgrade is going to do: waves, one after the other, each of nodes all at once."""

    present: str
    wanted: str
    waves: tuple[tuple[Step, ...], ...]
    passed: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them in order."""
        return tuple(step for wave in self.waves for step in wave)


def upgrade_steps(
    members: Members,
    nodes: Sequence[Mapping[str, Any]],
    cluster: str,
    wave: str,
    only: Collection[str] | None = None,
) -> Upgrade:
    """The way from what runs to the inventory's version: control planes one by one, then workers.

    ``cluster`` is the version that the cluster's own settings name. Raises ``UnsupportedError``
    for a step that Kubernetes does not go, with the way as hint, ``UsageError`` for a wave that is
    none.
    """
    wanted = members.version
    check_upgrade(cluster, wanted)
    known = {node["name"]: node for node in nodes}
    there = [member for member in members.everyone if member.name in known]
    for node in nodes:
        if not node["version"]:
            raise UnsupportedError(
                f"the node {node['name']} has never been ready: what it runs is not known",
                hint="let it join (aiprov apply), or take it out (aiprov cluster remove)",
            )
        check_kubelet(wanted, node["version"])
    for member in there:
        if member.control_plane:
            check_upgrade(_lowest(known[member.name]), wanted)
    free = [node["name"] for node in nodes if node["ready"] and node["schedulable"]]
    steps = [_step(member, known[member.name], wanted, free) for member in there]
    if cluster != wanted and there and steps[0] is None:
        steps[0] = _to(there[0], cluster, free)
    todo = _limited([step for step in steps if step is not None], only)
    planes = [(step,) for step in todo if step.member.control_plane]
    workers = [step for step in todo if not step.member.control_plane]
    size = wave_size(wave, sum(not member.control_plane for member in there))
    waves = [tuple(workers[at : at + size]) for at in range(0, len(workers), size)]
    names = {member.name for member in members.everyone}
    return Upgrade(
        present=cluster,
        wanted=wanted,
        waves=(*planes, *waves),
        passed=tuple(m.host.name for m, step in zip(there, steps, strict=True) if step is None),
        strangers=tuple(name for name in known if name not in names),
        missing=tuple(m.host.name for m in members.everyone if m.name not in known),
    )


def _limited(steps: Sequence[Step], only: Collection[str] | None) -> list[Step]:
    """The steps to these hosts. Raises ``UsageError`` where others have to come before."""
    if only is None:
        return list(steps)
    chosen = [step for step in steps if step.member.host.name in only]
    before = [
        step.member.host.name
        for step in steps
        if step.member.control_plane and step.upgrade and step not in chosen
    ]
    if before and any(step.upgrade and not step.member.control_plane for step in chosen):
        raise UsageError(
            f"the control planes {', '.join(before)} come before any worker",
            hint="add them to --limit, or leave it out",
        )
    return chosen


def _step(member: Member, node: Mapping[str, Any], wanted: str, free: Sequence[str]) -> Step | None:
    behind = _lowest(node) != wanted
    if not behind and not node["cordoned_by_aiprov"]:
        return None
    return _to(member, _lowest(node), free, upgrade=behind)


def _to(member: Member, present: str, free: Sequence[str], *, upgrade: bool = True) -> Step:
    others = [name for name in free if name != member.name]
    return Step(member=member, present=present, upgrade=upgrade, alone=not others)


def _lowest(node: Mapping[str, Any]) -> str:
    """The older of kubelet and, on a control plane, API server: one may be upgraded already."""
    versions = [str(node["version"]), str(node.get("api_version") or node["version"])]
    return min(versions, key=lambda one: [int(part) for part in one.split(".")])


def wave_size(text: str, workers: int) -> int:
    """How many workers at once: a number, or per cent of them, at least one.

    Raises ``UsageError`` for anything else.
    """
    number = text.removesuffix("%")
    if not number.isdigit() or int(number) < 1 or (text.endswith("%") and int(number) > 100):
        raise UsageError(f"--wave {text!r} is no wave", hint="give a number (1) or a part (20%)")
    return math.ceil(workers * int(number) / 100) or 1 if text.endswith("%") else int(number)


def upgrade_text(upgrade: Upgrade) -> str:
    """The plan for a person."""
    lines = [f"Kubernetes {upgrade.present} -> {upgrade.wanted}"]
    for number, wave in enumerate(upgrade.waves, 1):
        for step in wave:
            what = "control plane" if step.member.control_plane else "worker"
            does = f"{step.present} -> {upgrade.wanted}" if step.upgrade else "uncordon"
            drains = ", not drained: no other node takes pods" if step.alone else ""
            lines.append(f"  {number}. {step.member.host.name} ({what}): {does}{drains}")
    if upgrade.passed:
        lines.append(f"  at {upgrade.wanted} already: {', '.join(upgrade.passed)}")
    for name in upgrade.strangers:
        lines.append(f"  warning: {name} is not in the inventory, and stays as it is")
    for name in upgrade.missing:
        lines.append(f"  warning: {name} has not joined: aiprov apply -l {name}")
    return "\n".join(lines)
