"""The types that GPUs multiply in: how a product of each is called, and what is exact in it.

``exact``: the largest integer up to which all integers are results without rounding. Of fp8 on
Hopper the accumulator holds about 14 bits (DeepSeek-V3 technical report, arXiv 2412.19437, 3.3.2),
so its operands are small enough for that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Dict, List

import torch

from .untested import NotTestedError

Multiply = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Arithmetic:
    """A way to multiply.

    ``operand_most``: the largest integer that operands hold exactly. ``unit``: the relative
    rounding of a result, ``accumulator_unit`` of adding up, ``operand_unit`` of operands that are
    rounded once more. ``by_columns``: the second operand has to lie in memory by columns; int8 also
    has it otherwise, at half the speed (PyTorch 165230 and 187094).
    """

    name: str
    operand: torch.dtype
    result: torch.dtype
    multiply: Multiply
    exact: int
    operand_most: int
    unit: float
    accumulator_unit: float = 2.0**-23
    operand_unit: float = 0.0
    by_columns: bool = False


def _widened(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """16-bit operands, 32-bit result: the accumulator itself is seen."""
    return torch.mm(first, second, out_dtype=torch.float32)


def _fp8(result: torch.dtype) -> Multiply:
    def multiply(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        one = torch.ones((), dtype=torch.float32, device=first.device)
        return torch._scaled_mm(
            first, second, scale_a=one, scale_b=one, out_dtype=result, use_fast_accum=False
        )

    return multiply


_FULL: Dict[str, Arithmetic] = {
    "fp64": Arithmetic(
        name="fp64", operand=torch.float64, result=torch.float64, multiply=torch.mm, exact=2**53,
        operand_most=2**53, unit=2.0**-53, accumulator_unit=2.0**-52,
    ),
    "fp32": Arithmetic(
        name="fp32", operand=torch.float32, result=torch.float32, multiply=torch.mm, exact=2**24,
        operand_most=2**24, unit=2.0**-24,
    ),
    "tf32": Arithmetic(
        name="tf32", operand=torch.float32, result=torch.float32, multiply=torch.mm, exact=2**24,
        operand_most=2**11, unit=2.0**-24, operand_unit=2.0**-10,
    ),
    "bf16": Arithmetic(
        name="bf16", operand=torch.bfloat16, result=torch.bfloat16, multiply=torch.mm, exact=2**8,
        operand_most=2**8, unit=2.0**-8,
    ),
    "fp16": Arithmetic(
        name="fp16", operand=torch.float16, result=torch.float16, multiply=torch.mm, exact=2**11,
        operand_most=2**11, unit=2.0**-11,
    ),
    "fp8": Arithmetic(
        name="fp8", operand=torch.float8_e4m3fn, result=torch.bfloat16,
        multiply=_fp8(torch.bfloat16), exact=2**8, operand_most=2**4, unit=2.0**-8,
        accumulator_unit=2.0**-13, by_columns=True,
    ),
    "int8": Arithmetic(
        name="int8", operand=torch.int8, result=torch.int32, multiply=torch._int_mm,
        exact=2**31 - 1, operand_most=127, unit=0.0, by_columns=True,
    ),
}  # fmt: skip
NAMES = tuple(_FULL)


def _wide(name: str) -> Arithmetic:
    """The same operands with the accumulator's own type as result."""
    return replace(
        _FULL[name],
        result=torch.float32,
        multiply=_fp8(torch.float32) if name == "fp8" else _widened,
        exact=2**13 if name == "fp8" else 2**24,
    )


def full_entropy(name: str, device: torch.device) -> Arithmetic:
    """The arithmetic for phase A: as applications use it. Raises ``NotTestedError``."""
    return _tried(_set_up(name, device), device)


def exact(name: str, device: torch.device, depth: int) -> Arithmetic:
    """The arithmetic for phase B, in which sums of ``depth`` products can be exact.

    Raises ``NotTestedError``.
    """
    own = _set_up(name, device)
    why: List[str] = []
    for one in (own, *([_wide(name)] if name in ("bf16", "fp16", "fp8") else [])):
        if one.exact // depth < 1:
            why.append(f"sums of {depth} products are not exact in {one.result}")
            continue
        try:
            return _tried(one, device)
        except NotTestedError as error:
            why.append(str(error))
    raise NotTestedError(f"{name}: {'; '.join(why)}")


def _set_up(name: str, device: torch.device) -> Arithmetic:
    if name not in _FULL:
        raise NotTestedError(f"there is no arithmetic {name}; there are {', '.join(NAMES)}")
    if name == "tf32" and device.type != "cuda":
        raise NotTestedError("tf32: only GPUs have it")
    allow(tf32=name == "tf32", reduced=False)
    return _FULL[name]


def allow(*, tf32: bool = False, reduced: bool = True) -> None:
    """What libraries may do to be faster, for all of the process; by itself as PyTorch begins.

    ``reduced``: sums of 16-bit products may be rounded to 16 bits on the way.
    """
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = reduced
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = reduced


def _tried(one: Arithmetic, device: torch.device) -> Arithmetic:
    """The arithmetic, if a small product of it works here."""
    first = torch.ones((32, 32), device=device).to(one.operand)
    try:
        made = one.multiply(first, first.t() if one.by_columns else first)
        right = bool((made.to(torch.float64) == 32).all())
    except (RuntimeError, NotImplementedError, TypeError) as error:
        said = str(error).strip().splitlines()
        raise NotTestedError(f"{one.name}: {said[0] if said else type(error).__name__}") from error
    if not right or made.dtype != one.result:
        raise NotTestedError(f"{one.name}: a product of ones is not what it should be")
    return one
