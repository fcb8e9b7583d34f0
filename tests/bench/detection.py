"""Detection on the same injected faults: ours beside the published rules of others, as tables."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.bench.rivals import RULES
from tests.bench.table import Result, Table, markdown
from tests.torch_python import VARIABLE, found

ROOT = Path(__file__).resolve().parents[2]
HEALTHY = 790.0
TFLOPS = "bf16 TFLOPS"

CASES = (
    # GPUs, noise, how much slower the one slow GPU is, fleets
    (64, 0.005, 0.03, 300),
    (64, 0.005, 0.05, 300),
    (64, 0.005, 0.08, 300),
    (64, 0.005, 0.30, 300),
    (1024, 0.03, 0.15, 12),
    (8, 0.005, 0.05, 1000),
)


def rates(size: int, noise: float, slow: float, fleets: int, rule: str) -> tuple[float, float]:
    """How often the slow GPU is found, and how many good ones are blamed in a fleet."""
    rng, caught, blamed = random.Random(7), 0, 0
    for _ in range(fleets):
        true = [HEALTHY] * size
        true[0] *= 1 - slow
        first = [rng.gauss(rate, HEALTHY * noise) for rate in true]
        again = random.Random(rng.random())

        def measure(who: int, true: Sequence[float] = true, again: random.Random = again) -> float:
            return again.gauss(true[who], HEALTHY * noise)

        bad = RULES[rule](first, measure, HEALTHY)
        caught += 0 in bad
        blamed += len(bad - {0})
    return caught / fleets, blamed / fleets


def rates_table() -> Table:
    """One slow GPU among good ones."""
    rows = [
        (
            rule,
            *(
                f"{caught:.0%}, {blamed:.2g}"
                for case in CASES
                for caught, blamed in [rates(*case, rule)]
            ),
        )
        for rule in RULES
    ]
    head = [f"{slow:.0%} slow of {size}, noise {noise:.1%}" for size, noise, slow, _ in CASES]
    return Table(
        title="One slow GPU: how often it is found, and good GPUs blamed in a fleet",
        head=("rule", *head),
        rows=rows,
        note="Simulated Gaussian noise, seeded. Rules written anew from their descriptions.",
    )


def compared(python: str) -> dict[str, dict[str, dict[str, float]]]:
    """By arithmetic, fault and rule the share of trials in which it was seen.

    ``python``: one that has PyTorch.
    """
    done = subprocess.run(
        [python, "-m", "tests.bench.compared"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    return {
        dtype: {
            fault: {rule: count / told["trials"] for rule, count in by_rule.items()}
            for fault, by_rule in faults.items()
        }
        for dtype, faults in told["seen"].items()
    }


def products_tables(python: str) -> list[Table]:
    """Spoiled products, a table for each arithmetic."""
    return [
        Table(
            title=f"Spoiled {dtype} products: how often they are seen",
            head=("fault", *next(iter(faults.values()))),
            rows=[
                (fault, *(f"{share:.0%}" for share in by_rule.values()))
                for fault, by_rule in faults.items()
            ],
            note="fp16 has the sums of a side of 8192, at which all results of these rules' "
            "operands are infinite." if dtype == "fp16" else "",
        )
        for dtype, faults in compared(python).items()
    ]  # fmt: skip


def detection() -> Result:
    """All tables; of products where a Python has PyTorch."""
    python = found()
    missing = Table(
        title="Spoiled products: not measured",
        head=("why",),
        rows=[(f"no Python with PyTorch: name one in {VARIABLE}",)],
    )
    return Result(tables=[rates_table(), *(products_tables(python) if python else [missing])])


if __name__ == "__main__":
    print(markdown([detection()], "Seeded; the same on every machine."))
