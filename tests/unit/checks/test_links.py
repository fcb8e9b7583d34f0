"""Links under load: counters by link, links that go away, and what nobody expects."""

from __future__ import annotations

from typing import Any

import pytest

from aiprov.checks.expectations import Expectations, ExpectedGpu, diff
from aiprov.checks.health import observed
from aiprov.checks.links import links
from aiprov.checks.model import Check, Subject
from aiprov.payload.links import nvlink_counters, nvlink_speeds

FIRST, SECOND = "0000:19:00.0", "0000:3b:00.0"
GPUS = {
    FIRST: Subject(host="a", kind="gpu", id="1", label="GPU 0"),
    SECOND: Subject(host="a", kind="gpu", id="2", label="GPU 1"),
}
ZERO = {"correctable": 0, "nonfatal": 0, "fatal": 0}


def told(at: float, nvlinks: Any = None, ports: Any = None, **first: Any) -> dict[str, Any]:
    """A reading; ``first``: what differs of the first GPU."""
    own = {"numa_node": 0, "aer": ZERO, "upstream": None}
    gpus = {FIRST: {**own, **first}, SECOND: {**own, "numa_node": 1}}
    return {"event": "links", "at": at, "gpus": gpus, "nvlinks": nvlinks or {},
            "ports": ports or {}, "errors": []}  # fmt: skip


def uuids() -> dict[str, Any]:
    gpus = {FIRST: {"uuid": "GPU-0"}, SECOND: {"uuid": "GPU-1"}}
    return {"event": "telemetry", "at": 0.0, "driver": "580.95.05", "gpus": gpus}


def nvlinks(down: int = -1, speed: float = 26.562, **counts: int) -> dict[str, Any]:
    """Of two GPUs, from what nvidia-smi prints; ``counts``: of the first GPU's link 2."""
    status, errors = "", ""
    for gpu in (0, 1):
        head = f"GPU {gpu}: NVIDIA H200 (UUID: GPU-{gpu})\n"
        status, errors = status + head, errors + head
        for link in range(4):
            gone = gpu == 0 and link == down
            status += f"\t Link {link}: {'<inactive>' if gone else f'{speed} GB/s'}\n"
            for name in ("Replay", "Recovery", "CRC"):
                count = counts.get(name, 0) if (gpu, link) == (0, 2) else 0
                errors += f"\t Link {link}: {name} Errors: {count}\n"
    speeds, counters = nvlink_speeds(status), nvlink_counters(errors)
    return {one: {"speeds": speeds[one], "counters": counters[one]} for one in speeds}


def judged(*readings: dict[str, Any], contract: Expectations | None = None) -> list[Check]:
    return list(links([uuids(), *readings], "a", GPUS, contract))


def test_good_links_are_ok():
    first, second = judged(*(told(at, nvlinks()) for at in (0, 1800, 3600)))
    assert (first.verdict, second.verdict) == ("ok", "ok"), first.why
    assert "PCIe errors of the port above: the kernel does not count them" in first.not_tested
    names = {item.name for item in first.measurements}
    assert {"NVLink replays", "NVLink recoveries", "NVLink CRC errors"} < names


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"Replay": 61}, "NVLink replays: 61 /h, must be at most 60"),
        ({"Recovery": 1}, "NVLink recoveries: 1, must be at most 0"),
        ({"CRC": 101}, "NVLink CRC errors: 101 /h, must be at most 100"),
    ],
)
def test_the_link_that_counts_is_named(counts: dict[str, int], why: str):
    first, second = judged(told(0, nvlinks()), told(3600, nvlinks(**counts)))
    assert (first.verdict, second.verdict) == ("failed", "ok")
    assert first.why[0].startswith(why)
    assert any("link 2: NVLink" in one.text for one in first.evidence)


def test_totals_of_before_are_not_judged():
    old = nvlinks(Replay=10**6, Recovery=7, CRC=10**6)
    assert judged(told(0, old), told(3600, old))[0].verdict == "ok"


def test_a_link_that_is_down_for_a_moment_is_seen():
    first, _ = judged(told(0, nvlinks()), told(1800, nvlinks(down=1)), told(3600, nvlinks()))
    assert first.verdict == "failed"
    assert first.why[0].startswith("NVLinks that went down: 1")


def test_gpus_without_nvlinks_are_judged_by_the_rest():
    first, _ = judged(told(0), told(3600))
    assert first.verdict == "ok"
    assert "NVLinks: none is active and none is expected" in first.not_tested
    bad, good = judged(told(0), told(3600, aer={**ZERO, "nonfatal": 1}))
    assert (bad.verdict, good.verdict) == ("failed", "ok")
    above, _ = judged(told(0, upstream=ZERO), told(60, upstream={**ZERO, "correctable": 90}))
    assert above.why[0].startswith("corrected PCIe errors of the port above: 90 /h")


