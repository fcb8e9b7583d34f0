"""What simulated GPUs say is read by what reads real ones: nvidia-smi -q -x, and nvlink."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from aiprov.checks.expectations import Expectations, ExpectedGpu, diff
from aiprov.checks.health import health, observed
from aiprov.checks.links import links
from aiprov.checks.model import Subject
from aiprov.payload import links as readers
from aiprov.payload.telemetry import parsed
from tests.processes.lab.simulated_machine import CLOSED, HOME, OPEN, Machine, machine
from tests.pythons import offered

FIRST = "0000:11:00.0"


@pytest.fixture(params=["3.6", "3.9", "3.13"])
def python(request: pytest.FixtureRequest) -> str:
    """A Python that a host of the lab may have."""
    return offered(request.param)


def loaded(path: Path, text: str) -> Machine:
    """A host with the modules that its GPUs need."""
    return machine(path, text).loaded(license=CLOSED if text.startswith("v100") else OPEN)


def gpu(host: Machine, address: str = FIRST) -> dict[str, Any]:
    return parsed(host.smi("-q", "-x"))["gpus"][address]


def worker(host: Machine, device: str = "cpu:0", seconds: float = 0, pid: str = "4711") -> None:
    """A process that stands in for a GPU, since so many seconds."""
    folder = host.root / "proc" / pid
    (folder / "fd").mkdir(parents=True, exist_ok=True)
    (folder / "cmdline").write_text(f"python3\0-m\0aiprov_payload\0worker\0{device}\0")
    (folder / "stat").write_text(f"{pid} (python3) {'0 ' * 19}{int((1000 - seconds) * 100)} 0\n")
    (host.root / "proc/uptime").write_text("1000.00 900.00\n")


def test_all_that_is_looked_at_is_told(tmp_path: Path, python: str) -> None:
    host = machine(tmp_path, "h200x2", python).loaded()
    told = parsed(host.smi("-q", "-x"))
    assert told["driver"] == "580.95.05"
    assert list(told["gpus"]) == [FIRST, "0000:1e:00.0"]
    fields = told["gpus"][FIRST]
    untold = {name for name, value in fields.items() if value is None}
    assert untold == {"pages_retired", "pages_pending"}
    assert (fields["pci_id"], fields["name"]) == ("10de:2335", "NVIDIA H200")
    assert (fields["pcie_generation"], fields["pcie_width"]) == (5, 16)
    assert (fields["ecc"], fields["mig"], fields["persistence"]) == (True, False, False)
    only = parsed(host.smi("-q", "-x", "-i", "1"))
    assert list(only["gpus"]) == ["0000:1e:00.0"]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("h200x1,narrow=0", "pcie_width", 4),
        ("t4", "rows_remapped", None),
        ("t4", "pages_retired", 0),
        ("l40s", "mig", None),
        ("v100x2", "sram_uncorrected", 0),
        ("10de:2684", "ecc", None),
        ("10de:2684", "dram_corrected", None),
    ],
)
def test_models_differ(tmp_path: Path, text: str, field: str, value: Any) -> None:
    assert gpu(loaded(tmp_path, text))[field] == value


def test_failures_are_those_of_every_question(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2")
    host.library("580.95.05")
    for words in (("-q", "-x"), ("nvlink", "-s"), ("nvlink", "-e")):
        status, said = host.run("nvidia-smi", *words)
        assert status == 9
        assert said.startswith("NVIDIA-SMI has failed because")
    host.loaded()
    assert host.run("fault", "missing", "0") == (0, "")
    for words in (("-q", "-x"), ("nvlink", "-s")):
        status, said = host.run("nvidia-smi", *words)
        assert status == 15
        assert "GPU0: 0000:11:00.0: GPU is lost" in said


def test_a_gpu_that_works_gets_warm(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    rests = gpu(host)
    assert (rests["temperature"], rests["sm_mhz"]) == (31, 345)
    seen = []
    for seconds in (1, 20, 200):
        worker(host, seconds=seconds)
        seen.append(gpu(host))
    warm = [one["temperature"] for one in seen]
    assert warm == sorted(warm)
    assert 60 <= warm[-1] <= 66
    assert seen[0]["sm_mhz"] > seen[-1]["sm_mhz"] > 1700
    assert seen[-1]["power"] > seen[0]["power"] > 500
    assert gpu(host, "0000:1e:00.0")["temperature"] == 31
    worker(host, device="cpu:0,1", seconds=300)
    assert gpu(host, "0000:1e:00.0")["temperature"] > 55
    asked = host.smi("--query-gpu=temperature.gpu", "--format=csv,noheader,nounits", "-i", "1")
    assert int(asked) > 55


# ---------------------------------------------------------------- links


def read(host: Machine) -> dict[str, Any]:
    """As the payload reads a host's links, with this host's nvidia-smi."""
    host.run("nvidia-smi", "-L")  # lays the program that is called
    program = host.root / "smi"
    program.write_text(
        f"#!/bin/sh\nexport AIPROV_LAB_ROOT={host.root} AIPROV_LAB_HOME={HOME} PATH=/bin\n"
        f'exec {host.python} {host.root}/called/nvidia-smi "$@"\n'
    )
    program.chmod(0o755)
    return readers.read(str(host.root), (str(program),))


def speeds(told: dict[str, Any]) -> list[int]:
    """How many NVLinks of each GPU are active."""
    return [
        sum(speed is not None for speed in one["speeds"].values())
        for one in told["nvlinks"].values()
    ]


@pytest.mark.parametrize(
    ("text", "links", "speed"),
    [
        ("h200x8", 18, 26.562),
        ("a100-80gbx2", 12, 25.0),
        ("v100x2", 0, None),
        ("b200x2", 18, 53.125),
        ("h200x1", 0, None),
        ("l40sx2", 0, None),
    ],
)
def test_nvlinks_of_models(tmp_path: Path, text: str, links: int, speed: float | None) -> None:
    told = read(loaded(tmp_path, text))
    assert told["errors"] == []
    assert set(speeds(told)) == {links}
    for one in told["nvlinks"].values():
        assert set(one["speeds"].values()) == ({speed} if links else set())
        assert len(one["counters"]) == links
    nodes = {one["numa_node"] for one in told["gpus"].values()}
    assert nodes <= {0, 1}
    assert all(one["aer"]["fatal"] == 0 for one in told["gpus"].values())


def test_python_3_6_tells_of_nvlinks(tmp_path: Path, python: str) -> None:
    host = machine(tmp_path, "h200x2", python).loaded()
    assert host.smi("nvlink", "--status").count(" Link 17: 26.562 GB/s") == 2
    assert host.smi("nvlink", "-e", "-i", "0").count("CRC Errors: 0") == 18
    assert host.run("nvidia-smi", "nvlink", "--dance")[0] == 2
    assert "nvlink" in host.smi("nvlink", "-h")


def journal(host: Machine, *faults: tuple[str, ...]) -> list[dict[str, Any]]:
    """Before, and after these faults."""
    records = []
    for at in (0.0, 60.0):
        records.append({"event": "telemetry", "at": at, **parsed(host.smi("-q", "-x"))})
        records.append({"event": "links", "at": at, **read(host)})
        for words in faults if not at else ():
            assert host.run("fault", *words) == (0, "")
    return records


def contract() -> Expectations:
    gpus = tuple(
        ExpectedGpu(
            address=address, pci_id="10de:2335", pcie_generation=5, pcie_width=16, nvlinks=18,
            nvlink_gbs=25.0, numa_node=node, ecc=True, mig=False,
        )
        for address, node in ((FIRST, 0), ("0000:1e:00.0", 1))
    )  # fmt: skip
    return Expectations(host="a", gpus=gpus, gpu_count=2, driver="580.95.05")


GPUS = {
    FIRST: Subject(host="a", kind="gpu", id="1"),
    "0000:1e:00.0": Subject(host="a", kind="gpu", id="2"),
}


def verdicts(records: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Of each kind of check, for each GPU."""
    host, *own = diff(contract(), observed(records))
    assert host.verdict == "ok", host.why
    return {
        "health": [check.verdict for check in health(records, GPUS)],
        "links": [check.verdict for check in links(records, "a", GPUS, contract())],
        "inventory": [check.verdict for check in own],
    }


