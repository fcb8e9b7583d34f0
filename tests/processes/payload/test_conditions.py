"""How a GPU was when something happened on it, in a journal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from aiprov.payload import conditions
from aiprov.payload.conditions import Newest
from aiprov.payload.journal import Journal, read
from aiprov.payload.plan import Cell, Plan
from aiprov.payload.supervisor import Supervisor
from tests.unit.payload.smi import document

WORKER = Path(__file__).with_name("worker.py")
NOW = {"temperature": 61, "memory_temperature": 72, "sm_mhz": 1755, "power": 688.1}


def newest(*readings: dict[str, Any]) -> Newest:
    made = Newest()
    for reading in readings:
        made.hear(reading)
    return made


BOTH = {"gpus": {"0000:3b:00.0": {**NOW, "temperature": 50}, "0000:19:00.0": NOW}}


def test_devices_are_in_the_order_of_their_addresses():
    known = newest(BOTH).of("cuda:0")
    assert known == {"address": "0000:19:00.0", "age_s": 0.0, **NOW}
    other = newest(BOTH).of("cpu:1") or {}
    assert (other["address"], other["temperature"]) == ("0000:3b:00.0", 50)
    ranked = newest(BOTH).of("cuda:0,1", rank=3) or {}
    assert ranked["address"] == "0000:3b:00.0"


def test_a_gpu_that_is_lost_does_not_give_its_place_to_the_next():
    lost = {"gpus": {"0000:3b:00.0": NOW}}
    assert newest(BOTH, lost).of("cuda:0") is None
    assert (newest(BOTH, lost).of("cuda:1") or {})["address"] == "0000:3b:00.0"


@pytest.mark.parametrize("device", ["cuda:2", "cuda", "cuda:x", ""])
def test_of_a_device_that_is_none_nothing_is_known(device: str):
    assert newest(BOTH).of(device) is None


def test_an_old_reading_says_nothing_of_now(monkeypatch: pytest.MonkeyPatch):
    known = newest(BOTH, {"error": "it did not end in 60 s"})
    assert known.of("cuda:0") is not None
    monkeypatch.setattr(conditions, "MOST_AGE_S", -1.0)
    assert known.of("cuda:0") is None
    assert newest().of("cuda:0") is None


def test_what_a_worker_says_is_kept_with_how_its_gpu_was(tmp_path: Path):
    (tmp_path / "smi.xml").write_text(document({}, {"address": "00000000:3B:00.0"}))
    (tmp_path / "links").write_text(
        '{"gpus": {}, "ports": {}, "nvlinks": null, "errors": ["nvidia-smi nvlink -s: exit 9"]}\n'
    )
    journal = Journal(str(tmp_path / "j"))
    cells = tuple(
        Cell(kind="fake", device=device, limit_s=20, parameters={"do": "work"})
        for device in ("cpu:0", "cpu:1")
    )
    Supervisor(
        plan=Plan(campaign="test", cells=cells), journal=journal,
        worker=[sys.executable, str(WORKER)], telemetry=["cat", str(tmp_path / "smi.xml")],
        links=["cat", str(tmp_path / "links")],
    ).run()  # fmt: skip
    journal.close()
    records = read((tmp_path / "j").read_bytes()).records
    samples = [record["gpu"] for record in records if record["event"] == "sample"]
    assert {one["address"] for one in samples} == {"0000:19:00.0", "0000:3b:00.0"}
    assert all({name: one[name] for name in NOW} == NOW for one in samples)
    order = [record["event"] for record in records]
    assert order.index("links") < order.index("begin")
    assert order[-2:] == ["links", "stop"]
    told = [record for record in records if record["event"] == "links"]
    assert told[0]["errors"] == ["nvidia-smi nvlink -s: exit 9"]


def test_links_that_are_no_links_are_an_error(tmp_path: Path):
    journal = Journal(str(tmp_path / "j"))
    for text in ("", "{}", "hello"):
        Supervisor(
            plan=Plan(campaign="test", cells=()), journal=journal, worker=["false"],
            links=["echo", text],
        ).run()  # fmt: skip
    journal.close()
    records = read((tmp_path / "j").read_bytes()).records
    told = [record for record in records if record["event"] == "links"]
    assert len(told) == 6
    assert all(record["error"] for record in told)


def test_the_workers_cuda_counts_as_nvidia_smi_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in conditions.FOREIGN:
        monkeypatch.setenv(name, "1")
    journal = Journal(str(tmp_path / "j"))
    script = "import os, json; print(json.dumps({'event': 'end', 'status': 'done', 'result': "
    script += "{key: value for key, value in os.environ.items() if 'CUDA' in key or '32' in key}"
    script += "}), flush=True); input(); input()"
    cell = Cell(kind="fake", device="cpu:0", limit_s=20)
    worker = [sys.executable, "-c", f"input()\n{script}"]
    Supervisor(plan=Plan(campaign="t", cells=(cell,)), journal=journal, worker=worker).run()
    journal.close()
    (end,) = [one for one in read((tmp_path / "j").read_bytes()).records if one["event"] == "end"]
    assert end["result"] == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
