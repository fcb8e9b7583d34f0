"""The contract of a host: every field is changed once, and turns its check red."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov.catalog import gpus as catalog
from aiprov.checks.expectations import (
    Expectations,
    ExpectedGpu,
    diff,
    document,
    expectations_from,
    expected,
    fleet_vbios,
)
from aiprov.checks.model import Check, verdict_of
from aiprov.errors import UsageError
from aiprov.survey.facts import Facts, PciDevice

HOST = Path(__file__).parents[2] / "hosts" / "ubuntu2404.yml"
FIRST = "0000:19:00.0"
ADDRESSES = (FIRST, "0000:3b:00.0", "0000:4c:00.0", "0000:5d:00.0")


def facts(model: str = "2335", count: int = 4) -> Facts:
    gpus = tuple(
        PciDevice(address=address, vendor="10de", device=model, class_code="030200", numa_node=0)
        for address in ADDRESSES[:count]
    )
    nics = tuple(
        PciDevice(address=f"0000:{bus}:00.0", vendor="15b3", device="1021", class_code="020700")
        for bus in ("1a", "3c")
    )
    told = yaml.safe_load(HOST.read_text())
    return Facts(**{**told, "pci_devices": (*gpus, *nics)})


CONTRACT = expected(facts(), driver="580.95.05", gpu_count=4, mig=False, port_gbps=400)
CONTRACT = replace(
    CONTRACT, gpus=tuple(replace(gpu, vbios="96.00.A5.00.01") for gpu in CONTRACT.gpus)
)


def observed() -> dict[str, Any]:
    """What a host as it should be says."""
    return {
        "driver": "580.95.05",
        "gpus": {
            address: {
                "pci_id": "10de:2335",
                "serial": f"165022300{index}",
                "vbios": "96.00.A5.00.01",
                "idle": {"pcie_generation": 1, "pcie_width": 16},
                "load": {"pcie_generation": 5, "pcie_width": 16},
                "nvlinks": [26.562] * 18,
                "numa_node": 0,
                "ecc": True,
                "persistence": True,
                "mig": False,
            }
            for index, address in enumerate(ADDRESSES)
        },
        "ports": {
            "mlx5_0/1": {"state": "ACTIVE", "rate_gbps": 400},
            "mlx5_1/1": {"state": "ACTIVE", "rate_gbps": 400},
        },
    }


def broken(checks: tuple[Check, ...]) -> list[str]:
    return [
        item.name for check in checks for item in check.measurements if item.verdict == "failed"
    ]


def test_provisioning_says_what_the_catalog_knows():
    assert CONTRACT.gpus[0] == ExpectedGpu(
        address=FIRST, pci_id="10de:2335", pcie_generation=5, pcie_width=16, nvlinks=18,
        nvlink_gbs=25, numa_node=0, ecc=True, persistence=True, mig=False, vbios="96.00.A5.00.01",
    )  # fmt: skip
    assert (CONTRACT.gpu_count, CONTRACT.port_count, CONTRACT.port_gbps) == (4, 2, 400)


@pytest.mark.parametrize("row", catalog.gpus(), ids=lambda row: row.pci_id)
def test_a_contract_can_be_written_for_every_gpu(row: catalog.Gpu):
    contract = expected(facts(row.pci_id[5:], count=2))
    assert [gpu.pci_id for gpu in contract.gpus] == [row.pci_id] * 2
    assert bool(contract.gpus[0].nvlinks) <= (row.fabric != "none")


def test_a_gpu_alone_has_nobody_to_be_joined_with_and_slots_may_be_older():
    contract = expected(facts(count=1), pcie_generation=4)
    assert contract.gpus[0].nvlinks is None
    assert contract.gpus[0].pcie_generation == 4


def test_a_host_as_it_should_be_is_ok_and_each_gpu_has_its_check():
    checks = diff(CONTRACT, observed())
    assert verdict_of(checks) == "ok", [check.why for check in checks]
    assert [check.subject.kind for check in checks] == ["host", "gpu", "gpu", "gpu", "gpu"]
    assert checks[1].subject.id == "1650223000"


def gpu_change(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda seen: seen["gpus"][FIRST].update(values)


def load_change(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda seen: seen["gpus"][FIRST]["load"].update(values)


GPU_CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "address": (lambda seen: seen["gpus"].update(
        {"0000:aa:00.0": seen["gpus"].pop(FIRST)}), "present"),
    "pci_id": (gpu_change(pci_id="10de:2330"), "pci_id"),
    "pcie_generation": (load_change(pcie_generation=3), "pcie_generation"),
    "pcie_width": (load_change(pcie_width=8), "pcie_width"),
    "nvlinks": (gpu_change(nvlinks=[26.562] * 17), "nvlinks"),
    "nvlink_gbs": (gpu_change(nvlinks=[26.562] * 17 + [12.5]), "nvlink_gbs"),
    "numa_node": (gpu_change(numa_node=1), "numa_node"),
    "ecc": (gpu_change(ecc=False), "ecc"),
    "persistence": (gpu_change(persistence=False), "persistence"),
    "mig": (gpu_change(mig=True), "mig"),
    "vbios": (gpu_change(vbios="96.00.74.00.01"), "vbios"),
}  # fmt: skip
HOST_CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "gpus": (lambda seen: seen["gpus"].pop(FIRST), "present"),
    "gpu_count": (lambda seen: seen["gpus"].pop(FIRST), "GPUs"),
    "driver": (lambda seen: seen.update(driver="570.86.15"), "driver"),
    "port_count": (lambda seen: seen["ports"]["mlx5_0/1"].update(state="DOWN"), "active ports"),
    "port_gbps": (lambda seen: seen["ports"]["mlx5_0/1"].update(rate_gbps=200), "slowest port"),
    "one more GPU": (lambda seen: seen["gpus"].update(
        {"0000:ff:00.0": copy.deepcopy(seen["gpus"][FIRST])}), "GPUs at other addresses"),
    "VBIOS spread": (gpu_change(vbios="96.00.74.00.01"), "VBIOS versions of 10de:2335"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*GPU_CHANGES, *HOST_CHANGES])
def test_each_field_that_differs_turns_red(name: str):
    change, measurement = {**GPU_CHANGES, **HOST_CHANGES}[name]
    seen = observed()
    change(seen)
    checks = diff(CONTRACT, seen)
    assert verdict_of(checks) == "failed"
    assert measurement in broken(checks)


def test_no_field_is_forgotten_above():
    assert set(GPU_CHANGES) == {field.name for field in fields(ExpectedGpu)}
    assert {field.name for field in fields(Expectations)} - {"host"} <= set(HOST_CHANGES)


ABSENT: dict[str, Callable[[dict[str, Any]], None]] = {
    "pcie under load": lambda seen: seen["gpus"][FIRST].pop("load"),
    **{
        name: (lambda seen, name=name: seen["gpus"][FIRST].update({name: None}))
        for name in ("nvlinks", "numa_node", "ecc", "persistence", "mig", "vbios", "pci_id")
    },
    "no links": lambda seen: seen["gpus"][FIRST].update(load=None),
    "driver": lambda seen: seen.pop("driver"),
    "ports": lambda seen: seen.pop("ports"),
    "GPUs": lambda seen: seen.update(gpus=None),
    "a port's rate": lambda seen: seen["ports"]["mlx5_0/1"].pop("rate_gbps"),
    "a count that is text": lambda seen: seen["gpus"][FIRST]["load"].update(pcie_width="[N/A]"),
}


@pytest.mark.parametrize("name", ABSENT)
def test_what_cannot_be_read_is_never_ok(name: str):
    seen = observed()
    ABSENT[name](seen)
    assert verdict_of(diff(CONTRACT, seen)) != "ok"


def test_an_idle_link_says_nothing():
    seen = observed()
    seen["gpus"][FIRST].pop("load")
    checks = diff(CONTRACT, seen)
    assert checks[1].verdict == "not measured"
    assert "pcie_width: not measured: it could not be read" in checks[1].why


def test_a_host_that_says_nothing_is_not_measured():
    (check,) = diff(CONTRACT, None, why="nvidia-smi is not there")
    assert check.verdict == "not measured"
    assert check.why == ("inventory: nvidia-smi is not there",)
    assert {check.verdict for check in diff(CONTRACT, {})} == {"not measured"}
    assert verdict_of(diff(CONTRACT, {"gpus": {}})) == "failed"  # its GPUs are gone


def test_a_gpu_lost_before_provisioning_is_missed_when_the_inventory_counts():
    contract = expected(facts(count=3), gpu_count=4)
    seen = observed()
    del seen["gpus"][ADDRESSES[3]]
    assert broken(diff(contract, seen)) == ["GPUs"]


def test_what_is_not_expected_is_said():
    contract = Expectations(
        host="a", gpu_count=1, gpus=(ExpectedGpu(address=FIRST, pci_id="10de:2335"),)
    )
    host, gpu = diff(contract, {"gpus": {FIRST: {"pci_id": "10de:2335", "vbios": "1"}}})
    assert (host.verdict, gpu.verdict) == ("ok", "ok")
    assert "ecc: nothing is expected" in gpu.not_tested
    assert host.not_tested == ("driver: no version is expected",)


# ---------------------------------------------------------------- JSON


def test_a_contract_survives_json():
    assert expectations_from(json.loads(json.dumps(document(CONTRACT)))) == CONTRACT


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.update(format_version="2.0"),
        lambda told: told.pop("gpus"),
        lambda told: told["gpus"][0].update(colour="green"),
        lambda told: told.update(gpus=None),
    ],
)
def test_another_format_is_refused(change: Callable[[dict[str, Any]], object]):
    told = json.loads(json.dumps(document(CONTRACT)))
    change(told)
    with pytest.raises(UsageError) as caught:
        expectations_from(told)
    assert caught.value.hint


# ---------------------------------------------------------------- the fleet's VBIOS


def test_the_host_with_another_vbios_than_the_fleet_is_found():
    fleet = {name: observed() for name in "abc"}
    for gpu in fleet["b"]["gpus"].values():
        gpu["vbios"] = "96.00.74.00.01"
    assert [check.verdict for check in fleet_vbios(fleet)] == ["ok", "failed", "ok"]
    del fleet["c"]  # one against one: nobody knows which is right
    assert [check.verdict for check in fleet_vbios(fleet)] == ["not measured"] * 2