def test_where_nvlinks_are_expected_their_counters_must_be_read():
    gpu = ExpectedGpu(address=FIRST, pci_id="10de:2335", nvlinks=18)
    contract = Expectations(host="a", gpus=(gpu,), gpu_count=2)
    first, second = judged(told(0), told(3600), contract=contract)
    assert (first.verdict, second.verdict) == ("not measured", "ok")


@pytest.mark.parametrize("readings", [[], [told(0)], [told(0), {"event": "links", "at": 9.0,
                                                               "error": "hung"}]])  # fmt: skip
def test_what_was_told_once_or_never_is_not_measured(readings: list[dict[str, Any]]):
    for check in judged(*readings):
        assert check.verdict == "not measured"


# ---------------------------------------------------------------- ports


def port(state: str = "ACTIVE", rate: float | None = 400.0, **counters: Any) -> dict[str, Any]:
    known = {"link_downed": 0, "symbol_error": 0, "link_error_recovery": 0, **counters}
    return {"mlx5_0/1": {"state": state, "rate_gbps": rate, "layer": "InfiniBand",
                         "counters": known}}  # fmt: skip


def of_port(*ports: dict[str, Any]) -> Check:
    readings = [told(1800.0 * number, ports=one) for number, one in enumerate(ports)]
    *_, check = judged(*readings)
    assert check.subject == Subject(host="a", kind="nic", id="mlx5_0/1", label="port mlx5_0/1")
    return check


def test_a_good_port_is_ok_and_what_it_does_not_count_is_said():
    check = of_port(port(), port(), port(symbol_error=9))
    assert check.verdict == "ok", check.why
    assert "buffer overruns: the adapter does not count them" in check.not_tested


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        (port(state="INIT"), "failed"),
        (port(rate=200.0), "failed"),
        (port(rate=None), "not measured"),
        (port(link_downed=1), "failed"),
        (port(symbol_error=11), "failed"),
        (port(symbol_error=None), "not measured"),
        ({}, "failed"),
    ],
)
def test_what_goes_wrong_with_a_port(last: dict[str, Any], verdict: str):
    assert of_port(port(), port(), last).verdict == verdict


def test_a_counter_that_is_full_says_nothing():
    check = of_port(port(link_downed=255), port(link_downed=255))
    assert check.verdict == "not measured"
    assert "the counter is full at 255" in check.why[0]


def test_an_adapter_that_counts_nothing_is_not_ok():
    empty = {"mlx5_0/1": {"state": "ACTIVE", "rate_gbps": 100.0, "counters": {}}}
    assert of_port(empty, empty).verdict == "not measured"


def test_a_port_that_was_never_active_is_the_contracts():
    down = port(state="DOWN")
    assert len(judged(told(0, ports=down), told(60, ports=down))) == len(GPUS)


# ---------------------------------------------------------------- for the contract


def contract(**changes: Any) -> Expectations:
    gpu = ExpectedGpu(address=FIRST, pci_id="10de:2335", nvlinks=4, nvlink_gbs=25.0, numa_node=0)
    return Expectations(
        host="a", gpus=(gpu,), gpu_count=2, **{"port_count": 1, "port_gbps": 400.0, **changes}
    )


def verdicts(*readings: dict[str, Any]) -> dict[str, str]:
    telemetry = uuids()
    telemetry["gpus"] = {
        address: {**gpu, "pci_id": "10de:2335", "vbios": "96"}
        for address, gpu in telemetry["gpus"].items()
    }
    checks = diff(contract(), observed([telemetry, *readings]))
    return {item.name: item.verdict for check in checks for item in check.measurements}


def test_nvlinks_nodes_and_ports_are_really_read():
    names = ("nvlinks", "nvlink_gbs", "numa_node", "active ports", "slowest port")
    good = verdicts(told(0, nvlinks(), port()), told(60, nvlinks(), port()))
    assert {good[name] for name in names} == {"ok"}
    never = verdicts()
    assert {never[name] for name in names} == {"not measured"}


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("nvlinks", told(60, nvlinks(down=3), port())),
        ("nvlink_gbs", told(60, nvlinks(speed=12.5), port())),
        ("numa_node", told(60, nvlinks(), port(), numa_node=1)),
        ("active ports", told(60, nvlinks(), port(state="DOWN"))),
        ("active ports", told(60, nvlinks(), {})),
        ("slowest port", told(60, nvlinks(), port(rate=100.0))),
    ],
)
def test_the_worst_reading_counts(name: str, reading: dict[str, Any]):
    assert verdicts(told(0, nvlinks(), port()), reading)[name] == "failed"
