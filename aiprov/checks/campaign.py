"""Plans a campaign: which tests a budget buys, as cells for each host's payload.

Devices of equal hardware get the same cells with the same seeds, so that their products can be
compared. All devices of a host work at the same time, and all hosts do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from aiprov.checks import burn_in, cells, choices, health
from aiprov.checks.burn_in import Device
from aiprov.checks.cells import CPU, GPU, Cell, Pace
from aiprov.checks.choices import Test
from aiprov.checks.detection import Choice
from aiprov.checks.model import Planned, Subject
from aiprov.checks.sizes import Hardware, Size
from aiprov.checks.statistics import FEWEST
from aiprov.errors import UsageError
from aiprov.payload import plan

REPEATS = 3
"""How often a check that is outside of its fleet is made again."""
STAGGER_SHARE = 0.05
"""Of the budget, that starts one after the other may take in all."""
AGAIN_S, AGAIN_SHARE = 300.0, 0.1
"""Kept for measuring again who is outside of its fleet, and the most of the budget."""

Plans = dict[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A device to test.

    ``device``: the payload's name, ``cuda:3`` or ``cpu:3``. ``pci_id``: empty for a CPU that stands
    for a GPU; ``memory_bytes``: of the GPU. ``address``: the PCI address by which telemetry tells
    of it; empty where nothing does. ``peers``: numbers of the GPUs of its host that it can copy to.
    ``pcie``: as of ``burn_in.Device``.
    """

    host: str
    device: str
    subject: Subject
    pci_id: str = ""
    memory_bytes: int = 0
    address: str = ""
    peers: tuple[int, ...] = ()
    pcie: tuple[int, int] | None = None

    @property
    def pace(self) -> Pace:
        """How it is dealt with."""
        return GPU if self.pci_id else CPU


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What is to be done.

    ``plans``: by host the document that its payload takes on standard input; each cell has
    ``expected_s``, which the payload passes over. ``limits``: by host the seconds after which it
    cannot be at work any more, whatever hangs. ``planned``: the checks that ``burn_in.judge``,
    ``health.health`` and ``burn_in.golden`` make of it; inventory and kernel log are not among
    them. ``not_tested``: what is left out, each with its reason. ``by_fault``: the chance that a
    fault of each kind is found, if there is one; ``detected``: of any; of the hardware for which it
    is least. ``seconds``: what it takes, at most ``budget_s`` and what is kept for measuring again.
    """

    name: str
    budget_s: float
    seconds: float
    plans: Mapping[str, Mapping[str, Any]]
    limits: Mapping[str, float]
    planned: tuple[Planned, ...]
    not_tested: tuple[str, ...] = ()
    by_fault: Mapping[str, float] = field(default_factory=dict)
    detected: float = 0.0


def devices(targets: Iterable[Target]) -> dict[str, dict[str, Device]]:
    """By host its devices, as ``burn_in.judge`` wants them."""
    found: dict[str, dict[str, Device]] = {}
    for one in targets:
        made = Device(subject=one.subject, pci_id=one.pci_id, pcie=one.pcie)
        found.setdefault(one.host, {})[one.device] = made
    return found


def campaign(name: str, targets: Sequence[Target], budget_s: float, *, seed: int = 0) -> Campaign:
    """Spend a budget (seconds of time, not of GPUs) on tests of these devices.

    Raises ``UsageError`` where it is too short for what is always made; the hint says how long is
    enough. And where there is no device.
    """
    if not targets:
        raise UsageError(
            "there is nothing to test: no host has a GPU",
            hint="give --device cpu to try a validation without GPUs",
        )
    kinds = [_Kind.of(own) for own in _by_pci_id(targets).values()]
    kept = {kind: _kept(kind, targets) for kind in kinds}
    least = max(_least(cells.needed_s(kind.sizes), kept[kind]) for kind in kinds)
    if budget_s < least:
        raise UsageError(
            f"a budget of {said(budget_s)} is too short: what is always tested takes {said(least)}",
            hint=f"give --budget {said(least)} or more",
        )
    chosen = {
        kind: cells.choice(
            kind.sizes,
            choices.faults(kind.hardware),
            budget_s - kept[kind](budget_s),
            kind.targets[0].pace,
        )
        for kind in kinds
    }
    plans, limits, seconds = Plans(), {}, 0.0
    for host, own in _by_host(targets).items():
        stagger = _stagger(own, budget_s)
        made = [
            cell
            for kind in kinds
            if (peers := {one.device: one.peers for one in own if one in kind.targets})
            for cell in cells.cells(kind.sizes, chosen[kind].seconds, peers, seed)
        ]
        plans[host] = _document(name, made, stagger)
        waits = stagger * (len(own) - 1)
        limits[host] = waits + max(one.pace.slack_s for one in own) + _longest(made, "limit_s")
        besides = waits + max(one.pace.start_s + one.pace.end_s for one in own)
        seconds = max(seconds, besides + _longest(made, "expected_s"))
    worst = min(chosen.values(), key=lambda choice: choice.detected)
    return Campaign(
        name=name,
        budget_s=budget_s,
        seconds=math.floor(seconds * 100) / 100,
        plans=plans,
        limits=limits,
        planned=_planned(plans, targets),
        not_tested=tuple(_not_tested(kinds, chosen, budget_s)),
        by_fault=_least_by_fault(chosen.values()),
        detected=worst.detected,
    )


def again(
    made: Campaign, wanted: Iterable[Planned], targets: Sequence[Target], left_s: float
) -> Plans:
    """By host a plan that makes checks of devices again, ``REPEATS`` times and shorter.

    What does not fit in ``left_s`` is not in it, nor what several devices do together. ``wanted``:
    of ``fleet.to_measure_again``.
    """
    asked, found = set(wanted), Plans()
    for host, own in _by_host(targets).items():
        made_again: list[Cell] = []
        for target in own:
            left = left_s - target.pace.start_s - target.pace.end_s
            for cell in _first_of_each(made.plans[host]["cells"], target, asked):
                repeats = [cells.shorter(cell, turn, target.pace) for turn in range(REPEATS)]
                left -= sum(one["expected_s"] for one in repeats)
                if left >= 0:
                    made_again += repeats
        if made_again:
            found[host] = _document(f"{made.name}-again", made_again, 0.0)
    return found


def _first_of_each(made: Sequence[Cell], target: Target, asked: set[Planned]) -> list[Cell]:
    """The first cell of each check that is asked for, of one device."""
    found: dict[Planned, Cell] = {}
    for cell in made:
        if cell["device"] == target.device:
            found.setdefault(Planned(name=_name(cell, target), subject=target.subject), cell)
    return [cell for check, cell in found.items() if check in asked]


def said(seconds: float) -> str:
    """A budget as it is given: ``20m``; rounded up."""
    whole = math.ceil(seconds)
    if whole < 120:
        return f"{whole}s"
    minutes = math.ceil(whole / 60)
    return f"{minutes}m" if minutes < 120 else f"{math.ceil(minutes / 60)}h"


# ---------------------------------------------------------------- hardware


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kind:
    """Hardware, the devices that have it, and how tests are made on it, or why not."""

    hardware: Hardware
    targets: tuple[Target, ...]
    sizes: tuple[tuple[Test, Size], ...]
    refused: tuple[tuple[Test, str], ...]

    @classmethod
    def of(cls, targets: Sequence[Target]) -> _Kind:
        hardware = Hardware(
            pci_id=targets[0].pci_id,
            memory_bytes=min(one.memory_bytes for one in targets),
            peers=max(len(one.peers) for one in targets),
            has_mates=max(Counter(one.host for one in targets).values()) > 1,
        )
        sized = [(test, test.sized(hardware)) for test in choices.TESTS]
        return cls(
            hardware=hardware,
            targets=tuple(targets),
            sizes=tuple((test, size) for test, size in sized if isinstance(size, Size)),
            refused=tuple((test, why) for test, why in sized if isinstance(why, str)),
        )


# ---------------------------------------------------------------- time


def _by_host(targets: Iterable[Target]) -> dict[str, list[Target]]:
    found: dict[str, list[Target]] = {}
    for one in targets:
        found.setdefault(one.host, []).append(one)
    return found


def _by_pci_id(targets: Iterable[Target]) -> dict[str, list[Target]]:
    found: dict[str, list[Target]] = {}
    for one in targets:
        found.setdefault(one.pci_id, []).append(one)
    return found


def _stagger(own: Sequence[Target], budget_s: float) -> float:
    """Between the starts of a host's devices."""
    if len(own) < 2:
        return 0.0
    most = max(one.pace.stagger_s for one in own)
    return math.floor(min(most, STAGGER_SHARE * budget_s / (len(own) - 1)) * 100) / 100


