"""The supervisor with workers that do all that workers should not do."""

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

from aiprov.payload.journal import Journal, read
from aiprov.payload.plan import Cell, Plan, PlanError, plan_from
from aiprov.payload.supervisor import Supervisor
from tests.processes.payload.processes import Hurried, gone
from tests.pythons import needed

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("worker.py")


def cell(do: str, device: str = "cpu:0", limit_s: float = 20.0, **parameters: Any) -> Cell:
    return Cell(kind="fake", device=device, limit_s=limit_s, parameters={"do": do, **parameters})


def run(
    path: Path, *cells: Cell, supervisor: type[Supervisor] = Supervisor, **options: Any
) -> list[dict[str, Any]]:
    journal = Journal(str(path))
    plan = Plan(campaign="test", cells=cells, **options)
    worker = [sys.executable, str(WORKER)]
    supervisor(plan=plan, journal=journal, worker=worker, kill_s=10).run()
    journal.close()
    past = read(path.read_bytes())
    assert past.problem == ""
    return past.records


def ends(records: list[dict[str, Any]]) -> dict[str, str]:
    return {item["cell"]: item["status"] for item in records if item["event"] == "end"}


def test_cells_are_done_and_what_is_seen_is_kept(tmp_path: Path):
    cells = [cell("work", number=number) for number in range(3)]
    records = run(tmp_path / "j", *cells)
    assert ends(records) == {one.id: "done" for one in cells}
    samples = [item for item in records if item["event"] == "sample"]
    assert [item["number"] for item in samples] == [0, 1, 2]
    # A worker cannot write what is the journal's to say.
    assert all(item["cell"] in {one.id for one in cells} for item in samples)
    assert len({item["pid"] for item in samples}) == 1
    assert records[-1]["reason"] == "all is done"


BAD = {
    "exit": ("error", "exit status 3: giving up"),
    "kill": ("error", "killed by signal 9"),
    "hang": ("timed out", "it did not end in 1 s"),
    "garbage": ("error", "it said what is no event"),
    "array": ("error", "it said what is no event"),
    "no line": ("error", "it says no lines"),
    "no result": ("error", "it ended without a result"),
    "odd status": ("error", "it ended without a result"),
    "raise": ("error", "ValueError: no"),
    "not tested": ("not tested", "no such type"),
    "close": ("error", ""),
}


@pytest.mark.parametrize("do", BAD)
def test_a_cell_that_goes_wrong_is_said_and_the_next_is_done(tmp_path: Path, do: str):
    bad = cell(do, limit_s=1.0 if do == "hang" else 20.0)
    good = cell("work")
    records = run(tmp_path / "j", bad, good)
    status, error = BAD[do]
    (end,) = [item for item in records if item["event"] == "end" and item["cell"] == bad.id]
    assert end["status"] == status
    assert error in end["error"]
    assert ends(records)[good.id] == "done"


def test_a_worker_that_crashes_again_and_again_is_not_started_for_ever(tmp_path: Path):
    cells = [cell("exit", number=number) for number in range(5)]
    records = run(tmp_path / "j", *cells, cell("work", device="cpu:1"))
    assert list(ends(records).values()).count("error") == 3
    assert list(ends(records).values()).count("not run") == 2
    assert list(ends(records).values()).count("done") == 1


def test_a_hung_device_does_not_hold_up_others(tmp_path: Path):
    slow = cell("hang", device="cpu:0", limit_s=4)
    others = [cell("work", device="cpu:1", number=number) for number in range(3)]
    records = run(tmp_path / "j", slow, *others)
    order = [item["cell"] for item in records if item["event"] == "end"]
    assert order[-1] == slow.id
    assert ends(records)[slow.id] == "timed out"


class UntilThereIsAChild(Hurried):
    WORD = b'"child"'


def test_what_a_worker_started_is_ended_with_it(tmp_path: Path):
    records = run(tmp_path / "j", cell("child", limit_s=60), supervisor=UntilThereIsAChild)
    assert list(ends(records).values()) == ["timed out"]
    (child,) = [item["child"] for item in records if "child" in item]
    assert gone(child)


def test_devices_begin_one_after_the_other(tmp_path: Path):
    cells = [cell("work", device=f"cpu:{number}") for number in range(3)]
    before = time.time()  # the first may begin late
    records = run(tmp_path / "j", *cells, stagger_s=0.4)
    begun = {item["device"]: item["at"] for item in records if item["event"] == "begin"}
    assert begun["cpu:2"] - before >= 0.75


# ---------------------------------------------------------------- cut off and gone on


