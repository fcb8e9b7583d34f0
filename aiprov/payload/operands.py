"""Operands made from a seed and a place alone: the same on every device, whatever its model.

A counter-based generator (SplitMix64: G. Steele, D. Lea and C. Flood, Fast splittable pseudorandom
number generators, OOPSLA 2014) in 64-bit integer operations, which wrap on every device alike. So a
product's hash may be compared across GPUs, and an operand that changed is found by making it anew.
"""

from __future__ import annotations

import math
from typing import Tuple

import torch

MOST_AT_ONCE = 1 << 22
"""Elements that are made at a time: more would take many times the operand's memory."""
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST = 31


def signed(value: int) -> int:
    """A 64-bit pattern as the integer that PyTorch has for it."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def random_bits(seed: int, first: int, count: int, device: torch.device) -> torch.Tensor:
    """64 random bits for each of ``count`` places from ``first`` on, as int64."""
    words = torch.arange(first + 1, first + count + 1, dtype=torch.int64, device=device)
    words.mul_(signed(_GOLDEN)).add_(signed(seed * _GOLDEN + seed))
    for shift, factor in _MIX:
        words.bitwise_xor_(_shifted(words, shift)).mul_(signed(factor))
    return words.bitwise_xor_(_shifted(words, _LAST))


def _shifted(words: torch.Tensor, by: int) -> torch.Tensor:
    """Shifted right, zeros coming in: int64 brings in the sign."""
    return (words >> by).bitwise_and_((1 << (64 - by)) - 1)


def weights(seed: int, count: int, device: torch.device) -> torch.Tensor:
    """Odd random integers, for hashes: two changes of a row have no way to cancel by place."""
    return random_bits(seed, 0, count, device).bitwise_or_(1)


def full(
    seed: int, shape: Tuple[int, int], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """A matrix whose every bit of mantissa is random; of int8 every bit.

    Floating values lie in -1 to 1; their exponents spread as those of uniform numbers do.
    """
    made = torch.empty(shape, dtype=dtype, device=device)
    for first, block in _blocks(made):
        words = random_bits(seed, first, block.numel(), device)
        if dtype == torch.int8:
            values = words >> 56
        else:
            # 53 bits: what a double can hold between -1 and 1. Rounded to smaller types.
            values = (words >> 11).to(torch.float64).mul_(2.0**-52)
            values = values if dtype == torch.float64 else values.to(torch.float32)
        block.copy_(values.view(block.shape))
    return made


def integers(
    seed: int, shape: Tuple[int, int], most: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """A matrix of integers between ``-most`` and ``most``."""
    made = torch.empty(shape, dtype=dtype, device=device)
    for first, block in _blocks(made):
        words = random_bits(seed, first, block.numel(), device)
        values = (words >> 32).bitwise_and_(0x7FFFFFFF).remainder_(2 * most + 1).sub_(most)
        values = values if dtype in (torch.int8, torch.float64) else values.to(torch.float32)
        block.copy_(values.view(block.shape))
    return made


def _blocks(made: torch.Tensor) -> "list[tuple[int, torch.Tensor]]":
    """The rows of a matrix by blocks, and at which place each begins."""
    rows, columns = made.shape
    step = max(1, MOST_AT_ONCE // columns)
    return [(first * columns, made[first : first + step]) for first in range(0, rows, step)]


def exact_most(depth: int, limit: int) -> int:
    """The largest integers of which ``depth`` products can be added exactly below ``limit``."""
    return math.isqrt(limit // depth)
