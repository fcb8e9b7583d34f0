"""Products and memory patterns as a host runs them, with nothing and with everything wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aiprov import payload
from aiprov.payload.journal import read
from aiprov.payload.plan import Cell
from tests.torch_python import torch_python

SIDE = 160
HERE = ("fp64", "fp32", "bf16", "fp16", "fp8", "int8")
PHASES = ("A", "B")


@dataclass(frozen=True)
class Run:
    """What a payload wrote: the end of each cell, and its faults."""

    ends: dict[str, dict[str, Any]]
    faults: dict[str, list[dict[str, Any]]]

    def end(self, cell: Cell) -> dict[str, Any]:
        return self.ends[cell.id]

    def told(self, cell: Cell) -> list[dict[str, Any]]:
        return self.faults.get(cell.id, [])


def run(path: Path, *cells: Cell) -> Run:
    """Run cells as a host does: the package under its own name, nothing else of ours there."""
    python = torch_python()
    shutil.copytree(Path(payload.__file__).parent, path / "aiprov_payload")
    told = {
        "format_version": "1.0",
        "campaign": "test",
        "self_test": True,
        "cells": [one.document for one in cells],
    }
    done = subprocess.run(
        [python, "-m", "aiprov_payload", "run", "--no-telemetry", "--journal", "journal"],
        input=json.dumps(told), capture_output=True, text=True, check=False, cwd=path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    past = read((path / "journal").read_bytes())
    assert past.problem == ""
    faults: dict[str, list[dict[str, Any]]] = {}
    for record in past.records:
        if record["event"] == "fault":
            faults.setdefault(record["cell"], []).append(record)
    return Run(ends=past.ended, faults=faults)


LIMIT_S = 300.0
"""Beyond what loading PyTorch takes on a machine that does much else: nothing waits for it."""


def gemm(dtype: str, phase: str, seconds: float = 0, seed: int = 1, **more: Any) -> Cell:
    parameters = {
        "dtype": dtype, "n": SIDE, "phase": phase, "seconds": seconds, "products": 4, **more,
    }  # fmt: skip
    return Cell(kind="gemm", device="cpu:0", limit_s=LIMIT_S, seed=seed, parameters=parameters)


def memory(seed: int = 1, **more: Any) -> Cell:
    parameters = {"bytes": 1 << 18, "block_bytes": 1 << 16, **more}
    return Cell(kind="memory", device="cpu:0", limit_s=LIMIT_S, seed=seed, parameters=parameters)


# ---------------------------------------------------------------- nothing wrong

CLEAN = [gemm(dtype, phase, seconds=0.05) for dtype in HERE for phase in PHASES]
AGAIN = [gemm(dtype, phase, seconds=0.01) for dtype in HERE for phase in PHASES]
OTHER = [gemm(dtype, phase, seed=50) for dtype in HERE for phase in PHASES]
ABSENT = [gemm("tf32", "A"), gemm("fp4", "A"), gemm("bf16", "B", n=512)]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("clean"), *CLEAN, *AGAIN, *OTHER, *ABSENT, memory())


@pytest.mark.parametrize(
    "cell", CLEAN, ids=lambda cell: "{dtype} {phase}".format(**cell.parameters)
)
def test_good_hardware_has_no_faults_and_every_product_is_verified(clean: Run, cell: Cell):
    end = clean.end(cell)
    assert (end["status"], end["error"]) == ("done", "")
    result = end["result"]
    assert result["faults"] == 0 and not clean.told(cell)
    assert result["products"] == result["verified"] == 4 * result["passes"] >= 4
    assert result["flop"] == 2 * SIDE**3 * result["products"]
    assert 0 < result["seconds"] <= result["elapsed_s"]
    assert len(result["pass_seconds"]) == len(result["references"]) == result["passes"]


@pytest.mark.parametrize("index", range(len(CLEAN)))
def test_hashes_are_the_same_for_a_seed_and_others_for_another(clean: Run, index: int):
    first, again, other = (
        {item["seed"]: item["hash"] for item in clean.end(cells[index])["result"]["references"]}
        for cells in (CLEAN, AGAIN, OTHER)
    )
    common = first.keys() & again.keys()
    assert 1 in common
    assert all(first[seed] == again[seed] for seed in common)
    assert not set(first.values()) & set(other.values())
    assert len(set(first.values())) == len(first)


@pytest.mark.parametrize(
    ("cell", "why"),
    list(zip(ABSENT, ("only GPUs have it", "no arithmetic fp4", "are not exact"), strict=True)),
)
def test_what_a_device_has_not_is_not_tested(clean: Run, cell: Cell, why: str):
    end = clean.end(cell)
    assert end["status"] == "not tested"
    assert why in end["error"]


def test_good_memory_has_no_faults(clean: Run):
    result = clean.end(memory())["result"]
    assert (result["bytes"], result["faults"]) == (1 << 18, 0)
    assert set(result["gbs"]) == {"own address", "random", "inversions"}
    assert all(value > 0 for value in result["gbs"].values())


# ---------------------------------------------------------------- everything wrong

TRANSIENT = ("bit", "burst", "tile", "nan", "inf")
"""Of one product: the others have other bits."""
STUCK = ("zero tile", "nan", "inf", "tile")
"""Wrong alike in all products, the reference too: only the truth tells."""


def faulty(dtype: str, phase: str, kind: str, seed: int, **more: Any) -> Cell:
    return gemm(dtype, phase, seed=seed, inject={"kind": kind, "row": 133, "column": 9, **more})


def has(dtype: str, kind: str) -> bool:
    return dtype != "int8" or kind not in ("nan", "inf")


FAULTS: dict[str, Cell] = {
    **{
        f"{dtype} {phase} {kind} once": faulty(dtype, phase, kind, 2, product=2)
        for dtype in HERE for phase in PHASES for kind in TRANSIENT if has(dtype, kind)
    },
    **{
        f"{dtype} B {kind} in the last bit of the reference": faulty(dtype, "B", kind, 3, product=0)
        for dtype in HERE for kind in ("bit", "tile")
    },
    **{
        f"{dtype} {phase} {kind} always": faulty(dtype, phase, kind, 4, product=0, only=False,
                                                 mask=1 << 14, size=16)
        for dtype in HERE for phase in PHASES for kind in STUCK if has(dtype, kind)
    },
    **{
        f"{dtype} {phase} operand": faulty(dtype, phase, "operand", 5)
        for dtype in HERE for phase in PHASES
    },
    **{
        f"fp32 A {kind} of the reference": faulty("fp32", "A", kind, 6, product=0)
        for kind in ("bit", "burst", "tile")
    },
    **{
        f"bf16 A burst of {size} with mask {mask:x}": faulty("bf16", "A", "burst", 7, product=1,
                                                            size=size, mask=mask)
        for size in (2, 4, 8, 16, 32) for mask in (1, 0x8000, 0x0101)
    },
}  # fmt: skip
MEMORY = {
    "bit": memory(2, inject={"kind": "memory bit", "product": 0, "mask": 1 << 40}),
    "bit later": memory(3, inject={"kind": "memory bit", "product": 4}),
    "stuck": memory(4, inject={"kind": "memory stuck"}),
    "alias": memory(5, inject={"kind": "memory alias"}),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("broken"), *FAULTS.values(), *MEMORY.values())


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_found_and_placed(broken: Run, name: str):
    cell = FAULTS[name]
    end = broken.end(cell)
    assert end["status"] == "done", end["error"]
    assert end["result"]["faults"] >= 1
    told = broken.told(cell)
    assert told, "it is counted and not told"
    for fault in told:
        assert [1, 0] in fault["tiles"]  # row 133, column 9, in tiles of 128
        if "elements" in fault:
            assert {key: fault["elements"][0][key] for key in ("row", "column")} == {
                "row": 133,
                "column": 9,
            }


def test_the_flipped_bits_are_told(broken: Run):
    (fault,) = broken.told(FAULTS["bf16 A burst of 8 with mask 101"])
    assert (fault["what"], fault["product"], fault["wrong"]) == ("product", 1, 8)
    assert [item["column"] for item in fault["elements"]] == list(range(9, 17))
    assert {item["mask"] for item in fault["elements"]} == {"0101"}


@pytest.mark.parametrize("kind", ["bit", "burst", "tile"])
def test_a_wrong_reference_is_not_blamed_on_the_products(broken: Run, kind: str):
    told = broken.told(FAULTS[f"fp32 A {kind} of the reference"])
    assert [fault["what"] for fault in told if fault["what"] != "truth"] == ["reference"]


@pytest.mark.parametrize("name", MEMORY)
def test_every_fault_of_memory_is_found_and_placed(broken: Run, name: str):
    assert broken.end(MEMORY[name])["result"]["faults"] >= 1
    (first, *_) = broken.told(MEMORY[name])
    assert first["words"][0]["word"] == (5 if name != "alias" else 13)


def test_an_alias_shows_by_its_own_address(broken: Run):
    assert {fault["pattern"] for fault in broken.told(MEMORY["alias"])} == {"own address", "random"}


def copies(path: str, seed: int = 1, **more: Any) -> Cell:
    parameters = {"path": path, "bytes": 1 << 18, "seconds": 0, **more}
    return Cell(kind="copy", device="cpu:0", limit_s=LIMIT_S, seed=seed, parameters=parameters)


def test_copies_are_timed_and_every_one_is_checked(tmp_path: Path):
    good = [copies(path) for path in ("h2d", "d2h", "d2d")]
    wrong = copies("h2d", inject={"kind": "memory bit", "product": 2, "row": 11, "mask": 1 << 33})
    absent = [copies("p2p"), copies("d3d")]
    seen = run(tmp_path, *good, wrong, *absent)
    for cell in good:
        result = seen.end(cell)["result"]
        assert result["faults"] == 0
        assert result["copies"] == result["verified"] == 3
        assert 0 < result["slowest_gbs"] <= result["gbs"]
    assert seen.end(wrong)["result"]["faults"] == 1
    (fault,) = seen.told(wrong)
    assert (fault["number"], fault["words"]) == (2, [11])
    assert [seen.end(cell)["status"] for cell in absent] == ["not tested"] * 2


def model(kind: str, seed: int = 1, **more: Any) -> Cell:
    steps = {"steps": 3} if kind == "train" else {"words": 4}
    parameters = {"model": "tiny", "dtype": "fp32", "batch": 2, "length": 16, **steps, **more}
    return Cell(kind=kind, device="cpu:0", limit_s=LIMIT_S, seed=seed, parameters=parameters)


def test_models_do_the_same_each_time_and_one_flipped_bit_is_seen(tmp_path: Path):
    flip = {"kind": "bit", "product": 1, "mask": 1 << 6}
    good = [model("train"), model("decode"), model("train", dtype="bf16")]
    again = [model("train", limit=2), model("decode", limit=2)]
    other = [model("train", seed=2), model("decode", seed=2)]
    wrong = [model("train", inject=flip), model("decode", inject=flip)]
    absent = model("train", model="70b")
    seen = run(tmp_path, *good, *again, *other, *wrong, absent)
    for cell in (*good, *again, *other):
        result = seen.end(cell)["result"]
        assert (result["faults"], seen.told(cell)) == (0, [])
        assert result["seconds"] > 0
        assert result["tokens"] == (96 if cell.kind == "train" else 8)

    def hashes(cell: Cell) -> list[dict[str, Any]]:
        return seen.end(cell)["result"]["references"]

    for one, two, three in zip(good, again, other, strict=False):
        assert hashes(one) == hashes(two) != hashes(three)
    for cell in wrong:
        assert seen.end(cell)["result"]["faults"] >= 1
        assert seen.told(cell)
    assert seen.end(absent)["status"] == "not tested"


NETWORKS = {  # name: side or words, and images or tokens of three steps
    "resnet-tiny": (32, 6, "images"),
    "bert-tiny": (16, 96, "tokens"),
    "unet-tiny": (8, 6, "images"),
}


def test_other_networks_train_alike_and_a_flipped_bit_of_a_weight_is_seen(tmp_path: Path):
    flip = {"kind": "bit", "product": 1, "mask": 1 << 6}
    good = {name: model("train", model=name, length=size[0]) for name, size in NETWORKS.items()}
    wrong = [
        model("train", model=name, length=size[0], inject=flip) for name, size in NETWORKS.items()
    ]
    small = model("train", model="resnet-tiny", length=32, dtype="bf16")
    seen = run(tmp_path, *good.values(), *wrong, small)
    for name, (_, count, unit) in NETWORKS.items():
        result = seen.end(good[name])["result"]
        assert (result["faults"], result["not_finite"]) == (0, 0)
        assert (result["tokens"], result["unit"]) == (count, unit)
        assert result["flop"] > 0
    assert [seen.end(cell)["result"]["faults"] >= 1 for cell in wrong] == [True] * 3
    assert seen.end(small)["result"]["faults"] == 0


# ---------------------------------------------------------------- workers that end badly

ENDS = {
    "crash": ("error", "killed by signal 11"),
    "hang": ("timed out", "did not end in 6 s"),
    "garbage": ("done", ""),  # what libraries print is led away from the events
    "raise": ("error", "RuntimeError: CUDA error: an illegal memory access"),
    "slow": ("done", ""),
}


def test_workers_that_end_badly_are_said_and_the_next_cell_is_done(tmp_path: Path):
    cells = {
        kind: Cell(
            kind="gemm", device="cpu:0", limit_s=6.0 if kind == "hang" else LIMIT_S, seed=9,
            parameters={**gemm("fp32", "A").parameters, "inject": {"kind": kind, "size": 40}},
        )
        for kind in ENDS
    }  # fmt: skip
    unknown = Cell(kind="dance", device="cpu:0", limit_s=LIMIT_S)
    other = gemm("fp32", "A", inject={"kind": "no such fault"})
    last = gemm("fp32", "B")
    seen = run(tmp_path, *cells.values(), unknown, last, other)
    for kind, (status, error) in ENDS.items():
        end = seen.end(cells[kind])
        assert end["status"] == status, end
        assert error in end["error"]
    assert seen.end(cells["slow"])["result"]["seconds"] >= 0.4
    assert seen.end(unknown)["status"] == "error"
    assert seen.end(last)["status"] == "done"
    assert "there is no fault 'no such fault'" in seen.end(other)["error"]
