"""Matrix products, every one of them verified.

A pass makes new operands and multiplies them many times. Its first product is the reference:
checked against the operands in double precision, in phase B exactly (integers: A(Br) = Cr and
(wA)B = wC with random integer r and w, no tolerance), in phase A (all bits random) within what
rounding does, and its hash is told, for the fleet to compare. Every other product must have the
reference's bits: the same kernel on the same operands gives them (cuBLAS documentation, Results
reproducibility). At the end of a pass the operands are made anew, so that a changed one is found.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional

import torch

from . import arithmetic, operands
from .arithmetic import Arithmetic
from .inject import Fault, bits_of, fault_from
from .product_checks import (
    MOST_ELEMENTS,
    TILE,
    WEIGHT_MOST,
    combined,
    fused,
    placed,
    row_hashes,
    wrong_rows,
)
from .shapes import Pulse, Start, reach, start_from, thermometer

Say = Callable[..., None]

PASS_S = 10.0
"""Operands are made anew after it: seldom enough that it costs little, often enough for many."""
MOST_PRODUCTS = 1 << 20
MOST_FAULTS = 100
"""Products of which a cell tells the details; it counts all."""
_AT_A_TIME = 16
_WARMING_PASS_S = 2.0
"""Short: the temperature is asked in between."""
_WARMING_SEEDS = 1 << 20
"""Far from those of the passes whose products others compare with theirs."""


@dataclass
class Tally:
    """What a cell has done so far."""

    products: int = 0
    verified: int = 0
    passes: int = 0
    faults: int = 0
    seconds: float = 0.0
    times: List[float] = field(default_factory=list)
    references: List[Dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Matrices:
    """The operands of a pass."""

    first: torch.Tensor
    second: torch.Tensor


class Answer:
    """A truth on a device, asked for now and heard later, without a wait for what comes between."""

    def __init__(self, asked: torch.Tensor) -> None:
        self._said = asked
        self._event: Any = None
        if asked.device.type == "cuda":
            self._said = torch.empty((), dtype=torch.bool, pin_memory=True)
            self._said.copy_(asked, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    @property
    def yes(self) -> bool:
        """Whether it is so."""
        if self._event is not None:
            self._event.synchronize()
        return bool(self._said)


@dataclass(frozen=True)
class Pending:
    """A product that was made and not yet looked at. ``differs``: from the reference's hashes."""

    number: int
    result: torch.Tensor
    hashes: torch.Tensor
    differs: Answer


def multiply_verified(
    device: torch.device, seed: int, parameters: Mapping[str, Any], say: Say
) -> Dict[str, Any]:
    """Multiply for ``seconds``; what was done. Raises ``NotTestedError``.

    ``parameters``: ``dtype``, ``n`` (the side), ``phase`` (``A`` or ``B``), ``seconds``,
    ``pass_seconds`` and ``products`` (a pass ends at the first of them). ``seconds`` of the result
    are those of products and their checks, ``elapsed_s`` of all. ``pulse_hz``: load and rest take
    turns (``shapes.Pulse``); ``start``, ``start_celsius``: see ``shapes.Start``. What warms a GPU
    for a hot start is verified as well, and told apart.
    """
    side, phase = int(parameters["n"]), str(parameters["phase"])
    name = str(parameters["dtype"])
    how = (
        arithmetic.exact(name, device, side)
        if phase == "B"
        else arithmetic.full_entropy(name, device)
    )
    start = start_from(parameters)
    burn = _Burn(
        device=device, how=how, side=side, phase=phase, say=say, fault=fault_from(parameters),
        pass_seconds=float(parameters.get("pass_seconds", PASS_S)),
        most=max(2, int(parameters.get("products", MOST_PRODUCTS))),
        pulse_hz=float(parameters.get("pulse_hz", 0.0)),
    )  # fmt: skip
    burn.warm_up()
    own = thermometer(str(parameters.get("device", device)))
    started = burn.started(start, seed, own) if start.kind else {}
    warming = int(started.get("faults", 0))
    tally, began = Tally(faults=warming), time.monotonic()
    until = began + float(parameters["seconds"])
    while not tally.passes or time.monotonic() < until:
        burn.one_pass(seed + tally.passes, tally)
    flop = 2.0 * side**3
    return {
        "dtype": name,
        "phase": phase,
        "n": side,
        "result": str(how.result).rpartition(".")[2],
        "products": tally.products,
        "verified": tally.verified,
        "passes": tally.passes,
        "faults": tally.faults,
        "seconds": round(tally.seconds, 6),
        "elapsed_s": round(time.monotonic() - began, 6),
        "flop": flop * tally.products,
        "pass_seconds": [round(one, 6) for one in tally.times],
        "references": tally.references,
        **burn.pulse.told,
        **({"start": started} if started else {}),
        "fused_hash": fused(device),
        "software": f"torch {torch.__version__}, CUDA {torch.version.cuda}",
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
    }


