"""nvidia-smi's stand-in on simulated GPU hosts: what it says, and how it fails."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import pytest

from aiprov.catalog import gpus as catalog
from aiprov.errors import CatalogError
from aiprov.lab import simulated
from aiprov.lab.gpus import gpus
from tests.processes.lab.simulated_machine import HOME, Machine, machine


def test_library_and_driver_must_agree(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    host.library("595.45.04")
    said = "Failed to initialize NVML: Driver/library version mismatch\n"
    assert host.run("nvidia-smi") == (18, f"{said}NVML library version: 595.45\n")


QUERIES = {
    "index,name,memory.total": "index, name, memory.total [MiB]\n0, NVIDIA H200, 143771 MiB\n",
    "pcie.link.gen.current,pcie.link.width.current": (
        "pcie.link.gen.current, pcie.link.width.current\n5, 4\n"
    ),
    "gpu_bus_id,mig.mode.current": "pci.bus_id, mig.mode.current\n00000000:11:00.0, Disabled\n",
    "driver_version,compute_cap": "driver_version, compute_cap\n580.95.05, 9.0\n",
    "persistence_mode,compute_mode": "persistence_mode, compute_mode\nDisabled, Default\n",
}


@pytest.mark.parametrize("fields", QUERIES)
def test_queries(tmp_path: Path, fields: str) -> None:
    host = machine(tmp_path, "h200x1,narrow=0").loaded()
    assert host.smi(f"--query-gpu={fields}", "--format=csv") == QUERIES[fields]


def test_forms_of_a_query(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    ask = ("--query-gpu=memory.total", "-i", "1")
    assert host.smi(*ask, "--format=csv,noheader") == "143771 MiB\n"
    assert host.smi(*ask, "--format=csv,noheader,nounits") == "143771\n"
    status, said = host.run("nvidia-smi", "--query-gpu=bogus.field", "--format=csv")
    assert (status, said) == (2, 'Field "bogus.field" is not a valid field to query.\n\n')
    assert host.run("nvidia-smi", "-i", "7", "-L") == (6, "No devices were found\n")


def test_the_table_is_straight(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    host.smi("-mig", "1", "-i", "0")
    host.smi("mig", "-cgi", "3g.71gb", "-C")
    host.smi("-pm", "1", "-i", "1")
    host.hold("nvidia1")
    drawn = [line for line in host.smi().splitlines()[1:] if line]
    assert {len(line) for line in drawn} == {91}
    for words in ("-lgip", "-lgi", "-lci"):
        assert len({len(line) for line in host.smi("mig", words).splitlines()}) == 1


def test_processes_are_those_that_work(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    host.hold("nvidia0")
    host.hold("nvidia0", pid="77", name="nvidia-persiste")
    ask = ("--query-compute-apps=pid,process_name,used_memory", "--format=csv")
    assert host.smi(*ask) == "pid, process_name, used_memory [MiB]\n4242, train, 512 MiB\n"


def test_settings(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x2").loaded()
    done = "Set compute mode to EXCLUSIVE_PROCESS for GPU 00000000:1E:00.0.\nAll done.\n"
    assert host.smi("-c", "EXCLUSIVE_PROCESS", "-i", "1") == done
    assert host.smi("-pm", "1", "-i", "0").startswith("Enabled persistence mode for GPU")
    assert "already Enabled" in host.smi("-pm", "1", "-i", "0")
    asked = host.smi("--query-gpu=persistence_mode,compute_mode", "--format=csv,noheader")
    assert asked == "Enabled, Default\nDisabled, Exclusive_Process\n"
    assert host.run("modprobe", "-r", "nvidia") == (0, "")
    assert host.run("modprobe", "nvidia") == (0, "")
    asked = host.smi("--query-gpu=persistence_mode,compute_mode", "--format=csv,noheader")
    assert asked == "Disabled, Default\nDisabled, Default\n", "settings end with the driver"


def mig_modes(host: Machine) -> str:
    ask = "--query-gpu=mig.mode.current,mig.mode.pending"
    return host.smi(ask, "--format=csv,noheader").strip()


MIG_LIFE = {"a100-80gb": "Enabled, Enabled", "h200": "Disabled, Disabled"}


@pytest.mark.parametrize("model", MIG_LIFE)
def test_mig_mode_survives_a_reboot_on_ampere_only(tmp_path: Path, model: str) -> None:
    host = machine(tmp_path, model).loaded()
    uuid = host.smi("--query-gpu=uuid", "--format=csv,noheader")
    host.smi("-mig", "1")
    host.smi("mig", "-cgi", "9", "-C")
    assert host.smi("-L").count("  MIG 3g.") == 1
    host.reboot()
    assert host.run("modprobe", "nvidia") == (0, "")
    assert mig_modes(host) == MIG_LIFE[model]
    assert "MIG" not in host.smi("-L"), "instances end with the boot"
    assert host.smi("--query-gpu=uuid", "--format=csv,noheader") == uuid


def test_mig_mode_of_a_gpu_in_use(tmp_path: Path) -> None:
    hopper = machine(tmp_path / "hopper", "h200").loaded()
    hopper.hold("nvidia0")
    status, said = hopper.run("nvidia-smi", "-mig", "1")
    refused = "Unable to enable MIG Mode for GPU 00000000:11:00.0: In use by another client\n"
    assert (status, said.startswith(refused)) == (19, True)
    ampere = machine(tmp_path / "ampere", "a100").loaded()
    ampere.hold("nvidia0")
    assert "MIG mode is in pending enable state for GPU 00000000:11:00.0:In" in ampere.smi(
        "-mig", "1"
    )
    assert mig_modes(ampere) == "Disabled, Enabled"
    assert ampere.run("nvidia-smi", "-r")[0] == 255
    ampere.let_go()
    assert ampere.smi("-r") == "GPU 00000000:11:00.0 was successfully reset.\nAll done.\n"
    assert mig_modes(ampere) == "Enabled, Enabled"


def test_gpus_without_mig(tmp_path: Path) -> None:
    host = machine(tmp_path, "l40s").loaded()
    assert "Unable to enable MIG Mode for GPU 00000000:11:00.0: Not Supported" in host.smi(
        "-mig", "1"
    )
    assert host.run("nvidia-smi", "mig", "-lgip") == (6, "No MIG-supported devices found.\n")
    assert mig_modes(host) == "[N/A], [N/A]"


def test_mig_instances(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200").loaded()
    assert host.run("nvidia-smi", "mig", "-lgi") == (6, "No MIG-enabled devices found.\n")
    host.smi("-mig", "1")
    assert host.run("nvidia-smi", "mig", "-lgi") == (6, "No GPU instances found: Not Found\n")
    said = host.smi("mig", "-cgi", "3g.71gb,19,2g.35gb,1g.18gb", "-C")
    assert said.splitlines()[:2] == [
        "Successfully created GPU instance ID  2 on GPU  0 using profile MIG 3g.71gb (ID  9)",
        "Successfully created compute instance ID  0 on GPU  0 GPU instance ID  2 using profile "
        "MIG 3g.71gb (ID  2)",
    ]
    assert host.smi("mig", "-lgi").count("MIG ") == 4
    assert host.smi("-L").count("  MIG ") == 4
    status, said = host.run("nvidia-smi", "mig", "-cgi", "9")
    assert status == 23
    assert said.endswith("Failed to create GPU instances: Insufficient Resources\n")
    status, said = host.run("nvidia-smi", "mig", "-dgi")
    assert status == 19
    assert said.endswith("Failed to destroy GPU instances: In use by another client\n")
    assert host.smi("mig", "-dci").count("Successfully destroyed compute instance ID  0") == 4
    assert host.smi("mig", "-dgi").count("Successfully destroyed GPU instance") == 4
    assert host.run("nvidia-smi", "mig", "-dgi") == (6, "No GPU instances found: Not Found\n")
    assert host.run("nvidia-smi", "mig", "-cgi", "1g.5gb")[0] == 2


def test_the_order_of_instances_matters(tmp_path: Path) -> None:
    """As NVIDIA's MIG guide shows: 19,19,14,9 does not fit where 9,19,14,19 does."""
    host = machine(tmp_path, "a100").loaded()
    host.smi("-mig", "1")
    status, said = host.run("nvidia-smi", "mig", "-cgi", "19,19,14,9")
    assert (status, said.count("Successfully")) == (23, 3)


