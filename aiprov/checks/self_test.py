"""The validator's proof of itself: every check gets its faults, and must turn red.

A mutation is a fault put into what a good check would see. A fault of hardware must be ``failed``;
a check that crashed, hung, is missing or said garbage must not be ``ok``. Each check is also given
what is good, which must be ok: a check that is always red proves nothing. Faults of products and
memory are injected on hosts, by the payload; the others are in ``mutations``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiprov.checks import burn_in
from aiprov.checks.burn_in import Device
from aiprov.checks.model import Check, Verdict, verdict_of
from aiprov.errors import UsageError
from aiprov.payload.plan import devices_of

Wanted = Literal["ok", "failed", "not ok"]
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a mutation. ``wanted``: what it must be; ``ok``: nothing was mutated."""

    check: str
    fault: str
    wanted: Wanted
    verdict: Verdict

    @classmethod
    def of(cls, check: str, fault: str, wanted: Wanted, checks: Iterable[Check]) -> Outcome:
        """Of the checks that were made with the fault."""
        return cls(check=check, fault=fault, wanted=wanted, verdict=verdict_of(checks))

    @property
    def right(self) -> bool:
        """Whether it is as it must be."""
        return self.verdict != "ok" if self.wanted == "not ok" else self.verdict == self.wanted


@dataclass(frozen=True, kw_only=True)
class Score:
    """All outcomes, and what they come to."""

    outcomes: tuple[Outcome, ...]

    @property
    def injected(self) -> int:
        return sum(item.wanted != "ok" for item in self.outcomes)

    @property
    def red(self) -> int:
        """Mutations that turned their check as red as they must."""
        return sum(item.wanted != "ok" and item.right for item in self.outcomes)

    @property
    def fail_open(self) -> tuple[Outcome, ...]:
        """Mutations after which the check was still ok."""
        return tuple(item for item in self.outcomes if item.wanted != "ok" == item.verdict)

    @property
    def wrong(self) -> tuple[Outcome, ...]:
        """Everything that is not as it must be: also good ones that are not ok."""
        return tuple(item for item in self.outcomes if not item.right)

    @property
    def proven(self) -> bool:
        """All right, and there were some."""
        return bool(self.injected) and not self.wrong


# ---------------------------------------------------------------- on hosts


@dataclass(frozen=True, kw_only=True)
class Injection:
    """A cell of the payload with a fault in it. ``cell``: as a plan has it."""

    check: str
    fault: str
    wanted: Wanted
    cell: Mapping[str, Any]


_ONCE = ("bit", "burst", "tile")
_ALWAYS = ("zero tile",)
_FLOATS_ONCE = ("nan", "inf")
_MEMORY = ("memory bit", "memory stuck", "memory alias")
_ENDS = ("crash", "raise")
_FLIP: Mapping[str, Any] = {"kind": "bit", "product": 1, "mask": 1 << 6}
_MODELS = (
    ("tiny", 8, "train", "steps"), ("tiny", 8, "decode", "words"),
    ("resnet-tiny", 32, "train", "steps"), ("bert-tiny", 8, "train", "steps"),
    ("unet-tiny", 8, "train", "steps"),
)  # fmt: skip
"""With their sizes, and what is counted."""
_HANG_S = 20.0
_PULSES: Mapping[str, Any] = {"pulse_hz": 2.0, "pass_seconds": 1.6}


