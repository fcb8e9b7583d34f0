"""Collectives as hosts run them, through torchrun and gloo, with nothing and with all wrong."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aiprov.checks.burn_in import Device
from aiprov.checks.model import Subject
from aiprov.checks.pair_tests import Pair, Place, Settings, again, cells_of, pair_cells
from aiprov.checks.pair_verdicts import Tried, pair_checks, tried
from aiprov.checks.pairs import Endpoint
from aiprov.checks.self_test import Score, injections_together, outcomes
from aiprov.payload.journal import read
from tests.torch_python import torch_python

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv")
SUBJECT = Subject(host="h1", kind="gpu", id="0")


def start(path: Path, cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run cells as a host does; its journal."""
    told = {"format_version": "1.0", "campaign": "test", "self_test": True, "cells": cells}
    done = subprocess.run(
        [torch_python(), "-m", "aiprov.payload", "run", "--no-telemetry", "--journal", str(path)],
        input=json.dumps(told), capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    past = read(path.read_bytes())
    assert past.problem == ""
    return past.records


# ---------------------------------------------------------------- every result of every operation

EVERY = Path(__file__).with_name("every_collective.py")
SIZES = [3072, 49152]


@pytest.fixture(scope="module")
def every() -> list[dict[str, Any]]:
    """What three ranks found, with nothing wrong and with one element wrong on rank 1."""
    argv = [
        torch_python(), "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
        "--nproc-per-node", "3", "--log-dir", os.devnull, str(EVERY), *map(str, SIZES),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
                   "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_result_of_every_operation_is_right(every: list[dict[str, Any]], operation: str):
    own = [one for one in every if one["operation"] == operation and not one["injected"]]
    assert {one["rank"] for one in own} == {0, 1, 2}
    for rank in own:
        assert rank["told"] == []
        for size, one in zip(SIZES, rank["sizes"], strict=True):
            assert (one["bytes"], one["faults"], one["wrong"]) == (size, 0, 0)
            assert one["verified"] == one["iterations"] + 2 >= 5
            assert one["seconds"] > 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_wrong_element_of_one_iteration_is_found_and_placed(
    every: list[dict[str, Any]], operation: str
):
    own = {one["rank"]: one for one in every if one["operation"] == operation and one["injected"]}
    assert [own[rank]["told"] for rank in (0, 2)] == [[], []]
    (fault,) = own[1]["told"]
    assert (fault["bytes"], fault["number"], fault["wrong"]) == (SIZES[0], 3, 1)
    assert fault["places"] == [200]
    assert [one["faults"] for one in own[1]["sizes"]] == [1, 0]


# ---------------------------------------------------------------- as a host runs them


def test_every_fault_of_a_rank_is_red_and_nothing_is_left_behind(tmp_path: Path):
    # test_ranks has those that leave and babble, without waiting for PyTorch.
    left_out = ("a rank leaves", "a rank says garbage")
    made = [one for one in injections_together("cpu:0,1") if one.fault not in left_out]
    assert {one.check.split()[-1] for one in made} == {"collectives", "ddp", "fsdp"}
    records = start(tmp_path / "journal", [dict(one.cell) for one in made])
    score = Score(outcomes=outcomes(made, records, Device(subject=SUBJECT)))
    assert score.wrong == ()
    assert score.proven
    begun = {one["cell"]: one["at"] for one in records if one["event"] == "begin"}
    ends = {one["cell"]: one for one in records if one["event"] == "end"}
    late = max(ends[cell]["at"] - at for cell, at in begun.items())
    assert late < max(float(one.cell["limit_s"]) for one in made)
    told = [one for one in records if one["event"] == "fault"]
    (wrong,) = [one for one in told if one["what"] != "step"]
    # All feel one's weights.
    assert {one["rank"] for one in told if one["what"] == "step"} == {0, 1}
    assert (wrong["rank"], wrong["number"], wrong["places"]) == (1, 3, [30])
    words = json.dumps(made[-1].cell["parameters"]["inject"], sort_keys=True).encode()
    assert [path for path in Path("/proc").glob("[0-9]*") if words in command_line(path)] == []


def command_line(path: Path) -> bytes:
    try:
        return (path / "cmdline").read_bytes()
    except OSError:
        return b""


# ---------------------------------------------------------------- the pattern itself

PATTERN = """
import torch
from aiprov.payload.collectives import _Size
rank, ranks, each = 1, 3, 8
pattern = (torch.arange(24) * 7 % 23 + 1).float()
size = _Size("all_to_all", rank, ranks, each, pattern, 4)
blocks = [((pattern[each * rank:each * rank + each] + 2) * (of + 1)) for of in range(ranks)]
good = torch.cat(blocks)
assert size.wrong(good, 2) == (0, [])
assert size.wrong(good, 6) == (0, []), "offsets come again after so many steps"
for name, bad in {
    "stale": torch.cat([(pattern[each:2 * each] + 1) * (of + 1) for of in range(ranks)]),
    "swapped": torch.cat([blocks[1], blocks[0], blocks[2]]),
    "repeated": torch.cat([blocks[0], blocks[0], blocks[2]]),
    "shifted": good.roll(1),
    "cleared": torch.zeros(24),
    "nan": torch.full((24,), float("nan")),
}.items():
    count, places = size.wrong(bad, 2)
    assert count >= 6 and len(places) == count, (name, count)
total = _Size("all_reduce", rank, ranks, 24, pattern, 4)
assert total.wrong((pattern + 2) * 6, 2)[0] == 0
assert total.wrong((pattern + 2) * 5, 2)[0] == 24, "a rank that took no part"
one = (pattern + 2) * 6
one[13] += 1
assert total.wrong(one, 2) == (1, [13])
"""


def test_a_stale_swapped_repeated_or_shifted_block_is_seen():
    done = subprocess.run(
        [torch_python(), "-c", PATTERN], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- across hosts


def places(hosts: int) -> list[Place]:
    return [
        Place(
            endpoint=Endpoint(host=f"h{number}", gpu="0"), device="cpu:0", address="127.0.0.1",
            interface="lo",
        )
        for number in range(hosts)
    ]  # fmt: skip


def run_on_hosts(
    path: Path, made: Iterable[Sequence[Pair]], inject: dict[str, Any]
) -> tuple[Tried, ...]:
    """Do the cells of all hosts at once, a supervisor each, with a fault in all of them."""
    for one in made:
        for pair in one:
            for cell in pair.cells.values():
                cell["parameters"]["inject"] = inject
    plans = cells_of(made)
    path.mkdir()
    with ThreadPoolExecutor(len(plans)) as pool:
        told = pool.map(lambda host: start(path / host, [dict(one) for one in plans[host]]), plans)
        return tried(made, dict(zip(plans, told, strict=True)), self_test=True)


def test_a_pair_across_hosts_is_slow_and_then_wrong(tmp_path: Path):
    """Two hosts are two supervisors on loopback; their pair is tried again, as it was slow."""
    known, settings = places(2), Settings(size=4096, seconds=0, limit_s=120)
    slow = {"kind": "slow", "product": 0, "only": False, "size": 5, "rank": 0}
    seen = run_on_hosts(tmp_path / "1", pair_cells(known, settings), slow)
    assert seen[0].why == ""
    assert seen[0].trial.value is not None
    assert 0 < seen[0].trial.value <= 4096 / 0.05 / 1e9
    assert again(known, seen, settings) == ()  # one pair alone is not slow
    more = again(known, seen, settings, least_gbs=0.01)
    wrong = {"kind": "memory bit", "product": 3, "rank": 1}
    seen += run_on_hosts(tmp_path / "2", more, wrong)
    assert (seen[1].trial.value, seen[1].why) == (0.0, "1 wrong results")
    subjects = {
        (f"h{number}", "0"): Subject(host=f"h{number}", kind="gpu", id=str(number))
        for number in range(2)
    }
    checks = pair_checks(seen, subjects, least_gbs=0.0)
    bad = {check.subject.kind: check.verdict for check in checks if check.verdict == "failed"}
    assert bad == {"link": "failed"}  # either GPU, or what is between them: nobody else can tell
    assert all(check.verdict != "ok" for check in checks)