def _kept(kind: _Kind, targets: Sequence[Target]) -> Callable[[float], float]:
    """What of a budget is not for tests of this hardware: starts, ends, measuring again."""
    hosts = [own for own in _by_host(targets).values() if set(own) & set(kind.targets)]

    def kept(budget_s: float) -> float:
        waits = max(
            _stagger(own, budget_s) * (len(own) - 1)
            + max(one.pace.start_s + one.pace.end_s for one in own)
            for own in hosts
        )
        compared = len(kind.targets) >= FEWEST
        return waits + (min(AGAIN_S, AGAIN_SHARE * budget_s) if compared else 0.0)

    return kept


def _least(needed_s: float, kept: Callable[[float], float]) -> int:
    """The shortest budget, in whole seconds, of which enough is left."""
    low, high = 0, 1
    while high - kept(high) < needed_s:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle - kept(middle) >= needed_s else (middle, high)
    return high


def _longest(made: Iterable[Cell], what: str) -> float:
    """Of a host's devices the sum over the cells of that which has the most."""
    totals: Counter[str] = Counter()
    for cell in made:
        for device in _devices(cell):
            totals[device] += cell[what]
    return max(totals.values())


def _devices(cell: Cell) -> tuple[str, ...]:
    return plan.Cell(kind="", device=cell["device"], limit_s=0.0).devices


