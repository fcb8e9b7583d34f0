"""What budgets buy: the chance to find a fault, beside fixed ways to spend the same time."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from aiprov.checks import cells, choices
from aiprov.checks.campaign import Target, campaign
from aiprov.checks.model import Subject
from aiprov.checks.sizes import Hardware, Size
from tests.bench.table import Result, Table, markdown
from tests.bench.table import Target as Wanted

H200, GPUS = "10de:2335", 8
BUDGETS = {"20m": 1200.0, "2h": 7200.0, "24h": 86400.0}
MOST_S = 1.0
"""Of planning a day."""


def host() -> tuple[Target, ...]:
    """A host of eight H200."""
    return tuple(
        Target(
            host="a",
            device=f"cuda:{number}",
            subject=Subject(host="a", kind="gpu", id=str(number)),
            pci_id=H200,
            memory_bytes=141 << 30,
            address=f"0000:0{number}:00.0",
            peers=tuple(one for one in range(GPUS) if one != number),
        )
        for number in range(GPUS)
    )


def found(shares: Mapping[str, float], seconds: float) -> float:
    """The chance to find a fault, if each test gets a share of the time."""
    hardware = Hardware(pci_id=H200, memory_bytes=141 << 30, peers=GPUS - 1, has_mates=True)
    sized = [(test, test.sized(hardware)) for test in choices.TESTS]
    made = cells.options([(test, size) for test, size in sized if isinstance(size, Size)])
    faults = choices.faults(hardware)
    missed = {
        fault.name: math.prod(
            1 - one.seen(fault, shares[one.name] * seconds) for one in made if one.name in shares
        )
        for fault in faults
    }
    total = sum(fault.weight for fault in faults)
    return sum(fault.weight * (1 - missed[fault.name]) for fault in faults) / total


def ways() -> dict[str, Mapping[str, float]]:
    """Fixed ways to spend time: a share of it for each test."""
    every = [test.name for test in choices.TESTS]
    return {
        "equal shares of all tests": {name: 1 / len(every) for name in every},
        "products in fp32 alone (as gpu-burn)": {"products fp32 A": 1.0},
        "memory patterns alone": {"memory patterns": 1.0},
        "products in bf16 alone": {"products bf16 A": 1.0},
    }


def budget() -> Result:
    """By budget: what is found, and how long planning takes."""
    chances, took = {}, {}
    for name, seconds in BUDGETS.items():
        began = time.monotonic()
        chances[name] = campaign("bench", host(), seconds).detected
        took[name] = time.monotonic() - began
    rows = [("aiprov, by detection gained a second", *(f"{one:.0%}" for one in chances.values()))]
    rows += [
        (way, *(f"{found(shares, seconds):.0%}" for seconds in BUDGETS.values()))
        for way, shares in ways().items()
    ]
    table = Table(
        title="The chance to find a fault of a host of 8 H200, if it has one, by budget",
        head=("how it is spent", *BUDGETS),
        rows=rows,
        note="By the weights, rates and chances of aiprov/checks/choices.py, some of them assumed. "
        "Ours pays for starts, set-up and measuring again; the fixed ways do not.",
    )
    longest = Wanted("planning a day of 8 GPUs", took["24h"], "s", at_most=MOST_S)
    return Result(tables=[table], targets=[longest])


if __name__ == "__main__":
    print(markdown([budget()], "Computed; only the time to plan is measured."))
