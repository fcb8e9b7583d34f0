"""Time for tests, as the cells of a device: how it is shared out, split, seeded and limited."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiprov.checks import choices
from aiprov.checks.choices import Test
from aiprov.checks.detection import Choice, Fault, Option, choose
from aiprov.checks.sizes import PASS_S, Size

LONGEST_S = 600.0
"""Of a cell: a resumed campaign repeats one."""
SPLIT_S = 120.0
"""From which on a test is made in several turns."""
GROWTH = 0.25
"""Of what a test has, that it gets more at a time."""
AGAIN_S = 60.0
"""Of a cell that is made again, at most."""
_SEEDS = 1 << 40

Cell = dict[str, Any]
Sizes = Sequence[tuple[Test, Size]]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What time is needed besides tests, in seconds, and in what slices it is given out.

    ``start_s``: until a worker is ready (PyTorch, CUDA, compiled kernels); ``end_s``: after the
    last cell. ``stagger_s``: between the starts of two devices at most, so that power rises in
    steps. A cell's limit is ``slack_s`` and ``slack`` times what is expected: a slow device is to
    be judged and not cut off.
    """

    start_s: float
    end_s: float
    slice_s: float
    stagger_s: float
    slack_s: float
    slack: float


GPU = Pace(start_s=60, end_s=10, slice_s=30, stagger_s=10, slack_s=300, slack=4)
CPU = Pace(start_s=8, end_s=1, slice_s=1, stagger_s=0, slack_s=120, slack=10)


def needed_s(sizes: Sizes) -> float:
    """What the tests take that are always made."""
    return sum(size.turn_s for test, size in sizes if test.needed)


def options(sizes: Sizes) -> tuple[Option, ...]:
    """The tests as a budget sees them, and the inventory, which takes no time of a device."""
    always = Option(name=choices.INVENTORY, sees=choices.ALWAYS, least_s=0, most_s=0, needed=True)
    return always, *(
        Option(
            name=test.name, sees=test.sees, least_s=size.turn_s, most_s=size.most_s,
            coverage=size.working, needed=test.needed,
        )
        for test, size in sizes
    )  # fmt: skip


def choice(sizes: Sizes, faults: Sequence[Fault], seconds: float, pace: Pace) -> Choice:
    """How a device's time is shared out among its tests, to find faults that it can have."""
    return choose(options(sizes), faults, seconds, slice_s=pace.slice_s, growth=GROWTH)


def cells(
    sizes: Sizes, chosen: Mapping[str, float], peers: Mapping[str, Sequence[int]], seed: int
) -> Iterator[Cell]:
    """The cells of a host's devices of one kind, in their order.

    Each test once on each, then each once more, and so on; at the end those of all together.
    ``peers``: by device the numbers of those that it can copy to; all go in pairs. Seeds depend on
    the test and its turn alone. ``expected_s`` is for people; payloads pass it over.
    """
    parts = {
        test.name: _parts(chosen[test.name], size) for test, size in sizes if test.name in chosen
    }
    turns = range(max(parts.values(), default=0))
    for turn, together in ((turn, together) for together in (False, True) for turn in turns):
        for test, size in sizes:
            if test.together != together or turn >= parts.get(test.name, 0):
                continue
            seconds = chosen[test.name] / parts[test.name] / size.visits
            for device, visit, more in _places(test, size, peers):
                pace = GPU if device.startswith("cuda") else CPU
                place = 0 if test.same_seed else turn * size.visits + visit
                yield {
                    "kind": test.kind,
                    "device": device,
                    "limit_s": float(math.ceil(pace.slack_s + pace.slack * seconds)),
                    "seed": _seed(seed, test.name, place),
                    "parameters": {**_parameters(test, size, seconds, turn), **more},
                    "expected_s": math.floor(seconds * 100) / 100,
                }


def _places(
    test: Test, size: Size, peers: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, int, dict[str, int]]]:
    """Where a test is made in a turn, which of its visits that is, and what is special there."""
    if test.together:
        kinds, _, numbers = zip(*(device.partition(":") for device in peers), strict=True)
        if len(peers) > 1:
            yield f"{kinds[0]}:{','.join(numbers)}", 0, {}
        return
    for visit in range(size.visits):
        for device, others in peers.items():
            number = int(device.partition(":")[2] or 0)
            mates = sorted(others, key=number.__xor__)
            if test.name != choices.P2P:
                yield device, visit, {}
            elif visit < len(mates):
                yield device, visit, {"peer": mates[visit]}


def shorter(cell: Cell, turn: int, pace: Pace) -> Cell:
    """The same test again, for a minute at most where it can be shorter, and with other operands.

    What repeats the same work keeps its seed: its steps are compared with those of before.
    """
    expected, parameters = float(cell["expected_s"]), dict(cell["parameters"])
    name = next((name for name in ("seconds", "passes") if name in parameters), "")
    if name and expected > AGAIN_S:
        before = parameters[name]
        parameters[name] = max(1, math.floor(before * AGAIN_S / expected))
        expected = min(expected, expected * parameters[name] / before + PASS_S)
    parameters["again"] = turn + 1
    return {
        **cell,
        "seed": cell["seed"] if "turn" in parameters else cell["seed"] + (turn + 1) * _SEEDS,
        "limit_s": float(math.ceil(pace.slack_s + pace.slack * expected)),
        "parameters": parameters,
        "expected_s": math.floor(expected * 100) / 100,
    }


def _parts(seconds: float, size: Size) -> int:
    """Of how many cells a test is: none is long, and a test is made hot as well as cold."""
    wanted = max(
        math.ceil(seconds / size.visits / LONGEST_S), size.turns if seconds >= SPLIT_S else 1
    )
    return max(1, min(wanted, math.floor(seconds / size.turn_s)))


def _parameters(test: Test, size: Size, seconds: float, turn: int) -> dict[str, Any]:
    parameters = dict(size.parameters)
    working = seconds - size.setup_s
    if size.pass_share:
        one_pass = min(PASS_S, size.pass_share * seconds)
        parameters["pass_seconds"] = round(one_pass, 2)
        working -= one_pass
    if size.counted == "seconds":
        parameters["seconds"] = math.floor(working / size.unit_s * 100) / 100
    else:
        # A little is added to what is exact in decimals and not in binary.
        parameters[size.counted] = max(1, math.floor(working / size.unit_s + 1e-9))
    if test.same_seed:
        parameters["turn"] = turn  # the plan has no cell twice
    return parameters


def _seed(seed: int, test: str, turn: int) -> int:
    """Far from each other, as passes count up from them; exact in JSON."""
    told = hashlib.sha256(f"{seed} {test} {turn}".encode()).digest()
    return int.from_bytes(told[:5], "big") % _SEEDS