# ---------------------------------------------------------------- what is said


def _not_tested(
    kinds: Sequence[_Kind], chosen: Mapping[_Kind, Choice], budget_s: float
) -> Iterator[str]:
    for kind in kinds:
        name = kind.hardware.name
        for test, why in kind.refused:
            yield f"{test.name} on {name}: {why}"
        for left_out in chosen[kind].left_out:
            yield f"{left_out} on {name}: the budget of {said(budget_s)} finds more in other tests"
        for one in kind.targets:
            if kind.hardware.peers and not one.peers:
                yield f"copies p2p of {one.subject}: it has no peer"
            if not one.address:
                yield f"{health.NAME} of {one.subject}: nothing tells of it"
        if len(kind.targets) < 2:
            yield f"{burn_in.GOLDEN} on {name}: there is only one"


def _least_by_fault(chosen: Collection[Choice]) -> dict[str, float]:
    """By fault its chance on the hardware where it is least, of that which can have it."""
    found: dict[str, list[float]] = {}
    for fault in choices.FAULTS:
        told = [one.by_fault[fault.name] for one in chosen if fault.name in one.by_fault]
        if told:
            found.setdefault(fault.told_as or fault.name, []).append(min(told))
    return {name: fmean(chances) for name, chances in found.items()}


def _planned(plans: Plans, targets: Sequence[Target]) -> tuple[Planned, ...]:
    """What the judges make of it: they are asked, with journals in which nothing was done yet."""
    by_host = devices(targets)
    checks = [
        check
        for host, document in plans.items()
        for check in burn_in.judge([_journal_of(document)], by_host[host])
    ]
    counts = Counter(one.pci_id for one in targets)
    return (
        *(Planned(name=check.name, subject=check.subject) for check in checks),
        *(Planned(name=health.NAME, subject=one.subject) for one in targets if one.address),
        *(
            Planned(name=burn_in.GOLDEN, subject=one.subject)
            for one in targets
            if counts[one.pci_id] > 1
        ),
    )


def _name(cell: Cell, target: Target) -> str:
    """Of the check that comes of a cell."""
    own = devices([target])[target.host]
    (check,) = burn_in.judge([_journal_of({"cells": [cell]})], own)
    return check.name


def _journal_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the payload writes first."""
    told = [{"id": str(place), **cell} for place, cell in enumerate(document["cells"])]
    return {"event": "plan", "self_test": False, "cells": told}


def _document(name: str, made: Sequence[Cell], stagger_s: float) -> dict[str, Any]:
    return {
        "format_version": plan.FORMAT_VERSION,
        "campaign": name,
        "stagger_s": stagger_s,
        "self_test": False,
        "cells": list(made),
    }
