"""Cells on several devices: their order, their ranks' words, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aiprov.payload import ranks
from aiprov.payload.journal import Journal, read
from aiprov.payload.launchers import Rendezvous, local_ranks, rendezvous, torchrun, world
from aiprov.payload.plan import Cell, Plan, PlanError, plan_from
from aiprov.payload.process import descendants
from aiprov.payload.rank_events import MOST_PART, GarbageError, Heard, lines
from aiprov.payload.supervisor import Supervisor
from tests.processes.payload.processes import Hurried, gone

LAUNCHER = Path(__file__).with_name("launcher.py")
WORKER = Path(__file__).with_name("worker.py")


def cell(device: str, number: int = 0, **parameters: Any) -> Cell:
    told = {"do": "work", "number": number, **parameters}
    return Cell(kind="fake", device=device, limit_s=20, parameters=told)


# ---------------------------------------------------------------- order


def run(path: Path, *cells: Cell) -> list[dict[str, Any]]:
    journal = Journal(str(path))
    plan = Plan(campaign="test", cells=cells)
    Supervisor(plan=plan, journal=journal, worker=[sys.executable, str(WORKER)], kill_s=5).run()
    journal.close()
    return read(path.read_bytes()).records


def test_a_cell_on_several_devices_has_them_to_itself(tmp_path: Path):
    before = [cell("cpu:0", 1, seconds=0.3), cell("cpu:1", 2)]
    both = cell("cpu:0,1", 3, seconds=0.2)
    after = [cell("cpu:0", 4), cell("cpu:1", 5)]
    apart = cell("cpu:2", 6)
    records = run(tmp_path / "j", *before, both, *after, apart)
    place = {(item["event"], item["cell"]): item["n"] for item in records if "cell" in item}
    for one in before:
        assert place["end", one.id] < place["begin", both.id]
    for one in after:
        assert place["end", both.id] < place["begin", one.id]
    assert place["begin", apart.id] < place["begin", both.id]
    ends = [item["status"] for item in records if item["event"] == "end"]
    assert ends == ["done"] * 6


def test_workers_that_have_done_their_part_are_gone_before(tmp_path: Path):
    records = run(tmp_path / "j", cell("cpu:0", 1), cell("cpu:0,1", 2), cell("cpu:0", 3))
    pids = [item["pid"] for item in records if "pid" in item]
    assert len(set(pids)) == 3


def test_a_pair_s_cell_has_a_worker_with_ranks_of_its_own(tmp_path: Path):
    pair = cell("cpu:0", 2, rendezvous={"address": "h", "nodes": 2})
    records = run(tmp_path / "j", cell("cpu:0", 1), pair)
    assert len({item["pid"] for item in records if "pid" in item}) == 2


# ---------------------------------------------------------------- ranks

TWO = cell("cpu:0,1")
BAD = {
    "garbage": "said what is no event",
    "no line": "no ",
    "another's": "said what is no event",
    "odd event": "out of turn",
    "twice": "after its end",
    "leave": "rank 1 ended without a word",
    "crash": "rank 1 ended without a word",
    "no result": "rank 1: no result",
    "error": "rank 1: ValueError: no",
}


def listen(do: str, of: Cell = TWO) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    said: list[dict[str, Any]] = []
    argv = [sys.executable, str(LAUNCHER), do, "2"]
    end = ranks.listen(argv, of, lambda event, **fields: said.append({"event": event, **fields}))
    return end, said


def test_the_results_of_all_ranks_are_the_cell_s():
    end, _ = listen("good")
    assert end["status"] == "done"
    assert end["result"] == {"ranks": {"0": {"rank": 0}, "1": {"rank": 1}}}


@pytest.mark.parametrize("do", BAD)
def test_a_rank_that_goes_wrong_is_an_error_of_the_cell(do: str):
    end, _ = listen(do)
    assert (end["status"], end["result"]) == ("error", {})
    assert BAD[do] in end["error"]


def test_a_launcher_that_will_not_end_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ranks, "LINGER_S", 0.3)
    assert listen("linger")[0]["status"] == "done"
    assert descendants(os.getpid()) == {}


def test_ranks_that_are_left_when_others_babble_are_ended():
    listen("garbage")
    assert descendants(os.getpid()) == {}


WORKER_WITH_RANKS = (
    "import sys; from aiprov.payload import ranks\n"
    f"ranks.torchrun = lambda *_: [sys.executable, {str(LAUNCHER)!r}, 'print pid', '2']\n"
    "raise SystemExit(ranks.work_with_ranks())"
)
SUPERVISOR = (
    "import sys; from aiprov.payload.journal import Journal; from aiprov.payload.plan import *\n"
    "from tests.processes.payload import processes\n"
    "late = Cell(kind='fake', device='cpu:0,1', limit_s=600)\n"
    "getattr(processes, sys.argv[2])("
    "plan=Plan(campaign='test', cells=(late,)), journal=Journal(sys.argv[1]), kill_s=5,"
    f" worker=[sys.executable, '-c', {WORKER_WITH_RANKS!r}]).run()"
)


def start(path: Path, supervisor: type[Supervisor]) -> tuple[subprocess.Popen[bytes], int]:
    """A supervisor with ranks that hang, and the process of one of them."""
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(path), supervisor.__name__])
    while True:
        ended = process.poll() is not None
        past = read(path.read_bytes()).records if path.exists() else []
        pids = [item["pid"] for item in past if "pid" in item]
        if pids:
            return process, pids[0]
        assert not ended
        time.sleep(0.02)


def test_the_supervisor_ends_ranks_in_sessions_of_their_own(tmp_path: Path):
    process, rank = start(tmp_path / "j", Hurried)
    assert process.wait(30) == 0
    records = read((tmp_path / "j").read_bytes()).records
    (end,) = [item for item in records if item["event"] == "end"]
    assert end["status"] == "timed out"
    assert gone(rank, 0.5)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ranks_are_gone_with_their_supervisor(tmp_path: Path, how: signal.Signals):
    process, rank = start(tmp_path / "j", Supervisor)
    process.send_signal(how)
    process.wait(30)
    assert gone(rank)


# ---------------------------------------------------------------- what ranks say


def test_a_long_event_goes_in_lines_that_no_other_cuts():
    event = {"event": "end", "status": "done", "result": {"text": '"\\ü' * MOST_PART}}
    one, other = lines(0, event), lines(1, event)
    assert all(len(line) <= 4096 for line in (*one, *other))
    heard = Heard([0, 1], lambda *_, **__: None)
    for pair in zip(one, other, strict=True):
        heard.hear(b"".join(pair))
    assert heard.all_ended
    assert heard.together()["result"]["ranks"]["1"] == event["result"]


def test_samples_have_the_number_of_their_rank():
    said: list[Any] = []
    heard = Heard([4, 5], lambda event, **fields: said.append((event, fields)))
    heard.hear(b"".join(lines(5, {"event": "sample", "rank": 9, "value": 1})))
    assert said == [("sample", {"rank": 5, "value": 1})]
    with pytest.raises(GarbageError):
        heard.hear(b"".join(lines(0, {"event": "sample"})))


def test_what_no_rank_could_test_was_not_tested():
    heard = Heard([0, 1], lambda *_, **__: None)
    for rank in (0, 1):
        end = {"event": "end", "status": "not tested", "error": "no such type", "result": {}}
        heard.hear(b"".join(lines(rank, end)))
    assert heard.together()["status"] == "not tested"


# ---------------------------------------------------------------- where they meet


def test_numbers_of_ranks_over_hosts():
    meeting = {"address": "10.0.0.1", "nodes": 3, "node": 2}
    one = cell("cuda:0,1,2,3", rendezvous=meeting)
    assert (world(one), list(local_ranks(one))) == (12, [8, 9, 10, 11])
    assert rendezvous(one) == Rendezvous(address="10.0.0.1", nodes=3, node=2)
    assert (world(TWO), list(local_ranks(TWO)), rendezvous(TWO)) == (2, [0, 1], None)


@pytest.mark.parametrize(
    "meeting",
    [{"address": "", "nodes": 2}, {"address": "a", "nodes": 2, "node": 2}, {"nodes": 2},
     {"address": "a", "port": 0}, {"address": "a", "colour": "red"}],
)  # fmt: skip
def test_a_meeting_that_cannot_be_is_refused(meeting: dict[str, Any]):
    with pytest.raises(PlanError, match="rendezvous"):
        torchrun(cell("cuda:0", rendezvous=meeting), "python", "aiprov_payload")


def test_a_device_twice_is_refused():
    document = {"format_version": "1.0", "campaign": "x", "cells": [cell("cpu:1,1").document]}
    with pytest.raises(PlanError, match="twice"):
        plan_from(json.dumps(document))


def test_descendants_are_found_through_their_parents():
    code = "import subprocess,sys;subprocess.run([sys.executable,'-c','input()'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        while not descendants(process.pid):
            assert process.poll() is None
        (child,) = descendants(process.pid)
    finally:
        process.communicate(b"\n")
    assert gone(child)
