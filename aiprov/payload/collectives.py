"""Collective operations among ranks: how fast, and whether every result is right.

Operands are whole numbers that floats hold exactly: at a place, in an iteration, rank r has
``(pattern + iteration) * (r + 1)``. The pattern differs from place to place, so what is lost,
repeated, swapped, stale or of another rank is seen, and the right result of a sum is known without
another. Every result, the timed ones and those before them, is compared with it outside of the
time; there is no tolerance. Sizes are those of nccl-tests: bytes of the larger buffer of a rank.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Callable, Dict, List, Mapping

import torch
from torch import distributed

from . import operands
from .inject import Fault, bits_of, fault_from
from .untested import NotTestedError

Say = Callable[..., None]

OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv")
EXACT: Mapping[str, "tuple[torch.dtype, int]"] = {
    "fp32": (torch.float32, 1 << 24),
    "bf16": (torch.bfloat16, 1 << 8),
}
"""Types, and up to which number they hold every whole one."""
_WARM = 2
_FEWEST = 3
_FEWEST_VALUES = 8
_MOST_STEPS = 64
_AT_ONCE = 1 << 25
_MOST_PLACES = 64
_MOST_TOLD = 8
"""Wrong results of a size that are told one by one; all are counted."""


@dataclass(frozen=True)
class _Size:
    """One size among the ranks. ``each``: elements of a rank's part; ``steps``: of iterations."""

    operation: str
    rank: int
    ranks: int
    each: int
    pattern: torch.Tensor
    steps: int

    @property
    def sum(self) -> int:
        """What the ranks' factors come to."""
        return self.ranks * (self.ranks + 1) // 2

    def operand(self, number: int) -> torch.Tensor:
        """What this rank has in an iteration."""
        return (self.pattern + number % self.steps).mul_(self.rank + 1)

    def result(self) -> torch.Tensor:
        """A buffer for what this rank gets."""
        count = {
            "all_gather": self.each * self.ranks,
            "reduce_scatter": self.each,
        }.get(self.operation, len(self.pattern))
        return torch.full((count,), -1.0, dtype=self.pattern.dtype, device=self.pattern.device)

    def parts(self) -> "List[tuple[int, int]]":
        """Of the result's parts in their order: the first place in the pattern, the factor."""
        own = self.rank * self.each
        if self.operation == "all_reduce":
            return [(0, self.sum)]
        if self.operation == "reduce_scatter":
            return [(own, self.sum)]
        if self.operation == "send_recv":
            return [(0, (self.rank - 1) % self.ranks + 1)]
        first = own if self.operation == "all_to_all" else 0
        return [(first, rank + 1) for rank in range(self.ranks)]

    def wrong(self, result: torch.Tensor, number: int) -> "tuple[int, List[int]]":
        """How many elements are wrong, and the first places."""
        count = 0
        places: List[int] = []
        parts = self.parts()
        length = len(result) // len(parts)
        for part, (first, factor) in enumerate(parts):
            for start in range(0, length, _AT_ONCE):
                size = min(_AT_ONCE, length - start)
                right = self.pattern[first + start : first + start + size] + number % self.steps
                at = part * length + start
                bad = result[at : at + size] != right.mul_(factor)
                here = int(bad.sum())
                if here and len(places) < _MOST_PLACES:
                    places += (bad.nonzero().flatten()[:_MOST_PLACES] + at).tolist()
                count += here
        return count, places[:_MOST_PLACES]


def communicate_verified(
    device: torch.device, seed: int, parameters: Mapping[str, Any], say: Say
) -> Dict[str, Any]:
    """Do one operation again and again with each size. Raises ``NotTestedError``.

    ``parameters``: ``operation`` (of ``OPERATIONS``), ``bytes`` (a list), ``seconds`` (for all of
    them together), ``dtype`` (of ``EXACT``; fp32).
    """
    operation, dtype = str(parameters["operation"]), str(parameters.get("dtype", "fp32"))
    if operation not in OPERATIONS:
        raise NotTestedError(
            f"there is no operation {operation}; there are {', '.join(OPERATIONS)}"
        )
    if dtype not in EXACT:
        raise NotTestedError(f"{dtype}: only {', '.join(EXACT)} are tested")
    began, fault = time.monotonic(), fault_from(parameters)
    sizes, done = [int(size) for size in parameters["bytes"]], 0
    share = float(parameters["seconds"]) / max(1, len(sizes))
    results = []
    for size in sizes:
        one = _size(operation, dtype, size, seed, device)
        results.append(_communicate(one, fault, share, done, say))
        done += int(results[-1]["verified"])
        del one
    return {
        "operation": operation,
        "dtype": dtype,
        "sizes": results,
        "elapsed_s": round(time.monotonic() - began, 3),
    }