def start(path: Path, *cells: Cell, python: str = sys.executable) -> subprocess.Popen[str]:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from aiprov.payload.journal import Journal; "
        "from aiprov.payload.plan import plan_from; "
        "from aiprov.payload.supervisor import Supervisor; "
        "plan = plan_from(sys.stdin.read()); journal = Journal(sys.argv[2]); "
        "Supervisor(plan=plan, journal=journal, worker=[sys.executable, sys.argv[3]]).run()"
    )
    process = subprocess.Popen(
        [python, "-c", program, str(ROOT), str(path), str(WORKER)],
        stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(document(*cells))
    process.stdin.close()
    return process


def document(*cells: Cell, **options: Any) -> str:
    told = {"format_version": "1.0", "campaign": "test", "cells": [one.document for one in cells]}
    return json.dumps({**told, **options})


def wait_for(path: Path, event: str, count: int = 1) -> list[dict[str, Any]]:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        records = read(path.read_bytes()).records if path.exists() else []
        if sum(item["event"] == event for item in records) >= count:
            return records
        time.sleep(0.02)
    raise AssertionError(f"no {event} in {path}")


def test_killed_anywhere_it_repeats_at_most_the_cell_under_way(tmp_path: Path):
    path = tmp_path / "j"
    cells = [cell("work", number=number, seconds=0.3) for number in range(4)]
    process = start(path, *cells)
    records = wait_for(path, "begin", 2)
    process.kill()
    process.wait()
    pids = {item["pid"] for item in records if item["event"] == "sample"}
    assert all(gone(pid) for pid in pids), "a worker survived its supervisor"
    records = run(path, *cells)
    begun = [item["cell"] for item in records if item["event"] == "begin"]
    assert ends(records) == {one.id: "done" for one in cells}
    assert len(begun) - len(set(begun)) <= 1


def test_a_cell_that_ends_the_machine_each_time_is_not_begun_for_ever(tmp_path: Path):
    path = tmp_path / "j"
    for _ in range(2):
        journal = Journal(str(path))
        journal.write("begin", durable=True, cell=cell("work").id)
        journal.close()
    records = run(path, cell("work"), cell("work", number=1))
    assert ends(records) == {cell("work").id: "hung", cell("work", number=1).id: "done"}


def test_told_to_stop_it_ends_its_workers_and_says_so(tmp_path: Path):
    path = tmp_path / "j"
    process = start(path, cell("hang", limit_s=60))
    (worker,) = [item["pid"] for item in wait_for(path, "sample") if item["event"] == "sample"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert gone(worker)
    assert read(path.read_bytes()).records[-1]["reason"] == f"signal {signal.SIGTERM.value}"


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_it_runs_on_the_pythons_that_have_pytorch(tmp_path: Path, version: str):
    python = needed(version)
    process = start(tmp_path / "j", cell("work"), cell("exit"), python=python)
    assert process.wait(30) == 0
    assert sorted(ends(read((tmp_path / "j").read_bytes()).records).values()) == ["done", "error"]


# ---------------------------------------------------------------- plans


def test_a_plan_is_read_and_cells_keep_their_names():
    plan = plan_from(document(cell("work"), cell("exit"), stagger_s=2))
    assert plan.cells == (cell("work"), cell("exit"))
    assert plan.stagger_s == 2
    assert plan.cells[0].id == cell("work").id != cell("exit").id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "makes no sense"),
        ("[]", "makes no sense"),
        (document(cell("work")).replace('"1.0"', '"2.0"'), "format_version 2.0"),
        (document(cell("work"), cell("work")), "a cell twice"),
        (document(cell("work", inject={"kind": "bit"})), "in a self-test only"),
        ('{"format_version": "1.0", "campaign": "a", "cells": [{}]}', "makes no sense"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(text: str, message: str):
    with pytest.raises(PlanError, match=message):
        plan_from(text)


def test_faults_are_injected_in_a_self_test():
    told = document(cell("work", inject={"kind": "bit"}), self_test=True)
    assert plan_from(told).self_test


# ---------------------------------------------------------------- GPUs that are somebody's


def payload(path: Path, text: str, smi: str | None) -> subprocess.CompletedProcess[str]:
    """The payload as a host has it, with an nvidia-smi that is a script, or none."""
    tools = path / "bin"
    tools.mkdir()
    if smi is not None:
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
        (tools / "nvidia-smi").chmod(0o755)
    return subprocess.run(
        [sys.executable, "-m", "aiprov.payload", "run", "--journal", str(path / "j")],
        input=text, capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PATH": f"{tools}:/bin", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("smi", "message"),
    [
        ("echo '4242, python3, GPU-1'", "GPUs are in use: 4242, python3, GPU-1"),
        ("echo 'No devices were found'; exit 6", "nvidia-smi: No devices were found"),
        (None, "nvidia-smi: No such file or directory"),
    ],
)
def test_gpus_that_are_in_use_are_left_alone(tmp_path: Path, smi: str | None, message: str):
    done = payload(tmp_path, document(cell("work", device="cuda:0")), smi)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "j").exists()


def test_a_plan_without_cells_is_done_at_once(tmp_path: Path):
    assert payload(tmp_path, document(), None).returncode == 0
    assert payload.__doc__


def test_a_bad_plan_and_a_journal_that_is_taken(tmp_path: Path):
    (tmp_path / "one").mkdir()
    done = payload(tmp_path / "one", "nonsense", None)
    assert done.returncode == 2
    assert done.stderr.startswith("aiprov_payload: the plan makes no sense")
