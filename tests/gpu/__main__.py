"""``python -m tests.gpu``: what verification costs, and that the self-test is red, on a real GPU.

Prints Markdown: for each arithmetic the throughput of unverified and of verified products and the
share that is kept (the target is 98 % at a side of 16384), then every cell that did not end well.
Nothing but PyTorch is needed. ``--device cpu:0 --side 128 --seconds 0.2`` tries it without a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiprov.payload.journal import read
from aiprov.payload.plan import Cell

ROOT = Path(__file__).resolve().parents[2]
DTYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8")
TARGET = 0.98
TOLD = ("gbs", "faults", "share", "products", "pulse_hz", "start")


def main() -> int:
    """Measure and print; 1 where the target is missed, a fault is found or a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--side", type=int, default=16384)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    cells = {
        (dtype, kind): Cell(
            kind="gemm unverified" if kind == "unverified" else "gemm", device=given.device,
            limit_s=600, seed=1,
            parameters={"dtype": dtype, "n": given.side, "seconds": given.seconds,
                        "phase": "B" if kind == "B" else "A"},
        )
        for dtype in DTYPES
        for kind in ("unverified", "A", "B")
    }  # fmt: skip
    shared = {"device": given.device, "limit_s": 600}
    memory = {"share": 0.95} if given.device.startswith("cuda") else {"bytes": 1 << 24}
    others = [
        Cell(kind="memory", parameters=memory, **shared),
        *(
            Cell(kind="copy", parameters={"path": path, "bytes": 1 << 26, "seconds": 2}, **shared)
            for path in ("h2d", "d2h", "d2d")
        ),
        *(Cell(kind="gemm", parameters=one, **shared) for one in shapes(given.device, given.side)),
    ]
    ends = run([*cells.values(), *others])
    wrong = products_table(cells, ends)
    print("\n| other cell | status | |\n|---|---|---|")
    for cell in others:
        end = ends[cell.id]
        told = end["error"] or {key: end["result"][key] for key in TOLD if key in end["result"]}
        own = [str(cell.parameters[key]) for key in ("path", "pulse_hz", "start")
               if key in cell.parameters]  # fmt: skip
        print(f"| {' '.join([cell.kind, *own])} | {end['status']} | {told} |")
        wrong += end["status"] != "done" or bool(end["result"].get("faults"))
    return 1 if wrong else 0


def shapes(device: str, side: int) -> list[dict[str, Any]]:
    """Pulses, and where there is a temperature cold and hot starts."""
    own = {"dtype": "bf16", "phase": "A", "n": min(side, 8192), "seconds": 10.0}
    made: list[dict[str, Any]] = [{**own, "pulse_hz": hz} for hz in (0.5, 2.0, 10.0)]
    starts = ("cold", "hot") if device.startswith("cuda") else ()
    return [*made, *({**own, "start": start, "start_limit_s": 240.0} for start in starts)]


def run(cells: list[Cell]) -> dict[str, dict[str, Any]]:
    """The end of each cell."""
    told = {"format_version": "1.0", "campaign": "gpu", "cells": [one.document for one in cells]}
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        words = ["run", "--journal", str(journal)]
        if cells[0].device.startswith("cpu"):
            words.append("--no-telemetry")
        subprocess.run(
            [sys.executable, "-m", "aiprov.payload", *words],
            input=json.dumps(told), text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        return read(journal.read_bytes()).ended


def products_table(cells: dict[tuple[str, str], Cell], ends: dict[str, dict[str, Any]]) -> int:
    """Print the table; how many rows are not as they should be."""
    print("| | unverified, TFLOPS | A | kept | B | kept | faults | |")
    print("|---|---|---|---|---|---|---|---|")
    wrong = 0
    for dtype in DTYPES:
        own = {kind: ends[cells[dtype, kind].id] for kind in ("unverified", "A", "B")}
        rates = {kind: rate(end) for kind, end in own.items()}
        base = rates["unverified"]
        kept = {kind: rates[kind] / base if base else 0.0 for kind in ("A", "B")}
        faults = sum(end["result"].get("faults", 0) for end in own.values())
        why = "; ".join(dict.fromkeys(end["error"] for end in own.values() if end["error"]))
        print(
            f"| {dtype} | {base:.4g} | {rates['A']:.4g} | {kept['A']:.1%} | {rates['B']:.4g} | "
            f"{kept['B']:.1%} | {faults} | {why} |"
        )
        absent = own["A"]["status"] == "not tested"
        wrong += bool(faults) or (not absent and kept["A"] < TARGET)
    return wrong


def rate(end: dict[str, Any]) -> float:
    """TFLOPS; 0 where there is none."""
    result = end["result"]
    return result["flop"] / result["seconds"] / 1e12 if result.get("seconds") else 0.0


if __name__ == "__main__":
    raise SystemExit(main())
