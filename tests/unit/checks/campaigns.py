"""Fleets to plan campaigns for, and what plans come to."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from aiprov.checks.campaign import Campaign, Target
from aiprov.checks.model import Subject
from aiprov.payload.plan import Cell, Plan, plan_from

MINUTE, HOUR = 60, 3600
H200, A100, L40S, T4, V100 = "10de:2335", "10de:20b2", "10de:26b9", "10de:1eb8", "10de:1db1"
UNKNOWN = "10de:ffff"
MEMORY = {H200: 141, A100: 80, L40S: 48, T4: 16, V100: 32, UNKNOWN: 80}


def host(name: str, count: int, pci_id: str = "", first: int = 0) -> tuple[Target, ...]:
    kind, joined = "cuda" if pci_id else "cpu", pci_id in (H200, A100)
    return tuple(
        Target(
            host=name,
            device=f"{kind}:{number}",
            subject=Subject(host=name, kind="gpu", id=f"{name}-{number}", label=f"GPU {number}"),
            pci_id=pci_id,
            memory_bytes=MEMORY.get(pci_id, 0) << 30,
            address=f"0000:{number + 1:02x}:00.0" if pci_id else "",
            peers=tuple(one for one in range(count) if joined and one != number),
        )
        for number in range(first, first + count)
    )


FLEETS = {
    "H200 x8": host("a", 8, H200),
    "two hosts of H200 x8": (*host("a", 8, H200), *host("b", 8, H200)),
    "H200 x8 and A100 x4": (*host("a", 8, H200), *host("b", 4, A100)),
    "a host of two kinds": (*host("a", 2, L40S), *host("a", 2, T4, first=2)),
    "one L40S": host("a", 1, L40S),
    "V100 x4": host("a", 4, V100),
    "a model that nobody knows": host("a", 2, UNKNOWN),
    "CPUs": (*host("a", 2), *host("b", 2)),
}  # fmt: skip


def plans(made: Campaign) -> dict[str, Plan]:
    """As the payload reads them, which refuses what makes no sense."""
    return {name: plan_from(json.dumps(document)) for name, document in made.plans.items()}


def cells_on(made: Campaign, target: Target) -> list[Cell]:
    return [cell for cell in plans(made)[target.host].cells if target.device in cell.devices]


def summary(made: Campaign, target: Target) -> dict[str, Any]:
    """What a person would want to know of a device's campaign."""
    cells = [
        (cell, told["expected_s"])
        for cell, told in zip(
            plans(made)[target.host].cells, made.plans[target.host]["cells"], strict=True
        )
        if target.device in cell.devices
    ]
    seconds: Counter[str] = Counter()
    for cell, expected in cells:
        what = cell.parameters.get("dtype", "") if cell.kind == "gemm" else ""
        seconds[f"{cell.kind} {what}".strip()] += expected
    return {
        "cells": len(cells),
        "seconds": {name: round(value) for name, value in seconds.items()},
        "left out": len(made.not_tested),
        "detected": round(made.detected, 2),
    }