def test_fabric_is_complete_when_its_manager_runs(tmp_path: Path) -> None:
    host = machine(tmp_path, "h200x8").loaded()
    ask = ("--query-gpu=fabric.state,fabric.status", "--format=csv,noheader", "-i", "0")
    assert host.smi(*ask) == "In Progress, N/A\n"
    host.hold("null", pid="55", name="nv-fabricmanag")
    pid = host.root / "run/nvidia-fabricmanager/nv-fabricmanager.pid"
    pid.parent.mkdir()
    pid.write_text("55\n")
    assert host.smi(*ask) == "Completed, Success\n"
    assert "Status                                         : Success" in host.smi("-q", "-i", "0")


def test_persistence_is_also_the_daemons(tmp_path: Path) -> None:
    host = machine(tmp_path, "t4").loaded()
    ask = ("--query-gpu=persistence_mode", "--format=csv,noheader")
    host.hold("null", pid="56", name="nvidia-persistenced")
    pid = host.root / "run/nvidia-persistenced/nvidia-persistenced.pid"
    pid.parent.mkdir()
    pid.write_text("56\n")
    assert host.smi(*ask) == "Enabled\n"
    host.hold("zero", pid="56", name="nvidia-persistenced\0--no-persistence-mode")
    assert host.smi(*ask) == "Disabled\n"


@pytest.mark.parametrize("name", ["h200", "a30"])
def test_every_layout_that_fits_can_be_made_with_large_ones_first(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.syspath_prepend(str(HOME))
    mig = importlib.import_module("nvidia_mig")
    gpu = simulated.properties(gpus(name).devices[0], "the-machine")
    profiles = sorted(gpu["mig"], key=lambda one: -one["memory_slices"])
    tried = 0
    for counts in itertools.product(*(range(one["most"] + 1) for one in profiles)):
        layout = {one["name"]: count for one, count in zip(profiles, counts, strict=True)}
        try:
            catalog.check_layout(gpu["pci_id"], layout)
        except CatalogError:
            continue
        tried += 1
        made: list[dict[str, object]] = []
        for one, count in zip(profiles, counts, strict=True):
            for _ in range(count):
                start = mig.place(gpu, made, one)
                assert start is not None, (layout, made)
                made.append({"profile": one["name"], "start": start})
    assert tried > 10
