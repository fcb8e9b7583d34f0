"""The same spoiled products before the compare rules of gpu-burn, DCGM, gpu-fryer, and ours.

Runs where PyTorch is (``python -m tests.bench.compared``), prints JSON: by arithmetic, fault and
rule how many of the trials were seen. Rules from their descriptions: gpu-burn 3ead140 (compare.cu:
the difference from the first product beyond 0.001, of doubles 1e-7; operands uniform in 0 to 10,
the same in every run), DCGM 4.6.0 (its diagnostic is that, in fp16 too, and counts NaN), gpu-fryer
704ba85 (compares nothing).
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from aiprov.payload import arithmetic, operands
from aiprov.payload.inject import bits_of
from aiprov.payload.product_checks import row_hashes, wrong_rows

SIDE = 128
PRODUCTS = 4
TRIALS = 12
SEED = 3
CPU = torch.device("cpu")
DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "fp16": torch.float16}
EPSILONS = {"fp64": 1e-7, "fp32": 0.001, "fp16": 0.001}


@dataclass
class Run:
    """Operands, and the products that were made of them."""

    dtype: str
    first: torch.Tensor
    second: torch.Tensor
    products: list[torch.Tensor]


Spoil = Callable[[Run, random.Random], None]


def _spot(rng: random.Random, size: int = 1) -> tuple[int, slice]:
    start = rng.randrange(SIDE - size)
    return rng.randrange(SIDE), slice(start, start + size)


def _mask(rng: random.Random, tensor: torch.Tensor) -> int:
    return (
        operands.signed(1 << rng.randrange(8 * tensor.element_size()))
        if (tensor.element_size() == 8)
        else _narrow(1 << rng.randrange(8 * tensor.element_size()), 8 * tensor.element_size())
    )


def _narrow(mask: int, bits: int) -> int:
    return mask - (1 << bits) if mask >> (bits - 1) else mask


def flip(size: int) -> Spoil:
    """Random bits, the same in so many neighbours, of one product."""

    def spoil(run: Run, rng: random.Random) -> None:
        made = run.products[rng.randrange(1, PRODUCTS)]
        row, columns = _spot(rng, size)
        bits_of(made)[row, columns] ^= _mask(rng, made)

    return spoil


def value(what: float, every: bool) -> Spoil:
    """A value in one product, or in all at the same place."""

    def spoil(run: Run, rng: random.Random) -> None:
        row, columns = _spot(rng)
        for made in run.products if every else run.products[-1:]:
            made[row, columns] = what

    return spoil


def stuck(run: Run, rng: random.Random) -> None:
    """The same tile wrong alike in all products."""
    row, columns = _spot(rng, 16)
    for made in run.products:
        made[row // 16 * 16 : row // 16 * 16 + 16, columns] *= 0.5


def operand(run: Run, rng: random.Random) -> None:
    """A high bit of an operand flips before the first product is made."""
    row, columns = _spot(rng)
    bits_of(run.first)[row, columns] ^= 1 << (8 * run.first.element_size() - 4)
    run.products = [torch.mm(run.first, run.second) for _ in range(PRODUCTS)]


FAULTS: Mapping[str, Spoil] = {
    "nothing (false alarms)": lambda _run, _rng: None,
    "one random bit": flip(1),
    "the same random bit in 8 neighbours": flip(8),
    "NaN in one product": value(float("nan"), every=False),
    "NaN in all products": value(float("nan"), every=True),
    "infinity in one product": value(float("inf"), every=False),
    "infinity in all products": value(float("inf"), every=True),
    "a tile wrong alike in all products": stuck,
    "an operand that changed": operand,
}


def gpu_burn(run: Run) -> bool:
    """|C[0] - C[i]| beyond a constant."""
    first = run.products[0].to(torch.float64)
    return any(
        bool(((first - made.to(torch.float64)).abs() > EPSILONS[run.dtype]).any())
        for made in run.products[1:]
    )


def dcgm(run: Run) -> bool:
    """That, and NaN in any product but the first."""
    return gpu_burn(run) or any(bool(made.isnan().any()) for made in run.products[1:])


def gpu_fryer(_run: Run) -> bool:
    """Nothing is compared."""
    return False


def ours(run: Run) -> bool:
    """The reference against its operands, the others' bits against it, the operands made anew."""
    weights = operands.weights(1, SIDE, CPU)
    reference, *others = run.products
    hashes = row_hashes(reference, weights)
    how = arithmetic.full_entropy(run.dtype, CPU)
    fresh = _operands(run.dtype, ours_only=True)
    return bool(
        len(wrong_rows(run.first, run.second, reference, SEED, how))
        or any(bool((row_hashes(made, weights) != hashes).any()) for made in others)
        or any(
            bool((bits_of(old) != bits_of(new)).any())
            for old, new in zip((run.first, run.second), fresh, strict=True)
        )
    )


RULES: Mapping[str, Callable[[Run], bool]] = {
    "ours": ours,
    "gpu-burn": gpu_burn,
    "DCGM diagnostic": dcgm,
    "gpu-fryer": gpu_fryer,
}


def _operands(dtype: str, *, ours_only: bool) -> tuple[torch.Tensor, torch.Tensor]:
    kind, shape = DTYPES[dtype], (SIDE, SIDE)
    first, second = (operands.full(SEED + place, shape, kind, CPU) for place in (0, 1))
    if ours_only:
        return first, second
    # Uniform in 0 to 10. In fp16 with the sums of a side of 8192: the mean is 25 times the side.
    scale = 5 * (8192 / SIDE) ** 0.5 if dtype == "fp16" else 5
    return (first + 1) * scale, (second + 1) * scale


def main() -> int:
    """Try all, print what was seen."""
    torch.set_num_threads(1)
    seen: dict[str, dict[str, dict[str, int]]] = {}
    for dtype in DTYPES:
        for fault, spoil in FAULTS.items():
            for rule, judge in RULES.items():
                count = 0
                for trial in range(TRIALS):
                    first, second = _operands(dtype, ours_only=rule == "ours")
                    made = [torch.mm(first, second) for _ in range(PRODUCTS)]
                    run = Run(dtype=dtype, first=first, second=second, products=made)
                    spoil(run, random.Random(trial))
                    count += judge(run)
                seen.setdefault(dtype, {}).setdefault(fault, {})[rule] = count
    json.dump({"trials": TRIALS, "seen": seen}, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