def _size(operation: str, dtype: str, size: int, seed: int, device: torch.device) -> _Size:
    """One size, with its pattern: the same on every rank."""
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    kind, limit = EXACT[dtype]
    sums = operation in ("all_reduce", "reduce_scatter")
    most = limit // (ranks * (ranks + 1) // 2 if sums else ranks)
    if most < _FEWEST_VALUES:
        raise NotTestedError(f"{dtype} cannot hold what {ranks} ranks come to without rounding")
    steps = min(_MOST_STEPS, most // 4)
    whole = operation in ("all_reduce", "send_recv")
    each = max(1, size // kind.itemsize // (1 if whole else ranks))
    count = each if whole or operation == "all_gather" else each * ranks
    pattern = torch.empty(count, dtype=kind, device=device)
    for first in range(0, count, operands.MOST_AT_ONCE):
        block = pattern[first : first + operands.MOST_AT_ONCE]
        words = operands.random_bits(seed, first, len(block), device)
        block.copy_((words >> 33).bitwise_and_(0x7FFFFFFF).remainder_(most - steps).add_(1))
    return _Size(operation, rank, ranks, each, pattern, steps)


def _communicate(size: _Size, fault: Fault, seconds: float, done: int, say: Say) -> Dict[str, Any]:
    """All iterations of a size. How many is agreed on after the first, as none may differ."""
    result = size.result()
    times: List[float] = []
    wrong, elements, number, count = 0, 0, 0, _WARM
    while number < count:
        operand = _prepared(size, result, number)
        _meet(result)
        began = time.perf_counter()
        spent = _timed(size, operand, result, partial(fault.misbehave, done + number))
        _spoil(fault, result, done + number)
        bad, places = size.wrong(result, number)
        if bad:
            wrong, elements = wrong + 1, elements + bad
            if wrong <= _MOST_TOLD:
                say("fault", what="collective", operation=size.operation, bytes=_bytes(size),
                    number=done + number, wrong=bad, places=places,
                    blocks=sorted({place // size.each for place in places}))  # fmt: skip
        number += 1
        if number == _WARM:
            count += _agreed(seconds, time.perf_counter() - began, result)
        elif number > _WARM:
            times.append(spent)
    return {
        "bytes": _bytes(size),
        "iterations": len(times),
        "verified": number,
        "faults": wrong,
        "wrong": elements,
        "seconds": median(times),
        "slowest_s": max(times),
    }


def _prepared(size: _Size, result: torch.Tensor, number: int) -> torch.Tensor:
    """The operand of an iteration. The result's buffer holds nothing that could be right."""
    operand = size.operand(number)
    if size.operation == "all_reduce":
        result.copy_(operand)  # in place, as training does it
    else:
        result.fill_(-1)
    return operand


def _timed(
    size: _Size, operand: torch.Tensor, result: torch.Tensor, before: Callable[[], None]
) -> float:
    """Seconds of one operation, on a GPU by its own clock."""
    if result.device.type != "cuda":
        began = time.perf_counter()
        before()
        _do(size, operand, result)
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    before()
    _do(size, operand, result)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def _do(size: _Size, operand: torch.Tensor, result: torch.Tensor) -> None:
    if size.operation == "all_reduce":
        distributed.all_reduce(result)
    elif size.operation == "all_gather":
        distributed.all_gather_into_tensor(result, operand)
    elif size.operation == "reduce_scatter":
        distributed.reduce_scatter_tensor(result, operand)
    elif size.operation == "all_to_all":
        distributed.all_to_all_single(result, operand)
    else:
        to, of = (size.rank + 1) % size.ranks, (size.rank - 1) % size.ranks
        both = [
            distributed.P2POp(distributed.isend, operand, to),
            distributed.P2POp(distributed.irecv, result, of),
        ]
        for one in distributed.batch_isend_irecv(both):
            one.wait()


def _meet(result: torch.Tensor) -> None:
    """All ranks begin together: their clocks would else measure who came late."""
    distributed.all_reduce(torch.zeros(1, device=result.device))
    if result.device.type == "cuda":
        torch.cuda.synchronize(result.device)


def _agreed(seconds: float, one: float, result: torch.Tensor) -> int:
    """How many iterations fit into a time, by the slowest rank; the same number on all."""
    told = torch.tensor([one], dtype=torch.float64, device=result.device)
    distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
    return max(_FEWEST, int(seconds / max(float(told.item()), 1e-6)))


def _bytes(size: _Size) -> int:
    """As nccl-tests count it: the larger buffer of a rank."""
    parts = size.ranks if size.operation == "all_gather" else 1
    return len(size.pattern) * int(size.pattern.itemsize) * parts


def _spoil(fault: Fault, result: torch.Tensor, number: int) -> None:
    if fault.kind == "memory bit" and fault.hits(number):
        bits_of(result)[fault.row % len(result)] ^= fault.mask