def multiply_unverified(
    device: torch.device, seed: int, parameters: Mapping[str, Any], _say: Say
) -> Dict[str, Any]:
    """The same products and nothing else: what verification is compared with. Nobody judges it.

    ``parameters``: those of ``multiply_verified``.
    """
    name, side = str(parameters["dtype"]), int(parameters["n"])
    how = arithmetic.full_entropy(name, device)
    shape = (side, side)
    first, second = (operands.full(seed + place, shape, how.operand, device) for place in (0, 1))
    second = second.t() if how.by_columns else second
    how.multiply(first, second)
    products = 0
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.monotonic()
    while not products or time.monotonic() < began + float(parameters["seconds"]):
        for _ in range(_AT_A_TIME):
            how.multiply(first, second)
        products += _AT_A_TIME
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    seconds = time.monotonic() - began
    return {
        "dtype": name,
        "n": side,
        "products": products,
        "verified": 0,
        "seconds": round(seconds, 6),
        "flop": 2.0 * side**3 * products,
    }


@dataclass
class _Burn:
    """One cell's products."""

    device: torch.device
    how: Arithmetic
    side: int
    phase: str
    say: Say
    fault: Fault
    pass_seconds: float
    most: int
    pulse_hz: float = 0.0
    number: int = 0

    def __post_init__(self) -> None:
        self.weights = operands.weights(1, self.side, self.device)
        self.pulse = Pulse(self.pulse_hz, self._finish)

    def warm_up(self) -> None:
        """Load the kernels and compile the hash, which takes longer than many products."""
        shape = (self.side, self.side)
        first, second = (torch.zeros(shape, device=self.device).to(self.how.operand) for _ in "AB")
        made = self.how.multiply(first, second.t() if self.how.by_columns else second)
        row_hashes(made, self.weights)
        self._finish()

    def started(
        self, start: Start, seed: int, temperature: Callable[[], Optional[float]]
    ) -> Dict[str, Any]:
        """Be as cold or hot as is asked; how it then was, and what was multiplied for it."""
        warm, usual = Tally(), (self.pulse, self.pass_seconds)
        self.pulse, self.pass_seconds = Pulse(0.0, self._finish), _WARMING_PASS_S
        known = reach(
            start, temperature,
            lambda: self.one_pass(seed + _WARMING_SEEDS + warm.passes, warm),
        )  # fmt: skip
        self.pulse, self.pass_seconds = usual
        return {**known, "products": warm.products, "faults": warm.faults}

    def one_pass(self, seed: int, tally: Tally) -> None:
        """Make operands, multiply them again and again, verify all of it."""
        made = self._operands(seed)
        self.fault.spoil_operand(made.first, self.number)
        began, rested = time.monotonic(), self.pulse.rest_s
        self.pulse.begin()
        reference = self._multiply(made)
        self._told_wrong(made, reference, seed, tally)
        hashes = row_hashes(reference, self.weights)
        tally.products += 1
        tally.verified += 1
        pending: Optional[Pending] = None
        done = 1
        while done < 2 or (done < self.most and time.monotonic() - began < self.pass_seconds):
            done += 1
            self.pulse.turn()
            number, result = self.number, self._multiply(made)
            own = row_hashes(result, self.weights)
            answer = Answer((own != hashes).any())
            # While the device is at this one, the host looks at the one before.
            hashes = self._look(pending, made, reference, hashes, tally)
            pending = Pending(number=number, result=result, hashes=own, differs=answer)
            tally.products += 1
        self._look(pending, made, reference, hashes, tally)
        self._finish()
        tally.times.append(time.monotonic() - began)
        tally.seconds += tally.times[-1] - (self.pulse.rest_s - rested)
        tally.passes += 1
        tally.references.append({"seed": seed, "hash": combined(hashes)})
        self._operands_changed(made, seed, tally)

    # ------------------------------------------------------------ operands

    def _operands(self, seed: int) -> Matrices:
        second = self._made(2 * seed + 1)
        return Matrices(
            first=self._made(2 * seed), second=second.t() if self.how.by_columns else second
        )

    def _made(self, seed: int) -> torch.Tensor:
        shape = (self.side, self.side)
        if self.phase == "B":
            return operands.integers(seed, shape, self._most(), self.how.operand, self.device)
        return operands.full(seed, shape, self.how.operand, self.device)

    def _most(self) -> int:
        """The largest integers with which results and the sums that check them are exact."""
        limit = min(self.how.exact, 2**53 // (self.side * WEIGHT_MOST))
        return min(operands.exact_most(self.side, limit), self.how.operand_most)

    def _operands_changed(self, made: Matrices, seed: int, tally: Tally) -> None:
        fresh = self._operands(seed)
        for name, old, new in (("A", made.first, fresh.first), ("B", made.second, fresh.second)):
            wrong = (bits_of(old) != bits_of(new)).nonzero()
            if len(wrong):
                tally.faults += 1
                self._tell("operand", tally, **placed(old, new, wrong), operand=name, seed=seed)

    # ------------------------------------------------------------ products

    def _multiply(self, made: Matrices) -> torch.Tensor:
        self.fault.misbehave(self.number)
        result = self.how.multiply(made.first, made.second)
        self.fault.spoil_product(result, self.number)
        self.number += 1
        return result

    def _look(
        self,
        pending: Optional[Pending],
        made: Matrices,
        reference: torch.Tensor,
        hashes: torch.Tensor,
        tally: Tally,
    ) -> torch.Tensor:
        """Whether a product has the reference's bits; the hashes that hold from now on."""
        if pending is None:
            return hashes
        tally.verified += 1
        # The reference may have been put right since they were compared.
        if not pending.differs.yes or torch.equal(pending.hashes, hashes):
            return hashes
        tally.faults += 1
        result, number = pending.result, pending.number
        again = self.how.multiply(made.first, made.second)
        wrong = (bits_of(result) != bits_of(again)).nonzero()
        if len(wrong):
            self._tell("product", tally, **placed(result, again, wrong), product=number)
            return hashes
        # This product is right and the reference, which passed its check, is not.
        wrong = (bits_of(reference) != bits_of(again)).nonzero()
        self._tell("reference", tally, **placed(reference, again, wrong), product=number)
        reference.copy_(again)
        return row_hashes(reference, self.weights)

    def _told_wrong(self, made: Matrices, reference: torch.Tensor, seed: int, tally: Tally) -> None:
        """Check the first product against its operands, and tell where it is wrong."""
        how = None if self.phase == "B" or not self.how.unit else self.how
        rows = wrong_rows(made.first, made.second, reference, seed, how)
        columns = wrong_rows(made.second.t(), made.first.t(), reference.t(), seed, how)
        if not len(rows) and not len(columns):
            return
        tally.faults += 1
        self._tell(
            "truth", tally, product=self.number - 1, rows=rows[:MOST_ELEMENTS].tolist(),
            columns=columns[:MOST_ELEMENTS].tolist(), wrong_rows=len(rows),
            wrong_columns=len(columns),
            tiles=sorted({(row // TILE, column // TILE) for row in rows[:MOST_ELEMENTS].tolist()
                          for column in columns[:MOST_ELEMENTS].tolist()})[:MOST_ELEMENTS],
        )  # fmt: skip

    def _tell(self, what: str, tally: Tally, **fields: Any) -> None:
        if tally.faults <= MOST_FAULTS:
            self.say("fault", what=what, dtype=self.how.name, phase=self.phase, **fields)

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