def injections(device: str, dtypes: Sequence[str], side: int) -> tuple[Injection, ...]:
    """Cells for a device: every fault in products of these types, in memory, and in workers."""
    found: list[Injection] = []

    def add(check: str, fault: str, wanted: Wanted, **cell: Any) -> None:
        made = {"device": device, "limit_s": 300.0, "seed": len(found), **cell}
        found.append(Injection(check=check, fault=fault, wanted=wanted, cell=made))

    for dtype in dtypes:
        for phase in ("A", "B"):
            own = {"dtype": dtype, "phase": phase, "n": side, "seconds": 0, "products": 4}
            name = f"products {dtype} {phase}"
            add(name, "nothing", "ok", kind="gemm", parameters=own)
            floats = _FLOATS_ONCE if dtype != "int8" else ()
            for kind, more in (
                *((kind, {"product": 2}) for kind in (*_ONCE, *floats)),
                *((kind, {"product": 0}) for kind in _ONCE),
                *((kind, {"product": 0, "only": False}) for kind in (*_ALWAYS, *floats)),
                ("operand", {}),
            ):
                where = {2: "of one product", 0: "of the reference"}.get(more.get("product", 1), "")
                fault = f"{kind} {'of all products' if 'only' in more else where}".strip()
                parameters = {**own, "inject": {"kind": kind, "size": 16, **more}}
                add(name, fault, "failed", kind="gemm", parameters=parameters)
    pulsed = {"dtype": dtypes[0], "phase": "B", "n": side, "seconds": 0, **_PULSES}
    add(f"products {dtypes[0]} B in pulses", "nothing", "ok", kind="gemm", parameters=pulsed)
    pulsed = {**pulsed, "inject": {"kind": "bit", "product": 2}}
    add(f"products {dtypes[0]} B in pulses", "a bit flips once", "failed", kind="gemm",
        parameters=pulsed)  # fmt: skip
    own = {"bytes": 1 << 20, "block_bytes": 1 << 18}
    add("memory patterns", "nothing", "ok", kind="memory", parameters=own)
    for kind in _MEMORY:
        parameters = {**own, "inject": {"kind": kind, "product": 0}}
        add("memory patterns", kind, "failed", kind="memory", parameters=parameters)
    for path in ("h2d", "d2h", "d2d"):
        own = {"path": path, "bytes": 1 << 16, "seconds": 0}
        add(f"copies {path}", "nothing", "ok", kind="copy", parameters=own)
        spoiled = {**own, "inject": {"kind": "memory bit", "product": 1}}
        add(f"copies {path}", "a bit flips once", "failed", kind="copy", parameters=spoiled)
    for model, length, kind, steps in _MODELS:
        asked: dict[str, Any] = {
            "model": model, "dtype": "fp32", "batch": 1, "length": length, steps: 3,
        }  # fmt: skip
        add(f"{kind} {model} fp32", "nothing", "ok", kind=kind, parameters=asked)
        flipped = {**asked, "inject": _FLIP}
        add(f"{kind} {model} fp32", "a bit flips once", "failed", kind=kind, parameters=flipped)
    last: dict[str, Any] = {
        "dtype": dtypes[0], "phase": "A", "n": side, "seconds": 0, "products": 4,
    }  # fmt: skip
    for kind in _ENDS:
        parameters = {**last, "inject": {"kind": kind}}
        add("worker", kind, "not ok", kind="gemm", parameters=parameters)
    hang = {**last, "inject": {"kind": "hang"}}
    add("worker", "hang", "not ok", kind="gemm", parameters=hang, limit_s=_HANG_S)
    add("worker", "a test that does not exist", "not ok", kind="dance", parameters={})
    unknown = {**last, "dtype": "fp3"}
    add("worker", "a type that does not exist", "not ok", kind="gemm", parameters=unknown)
    return tuple(found)


def injections_together(devices: str) -> tuple[Injection, ...]:
    """Cells for devices together (``cuda:0,1``), two at least: faults of one rank of them."""
    own: dict[str, Any] = {"operation": "all_reduce", "bytes": [1 << 12], "seconds": 0}
    faults: tuple[tuple[str, Wanted, Mapping[str, Any], float], ...] = (
        ("nothing", "ok", {}, 300.0),
        ("a wrong element once", "failed", {"kind": "memory bit", "product": 3, "row": 30}, 300.0),
        ("a rank crashes", "not ok", {"kind": "crash"}, 300.0),
        ("a rank leaves", "not ok", {"kind": "leave"}, 300.0),
        ("a rank says garbage", "not ok", {"kind": "babble"}, 300.0),
        ("a rank hangs", "not ok", {"kind": "hang"}, _HANG_S),
    )
    found = []
    for fault, wanted, told, limit_s in faults:
        parameters = {**own, "inject": {"rank": 1, **told}} if told else own
        cell = {"kind": "collective", "device": devices, "limit_s": limit_s, "seed": 1,
                "parameters": parameters}  # fmt: skip
        found.append(Injection(check="collectives", fault=fault, wanted=wanted, cell=cell))
    for strategy in ("ddp", "fsdp"):
        found += _trained_together(devices, strategy)
    return tuple(found)


def _trained_together(devices: str, strategy: str) -> Iterable[Injection]:
    own: dict[str, Any] = {
        "strategy": strategy, "model": "tiny", "dtype": "fp32", "batch": 1, "length": 8, "steps": 3,
    }  # fmt: skip
    spoiled = {**own, "inject": {"rank": 1, **_FLIP}}
    cases: tuple[tuple[str, Wanted, Mapping[str, Any]], ...] = (
        ("nothing", "ok", own), ("a bit of one rank's weights flips", "failed", spoiled),
    )  # fmt: skip
    for fault, wanted, parameters in cases:
        cell = {"kind": "train together", "device": devices, "limit_s": 300.0, "seed": 1,
                "parameters": parameters}  # fmt: skip
        name = f"train tiny fp32 {strategy}"
        yield Injection(check=name, fault=fault, wanted=wanted, cell=cell)


def outcomes(
    made: Sequence[Injection], records: Sequence[Record], device: Device
) -> tuple[Outcome, ...]:
    """What became of injections, by the journal of the host that they were made on.

    An injection that the journal does not have is not measured: it was not injected. Raises
    ``UsageError`` for a journal of no self-test.
    """
    plans = [record for record in records if record["event"] == "plan"]
    if not plans or not all(plan["self_test"] for plan in plans):
        raise UsageError("the journal is of no self-test", hint="give --self-test")
    found = []
    for injection in made:
        cells = [
            cell
            for plan in plans
            for cell in plan["cells"]
            if all(cell.get(key) == value for key, value in injection.cell.items())
        ]
        own = {"event": "plan", "self_test": True, "cells": cells[:1]}
        others = [record for record in records if record["event"] != "plan"]
        devices = dict.fromkeys(devices_of(str(injection.cell["device"])), device)
        checks = burn_in.judge([own, *others], devices, self_test=True)
        found.append(Outcome.of(injection.check, injection.fault, injection.wanted, checks))
    return tuple(found)
