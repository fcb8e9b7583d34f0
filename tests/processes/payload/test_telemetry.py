"""Telemetry: what nvidia-smi says, what it does not say, and an nvidia-smi that hangs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov.payload.journal import Journal, read
from aiprov.payload.plan import Cell, Plan
from aiprov.payload.supervisor import Supervisor
from aiprov.payload.telemetry import Telemetry, parsed
from tests.processes.payload.processes import gone
from tests.unit.payload.smi import document

WORKER = Path(__file__).with_name("worker.py")
CASES = Path(__file__).parents[2] / "checks" / "telemetry"
PUBLISHED = sorted(path.stem for path in CASES.glob("*.yml") if path.stem != "nvsentinel_1748")


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_drivers_of_several_years_say(name: str):
    told = yaml.safe_load((CASES / f"{name}.yml").read_text(encoding="utf-8"))
    assert told["source"]
    found = parsed(told["text"])
    assert found["driver"] == told["driver"]
    fields = found["gpus"][told["address"]]
    assert {key: fields[key] for key in told["fields"]} == told["fields"]


def gpu(**fields: Any) -> dict[str, Any]:
    told = parsed(document(fields))
    assert told["driver"] == "580.95.05"
    return told["gpus"]["0000:19:00.0"]


def test_all_that_is_looked_at_is_read():
    fields = gpu()
    assert fields == {
        "name": "NVIDIA H100 80GB HBM3", "serial": "1650223000001", "uuid": "GPU-1650223000001",
        "vbios": "96.00.A5.00.01", "recovery": "None", "fabric": "Completed", "pci_id": "10de:2330",
        "temperature": 61, "memory_temperature": 72, "power": 688.1, "power_limit": 700,
        "sm_mhz": 1755, "memory_mhz": 2619, "pcie_generation": 5, "pcie_width": 16,
        "pcie_replays": 0, "power_capped_us": 91403239, "slowed_by_software_us": 0,
        "slowed_by_heat_us": 0, "power_brake_us": 0, "dram_corrected": 0, "dram_uncorrected": 0,
        "sram_corrected": 0, "sram_uncorrected": 0, "rows_remapped": 0,
        "rows_remapped_corrected": 0, "pages_retired": None, "ecc": True, "mig": False,
        "persistence": True, "remap_pending": False, "remap_failed": False,
        "pages_pending": None, "slowed_by_software": None, "slowed_by_heat": None,
        "power_brake": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"power": "<average_power_draw>70.5 W</average_power_draw>"}, "power", 70.5),
        ({"power": "<power_draw>71.50 W</power_draw>"}, "power", 71.5),
        ({"power": ""}, "power", None),
        ({"sram": "<sram_uncorrectable>3</sram_uncorrectable>"}, "sram_uncorrected", 3),
        ({"sram": ""}, "sram_uncorrected", None),
        ({"recovery": ""}, "recovery", None),
        ({"serial": "N/A"}, "serial", None),
        ({"temperature": "GPU is lost"}, "temperature", None),
        ({"replays": "N/A"}, "pcie_replays", None),
        ({"ecc": "N/A"}, "ecc", None),
        ({"ecc": "Disabled"}, "ecc", False),
        ({"pending": "Yes"}, "remap_pending", True),
        ({"width": "8x"}, "pcie_width", 8),
    ],
)
def test_drivers_differ_and_what_is_not_told_is_none(
    change: dict[str, Any], field: str, value: Any
):
    assert gpu(**change)[field] == value


@pytest.mark.parametrize(
    "text", ["", "No devices were found", "<nvidia_smi_log/>", document(), document({})[:-40]]
)
def test_what_is_no_such_document_is_refused(text: str):
    with pytest.raises(ValueError, match="nvidia-smi -q -x"):
        parsed(text)


def asked(script: str, **options: Any) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    Telemetry(told.append, ["/bin/sh", "-c", script], **options).last()
    return told


def test_a_nvidia_smi_that_fails_says_why():
    assert asked("echo 'No devices were found'; exit 6") == [{"error": "No devices were found"}]
    assert asked("exit 9") == [{"error": "exit status 9"}]
    assert asked("echo hello") == [{"error": "nvidia-smi -q -x: syntax error: line 1, column 0"}]


def test_a_nvidia_smi_that_is_not_there():
    told: list[dict[str, Any]] = []
    Telemetry(told.append, ["/no/nvidia-smi"]).last()
    assert told == [{"error": "/no/nvidia-smi: No such file or directory"}]


def test_a_nvidia_smi_that_hangs_is_given_up():
    began = time.monotonic()
    assert asked("sleep 60", limit_s=0.3) == [{"error": "/bin/sh did not end in 0.3 s"}]
    assert time.monotonic() - began < 10


def test_nobody_waits_for_it():
    told: list[dict[str, Any]] = []
    watch = Telemetry(told.append, ["/bin/sh", "-c", "sleep 60"], limit_s=20)
    for _ in range(20):
        watch.turn()
    assert told == [], "not one turn lasted until the limit"
    watch._limit_s = 0.3  # the last answer alone is waited for
    watch.last()
    assert len(told) == 1
    watch.last()
    watch.turn()
    assert len(told) == 1  # it is not asked again


def test_told_to_stop_it_leaves_no_process_behind(tmp_path: Path):
    pid = tmp_path / "pid"
    watch = Telemetry(print, ["/bin/sh", "-c", f"echo $$ > {pid}; exec sleep 60"])
    watch.turn()
    until = time.monotonic() + 10
    while not (pid.exists() and pid.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    watch.stop()
    assert gone(int(pid.read_text()))


def test_the_supervisor_tells_before_and_after(tmp_path: Path):
    (tmp_path / "smi.xml").write_text(document({}, {"address": "00000000:3B:00.0"}))
    journal = Journal(str(tmp_path / "j"))
    cell = Cell(kind="fake", device="cpu:0", limit_s=20, parameters={"do": "work", "seconds": 0.2})
    Supervisor(
        plan=Plan(campaign="test", cells=(cell,)), journal=journal,
        worker=[sys.executable, str(WORKER)], telemetry=["cat", str(tmp_path / "smi.xml")],
    ).run()  # fmt: skip
    journal.close()
    events = [item["event"] for item in read((tmp_path / "j").read_bytes()).records]
    assert events.index("telemetry") < events.index("begin")
    assert len(events) - events[::-1].index("telemetry") - 1 > events.index("end")
