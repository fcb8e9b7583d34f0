"""Faults for the self-test: put between a kernel and its checker, or into memory.

So the checker that is proved is the one that is used. ``parameters.inject`` says ``kind`` and,
where it matters, ``product`` (from which on, counted from 0 over a cell), ``only`` (that product
alone), ``row``, ``column``, ``size`` (of a tile or burst), ``mask`` (of flipped bits).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any, List, Mapping

import torch

_BITS = {
    1: torch.uint8,
    2: torch.int16,
    4: torch.int32,
    8: torch.int64,
}
KINDS = (
    "bit", "burst", "tile", "zero tile", "nan", "inf", "operand", "reference", "slow", "crash",
    "hang", "garbage", "raise", "leave", "babble", "memory bit", "memory alias", "memory stuck",
)  # fmt: skip

SPEAKING: List[int] = []
"""Where events are written to: a worker that says garbage says it there."""


def bits_of(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's own memory as integers."""
    return tensor.view(_BITS[tensor.element_size()])


@dataclass(frozen=True)
class Fault:
    """What is broken on purpose; ``kind`` is empty where nothing is."""

    kind: str = ""
    product: int = 1
    only: bool = True
    row: int = 5
    column: int = 7
    size: int = 8
    mask: int = 1

    def hits(self, number: int) -> bool:
        """Whether a product of that number is spoiled."""
        return number == self.product if self.only else number >= self.product

    def spoil_product(self, made: torch.Tensor, number: int) -> None:
        """Spoil a result as it lies in memory."""
        if not self.kind or not self.hits(number):
            return
        rows, columns = (
            slice(self.row, self.row + self.size),
            slice(self.column, self.column + self.size),
        )
        mask = self._mask(made.element_size())
        if self.kind in ("bit", "reference"):
            bits_of(made)[self.row, self.column] ^= mask
        elif self.kind == "burst":  # the lanes of a warp: the same bits in a row of places
            bits_of(made)[self.row, columns] ^= mask
        elif self.kind == "tile":
            bits_of(made)[rows, columns] ^= mask
        elif self.kind == "zero tile":
            made[rows, columns] = 0
        elif self.kind in ("nan", "inf"):
            made[self.row, self.column] = float(self.kind)

    def _mask(self, size: int) -> int:
        sign = 1 << (8 * size - 1)
        return self.mask - 2 * sign if self.mask >= sign else self.mask

    def spoil_operand(self, operand: torch.Tensor, number: int) -> None:
        """Spoil an operand after it was made, before its first product is."""
        if self.kind == "operand" and number <= self.product:
            bits_of(operand)[self.row, self.column] ^= self._mask(operand.element_size())

    def misbehave(self, number: int) -> None:
        """Do what ends or delays a worker."""
        if not self.hits(number):
            return
        if self.kind == "slow":
            time.sleep(self.size / 100)
        elif self.kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self.kind == "hang":
            signal.pause()
        elif self.kind == "garbage":
            sys.__stdout__.write("\x00 not an event\n")  # type: ignore[union-attr]
            sys.__stdout__.flush()  # type: ignore[union-attr]
        elif self.kind == "babble":
            for pipe in SPEAKING:
                os.write(pipe, b"\x00 not an event\n")
        elif self.kind == "leave":
            os._exit(0)
        elif self.kind == "raise":
            raise RuntimeError("CUDA error: an illegal memory access was encountered (injected)")

    def spoil_memory(self, words: torch.Tensor, step: int) -> None:
        """Spoil a block of memory between writing and reading. ``step``: of the pattern."""
        if self.kind == "memory bit" and step == self.product:
            words[self.row] ^= self.mask
        elif self.kind == "memory stuck":  # bits that stay 1 whatever is written
            words[self.row] |= self.mask
        elif self.kind == "memory alias":  # two addresses are one cell
            words[self.row + self.size] = words[self.row]


def fault_from(parameters: Mapping[str, Any]) -> Fault:
    """The fault that a cell asks for. Raises ``ValueError`` for one that does not exist."""
    told = parameters.get("inject")
    if not told:
        return Fault()
    if told.get("kind") not in KINDS:
        raise ValueError(f"there is no fault {told.get('kind')!r}; there are {', '.join(KINDS)}")
    return Fault(**told)
