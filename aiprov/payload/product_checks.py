"""Checks of matrix products: hashes of their bits, and their sums against those of the operands.

A hash of a row is the sum of its bit patterns times odd random weights, modulo 2^64: bursts of
equal flips do not cancel in it.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, Optional

import torch

from . import operands
from .arithmetic import Arithmetic
from .inject import bits_of

TILE = 128
"""Side of the tiles by which a fault is placed; that of the common kernels' thread blocks."""
MOST_ELEMENTS = 64
"""Wrong elements that are told of a product."""
SIGMAS = 16.0
"""Of rounding, that a sum of phase A may be off. What is subtler is found by the hashes."""
WEIGHT_MOST = 64
"""Of the random integers r and w."""
_AT_ONCE = 1 << 22


def row_hashes(result: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """A 64-bit hash of each row's bits."""
    return _hasher(result.device.type)(bits_of(result), weights)


def _hasher(kind: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """On GPUs one fused kernel, which reads the result once; elsewhere by blocks of rows."""
    if kind not in _HASHERS:
        _HASHERS[kind] = _fused(kind) if kind == "cuda" else _hash_by_blocks
    return _HASHERS[kind]


_HASHERS: Dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {}


def _fused(kind: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The hash as PyTorch compiles it, if it can here: that takes a C compiler."""
    sample = torch.arange(64 * 64, dtype=torch.int32, device=kind).view(64, 64)
    weights = operands.weights(1, 64, sample.device)
    try:
        made: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.compile(_hash_block)
        right = bool((made(sample, weights) == _hash_block(sample, weights)).all())
    except Exception as error:  # noqa: BLE001 - compilers fail in their own ways; blocks are right
        sys.stderr.write(f"hashes are not fused: {type(error).__name__}: {error}\n")
        return _hash_by_blocks
    return made if right else _hash_by_blocks


def _hash_block(bits: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (bits.to(torch.int64) * weights).sum(dim=1)


def _hash_by_blocks(bits: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    step = max(1, _AT_ONCE // bits.shape[1])
    return torch.cat([_hash_block(block, weights) for block in bits.split(step)])


def combined(hashes: torch.Tensor) -> str:
    """One hash of all rows."""
    mixed = hashes * operands.weights(2, len(hashes), hashes.device)
    return f"{int(mixed.sum()) & (1 << 64) - 1:016x}"


def wrong_rows(
    first: torch.Tensor,
    second: torch.Tensor,
    result: torch.Tensor,
    seed: int,
    rounding: Optional[Arithmetic],
) -> torch.Tensor:
    """The rows in which the result is not the product: Cr against A(Br), in double precision.

    Without ``rounding`` all are integers below 2^53, so both sides are exact and must be equal.
    With it, errors are those of independent roundings, and more than 16 of their standard
    deviations is wrong. NaN is equal to nothing.
    """
    size = second.shape[1]
    words = operands.random_bits(seed + 3, 0, size, result.device)
    r = words.bitwise_and_(WEIGHT_MOST - 1).add_(1).to(torch.float64)
    right, seen = _times(first, _times(second, r)), _times(result, r)
    if rounding is None:
        return (~(seen == right)).nonzero().flatten()
    # Results are sums of products of random signs: their squares are the sums of these. They are
    # not taken from the results, which a wrong one, infinity above all, would make to fit itself.
    squares = r * r
    sizes = _times(first, _times(second, squares, squared=True), squared=True)
    share = rounding.accumulator_unit**2 * size + rounding.operand_unit**2 + rounding.unit**2
    return (~((seen - right).abs() <= SIGMAS * (share * sizes).sqrt())).nonzero().flatten()


def _times(matrix: torch.Tensor, vector: torch.Tensor, squared: bool = False) -> torch.Tensor:
    """A matrix, or that of its elements' squares, times a vector in double precision."""
    step = max(1, _AT_ONCE // matrix.shape[1])
    parts = []
    for first in range(0, matrix.shape[0], step):
        block = matrix[first : first + step].to(torch.float64)
        # By elements and not by a library's product: this is what judges those.
        parts.append(((block * block if squared else block) * vector).sum(dim=1))
    return torch.cat(parts)


def placed(seen: torch.Tensor, right: torch.Tensor, wrong: torch.Tensor) -> Dict[str, Any]:
    """Where and in which bits two matrices differ."""
    size = seen.element_size()
    masks = bits_of(seen)[wrong[:, 0], wrong[:, 1]] ^ bits_of(right)[wrong[:, 0], wrong[:, 1]]
    elements = [
        {"row": row, "column": column, "mask": f"{mask & (1 << 8 * size) - 1:0{2 * size}x}"}
        for (row, column), mask in zip(wrong[:MOST_ELEMENTS].tolist(), masks.tolist())
    ]
    tiles = (wrong // TILE).unique(dim=0)[:MOST_ELEMENTS].tolist()
    return {"elements": elements, "wrong": len(wrong), "tiles": tiles}


def fused(device: torch.device) -> bool:
    """Whether hashes are made by one kernel."""
    return _hasher(device.type) is not _hash_by_blocks
