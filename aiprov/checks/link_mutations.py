"""Faults of links: what good ones tell, with one thing wrong at a time. See ``mutations``."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiprov.checks import expectations, health, links
from aiprov.checks.expectations import Expectations, ExpectedGpu
from aiprov.checks.model import Subject
from aiprov.checks.self_test import Outcome, Record, Wanted

Place = tuple[str, ...]

ADDRESS = "0000:19:00.0"
GPU = Subject(host="self-test", kind="gpu", id="1650223000001", label="GPU 0")
UUID = "GPU-1"
_PORT = "mlx5_0/1"
_CONTRACT = Expectations(
    host=GPU.host, gpu_count=1, port_count=1, port_gbps=400.0,
    gpus=(ExpectedGpu(address=ADDRESS, pci_id="10de:2335", nvlinks=18, nvlink_gbs=25.0,
                      numa_node=0),),
)  # fmt: skip


def _good() -> dict[str, Any]:
    """A reading of good links; every counter that is judged is told."""
    return {
        "gpus": {
            ADDRESS: {
                "numa_node": 0,
                "aer": {"correctable": 0, "nonfatal": 0, "fatal": 0},
                "upstream": {"correctable": 0, "nonfatal": 0, "fatal": 0},
            }
        },
        "nvlinks": {
            UUID: {
                "speeds": {str(link): 26.562 for link in range(18)},
                "counters": {
                    str(link): {name: 0 for item in links.NVLINK for name in item.names}
                    for link in range(18)
                },
            }
        },
        "ports": {
            _PORT: {
                "state": "ACTIVE",
                "rate_gbps": 400.0,
                "counters": {name: 0 for item in links.PORTS for name in item.names},
            }
        },
        "errors": [],
    }


def _journal(change: Mapping[Place, Any]) -> list[dict[str, Any]]:
    """An hour; what changes does so at its end. ``change``: a place, and what is there then."""
    last = copy.deepcopy(_good())
    for place, value in change.items():
        inner = last
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
    gpu = {"uuid": UUID, "pci_id": "10de:2335", "vbios": "96"}
    told = [{"event": "telemetry", "at": 0.0, "gpus": {ADDRESS: gpu}}]
    return [
        *told,
        *({"event": "links", "at": at, **reading}
          for at, reading in ((0.0, _good()), (1800.0, _good()), (3600.0, last))),
    ]  # fmt: skip


def outcomes() -> Iterable[Outcome]:
    """What becomes of all of them, the good ones too."""
    yield _judged("nothing", "ok", _journal({}))
    many = 10**6
    for item in links.NVLINK:
        places: list[Place] = [("nvlinks", UUID, "counters", "7", name) for name in item.names]
        for place in places:
            yield _judged(f"{place[-1]} of one NVLink rise", "failed", _journal({place: many}))
        gone = _journal(dict.fromkeys(places))
        yield _judged(f"{item.name}: not told of one link", "not ok", gone)
    for end in ("aer", "upstream"):
        own: Place = ("gpus", ADDRESS, end)
        for name in ("correctable", "nonfatal", "fatal"):
            yield _judged(f"{name} PCIe errors ({end})", "failed", _journal({(*own, name): many}))
        yield _judged(f"PCIe errors ({end}): not told any more", "not ok", _journal({own: None}))
    for item in links.PORTS:
        counter: Place = ("ports", _PORT, "counters", item.names[0])
        yield _judged(f"{item.name} of a port", "failed", _journal({counter: item.most + 1}))
        yield _judged(f"{item.name} of a port: not told", "not ok", _journal({counter: None}))
    yield from _states()
    yield from _inventory()


def _states() -> Iterable[Outcome]:
    cases: tuple[tuple[str, Wanted, Place, Any], ...] = (
        ("an NVLink goes down", "failed", ("nvlinks", UUID, "speeds", "3"), None),
        ("all NVLinks go down", "failed", ("nvlinks", UUID, "speeds"), {}),
        ("no counter of an NVLink that is known", "not ok", ("nvlinks", UUID, "counters"), {}),
        ("NVLinks cannot be read", "not ok", ("nvlinks",), None),
        ("the GPU is gone from the bus", "failed", ("gpus",), {}),
        ("a port goes down", "failed", ("ports", _PORT, "state"), "DOWN"),
        ("a port is slower", "failed", ("ports", _PORT, "rate_gbps"), 100.0),
        ("a port's rate is not told", "not ok", ("ports", _PORT, "rate_gbps"), None),
        ("a port is gone", "failed", ("ports",), {}),
    )
    for fault, wanted, place, value in cases:
        yield _judged(fault, wanted, _journal({place: value}))
    yield _judged("nobody told of links", "not ok", _journal({})[:1])
    error = {"event": "links", "at": 3600.0, "error": "it did not end in 60 s"}
    yield _judged("reading links hangs", "not ok", [*_journal({})[:2], error])


def _judged(fault: str, wanted: Wanted, records: Sequence[Record]) -> Outcome:
    checks = links.links(records, GPU.host, {ADDRESS: GPU}, _CONTRACT)
    return Outcome.of(links.NAME, fault, wanted, checks)


def _inventory() -> Iterable[Outcome]:
    cases: tuple[tuple[str, Wanted, Place, Any], ...] = (
        ("nothing", "ok", ("errors",), []),
        ("an NVLink is down", "failed", ("nvlinks", UUID, "speeds", "3"), None),
        ("an NVLink is slow", "failed", ("nvlinks", UUID, "speeds", "3"), 12.0),
        ("NVLinks are not told", "not ok", ("nvlinks",), None),
        ("the GPU is at another NUMA node", "failed", ("gpus", ADDRESS, "numa_node"), 1),
        ("the NUMA node is not told", "not ok", ("gpus", ADDRESS, "numa_node"), None),
        ("a port is down", "failed", ("ports", _PORT, "state"), "INIT"),
        ("a port is slow", "failed", ("ports", _PORT, "rate_gbps"), 200.0),
        ("ports are not told", "not ok", ("ports",), None),
    )
    for fault, wanted, place, value in cases:
        records = _journal({place: value})
        # As it was all the time: one that was good for a while is another fault.
        bad = [*records[:1], *({**records[-1], "at": at} for at in (0.0, 1800.0, 3600.0))]
        checks = expectations.diff(_CONTRACT, health.observed(bad))
        yield Outcome.of(expectations.NAME, fault, wanted, checks)