GOOD = {"health": ["ok"] * 2, "links": ["ok"] * 2, "inventory": ["ok"] * 2}


@pytest.mark.parametrize(
    ("fault", "red"),
    [
        (None, ()),
        (("nvlink", "3", "1"), ("links", "inventory")),
        (("crc", "3", "1"), ("links",)),
        (("narrow", "1"), ("inventory",)),
    ],
)
def test_what_breaks_is_seen_by_the_checks(
    tmp_path: Path, fault: tuple[str, ...] | None, red: tuple[str, ...]
) -> None:
    records = journal(machine(tmp_path, "h200x2").loaded(), *((fault,) if fault else ()))
    if fault and fault[0] == "narrow":
        records = records[2:] * 2  # a link that is narrow is so all the time
        records[2:] = [{**one, "at": one["at"] + 60} for one in records[2:]]
    wanted = {name: ["ok", "failed"] if name in red else GOOD[name] for name in GOOD}
    assert verdicts(records) == wanted


def test_bad_memory_counts_while_its_gpu_works(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    assert host.run("fault", "ecc", "4647", "0") == (0, "")
    assert gpu(host)["dram_corrected"] == 0
    worker(host, seconds=5)
    first = gpu(host)["dram_corrected"]
    subprocess.run(["sleep", "0.2"], check=True)  # time is what these errors need
    assert gpu(host)["dram_corrected"] > first
    assert gpu(host, "0000:1e:00.0")["dram_corrected"] == 0


def test_blackwells_counters_have_other_names(tmp_path: Path) -> None:
    host = machine(tmp_path, "b200x2").loaded()
    assert host.run("fault", "crc", "0", "0") == (0, "")
    (first, _) = read(host)["nvlinks"].values()
    assert first["counters"]["0"]["Symbol Errors"] == 4000
    assert "CRC Errors" not in first["counters"]["0"]
