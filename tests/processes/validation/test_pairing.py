"""Pairs across hosts from end to end, and who can be in one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiprov import fleet
from aiprov.converge import Event
from aiprov.validation import across, course, pairing
from aiprov.validation.folder import Folder
from aiprov.validation.pairing import WHAT, Wishes
from aiprov.validation.prepared import Prepared, prepare
from aiprov.validation.run import Done
from tests.processes.validation import pair_site
from tests.processes.validation.local_host import ADDRESSES, LocalHost, LocalRemote
from tests.processes.validation.pair_site import of_pairs
from tests.processes.validation.site import Site, why


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield from pair_site.made(tmp_path, monkeypatch)


def _folder(done: Done) -> Folder:
    return Folder(done.folder)


# ---------------------------------------------------------------- who is left out


def reasons(done: Done) -> list[str]:
    return [one for one in done.validation.not_tested if WHAT in one]


@pytest.mark.parametrize(
    ("hosts", "settings", "wish", "reason"),
    [
        (1, {}, {}, f"{WHAT}: there is only one host"),
        (2, {}, {"pairs": False}, f"{WHAT}: --no-pairs was given"),
        (2, {}, {"budget_s": 60.0}, f"{WHAT}: the budget of 60 s has no time for them"),
        (2, {"gpu_validation_pairs": False}, {}, f"{WHAT} of gpu1: gpu_validation_pairs is false"),
        (2, {"gpu_validation_pair_address": None}, {},
         f"{WHAT} of gpu2: lo has no IPv4 address (gpu_validation_pair_interface)"),
    ],
)  # fmt: skip
def test_pairs_that_are_not_made_are_said(
    site: Site, hosts: int, settings: Any, wish: Any, reason: str
):
    for number in range(1, hosts + 1):
        site.host(f"gpu{number}")
    site.settings.update(settings)
    done = site.validate(**wish)
    assert reason in reasons(done)
    assert of_pairs(done.validation) == {}
    assert done.validation.by_fault == {"network adapter": 0.0}
    assert all(host.started == [] for host in site.hosts.values())


def test_hosts_that_cannot_be_met_are_left_out(site: Site, monkeypatch: pytest.MonkeyPatch):
    for name in ("gpu1", "gpu2", "gpu3"):
        site.host(name)
    site.hosts["gpu3"].write("version", "another\n")
    first = course.Course.first

    def then_lost(one: course.Course, *given: Any) -> Any:
        ended = first(one, *given)
        site.hosts["gpu2"].lost = one.host == "gpu2" or site.hosts["gpu2"].lost
        return ended

    monkeypatch.setattr(course.Course, "first", then_lost)
    done = site.validate()
    assert reasons(done) == [
        f"{WHAT} of gpu2: it does not answer any more: no route to host",
        f"{WHAT} of gpu3: it was not measured to its end",
        f"{WHAT} of gpu1: no other host can be met",
    ]
    assert all(host.started == [] for host in site.hosts.values())


# ---------------------------------------------------------------- cells without PyTorch


def test_pairs_that_cannot_be_made_are_not_measured(site: Site):
    """The payload has no PyTorch: every pair fails on both sides, and nobody is accused."""
    for name in ("gpu1", "gpu2"):
        site.host(name)
    done = site.validate()
    found = of_pairs(done.validation)
    assert {subject.host for subject in found} == {"gpu1", "gpu2"}
    assert {check.verdict for check in found.values()} == {"not measured"}
    assert done.validation.by_fault == {"network adapter": 0.0, "network link or switch": 0.0}


def test_pairs_that_were_cut_off_are_begun_anew(site: Site):
    for name in ("gpu1", "gpu2"):
        host = site.host(name)
        for package in ("torch", "torch/distributed"):
            host.write(f"lib/{package}/__init__.py", "")
        host.write("lib/torch/distributed/run.py", "import time\n\ntime.sleep(1)\n")
    once = threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background: ignored

    def cut_off(event: Event) -> None:
        if event.stage == 3 and not once.is_set():
            once.set()
            os.kill(os.getpid(), signal.SIGINT)

    done = site.validate(cut_off)
    signal.signal(signal.SIGINT, before)
    assert done.interrupted
    assert "not measured" in {check.verdict for check in of_pairs(done.validation).values()}
    fleet.stopping.clear()
    done = site.resume()
    assert {host.status for host in done.validation.hosts} == {"done"}, why(done.validation)
    stages = [one.stage for one in across.kept(Folder(done.folder)).meetings]
    assert "pairs-0" not in stages and stages[0] == "pairs-1", "both sides have to be there at once"
    for host in ("gpu1", "gpu2"):
        assert Folder(done.folder).host(host).journal("pairs-1").ended


# ---------------------------------------------------------------- through what they meet


def prepared(tmp_path: Path, **changes: Any) -> Prepared:
    one = prepare(LocalRemote(LocalHost(tmp_path, "gpu1", gpus=True)), "cuda")
    own = {"address": "10.0.0.1", "interface": "eno1",
           "addresses": {"eno1": "10.0.0.1", "ib0": "10.1.0.1"}, **changes}  # fmt: skip
    return replace(one, **own)


PORTS = {
    "mlx5_0/1": {"state": "ACTIVE", "rate_gbps": 400.0, "way": ["pci0000:10", "1"]},
    "mlx5_1/1": {"state": "ACTIVE", "rate_gbps": 400.0, "way": ["pci0000:20", "2"]},
    "mlx5_2/1": {"state": "DOWN", "rate_gbps": 800.0, "way": ["pci0000:10", "0"]},
    "mlx5_3/1": {"state": "ACTIVE", "rate_gbps": 25.0, "way": ["pci0000:10", "0"]},
}
WAYS = {ADDRESSES[0]: {"way": ["pci0000:20", "0"]}, ADDRESSES[1]: {"way": ["pci0000:10", "0"]}}
BESIDE = {ADDRESSES[0]: {"way": ["pci0000:10", "0"]}, ADDRESSES[1]: {"way": ["pci0000:10", "3"]}}


@pytest.mark.parametrize(
    ("told", "wishes", "adapters"),
    [
        ({"ports": PORTS, "gpus": WAYS}, {}, ["mlx5_1", "mlx5_0"]),
        ({"ports": PORTS, "gpus": BESIDE}, {}, ["mlx5_0", "mlx5_0"]),
        ({"ports": PORTS, "gpus": {}}, {}, ["mlx5_0", "mlx5_1"]),
        ({"ports": PORTS}, {"adapters": ("mlx5_7",)}, ["mlx5_7", "mlx5_7"]),
        ({"ports": PORTS}, {"adapters": ()}, []),
        ({"ports": {}}, {}, []),
        ({}, {}, []),
    ],
)
def test_each_gpu_takes_the_nearest_of_the_fastest_adapters(
    tmp_path: Path, told: Any, wishes: Any, adapters: list[str]
):
    found = pairing.adapters(prepared(tmp_path), Wishes(**wishes), told)
    assert list(found.values()) == adapters


@pytest.mark.parametrize(
    ("wishes", "place"),
    [
        ({}, ("10.0.0.1", "eno1")),
        ({"interface": "ib0"}, ("10.1.0.1", "ib0")),
        ({"address": "10.1.0.1"}, ("10.1.0.1", "ib0")),
        ({"address": "192.0.2.9"}, ("192.0.2.9", "")),
        ({"interface": "ib0", "address": "192.0.2.9"}, ("192.0.2.9", "ib0")),
    ],
)
def test_a_host_is_met_where_it_is_set(tmp_path: Path, wishes: Any, place: tuple[str, str]):
    one = prepared(tmp_path)
    other = replace(one, contract=replace(one.contract, host="gpu2"))
    found = pairing.known([one, other], {"gpu1": Wishes(**wishes)}, {}, "cuda")
    ((own, *_),) = found.places.values()
    assert (own.address, own.interface) == place
    assert own.endpoint.nic == (place[1] or "network") and not own.rdma


@pytest.mark.parametrize(
    ("ports", "wishes", "least"),
    [
        ({"gpu1": {"ports": PORTS}, "gpu2": {"ports": PORTS}}, {}, 30.0),
        ({"gpu1": {"ports": PORTS}}, {}, 0.0),
        ({}, {"gpu1": Wishes(gbs=5.0), "gpu2": Wishes(gbs=7.0)}, 5.0),
        ({"gpu1": {"ports": PORTS}}, {"gpu2": Wishes(gbs=7.0)}, 7.0),
    ],
)
def test_what_a_pair_must_reach(tmp_path: Path, ports: Any, wishes: Any, least: float):
    one = prepared(tmp_path)
    other = replace(one, contract=replace(one.contract, host="gpu2"))
    assert list(pairing.known([one, other], wishes, ports, "cuda").least_gbs.values()) == [least]
    assert list(pairing.known([one, other], wishes, ports, "cpu").least_gbs.values()) == [None]


def test_only_gpus_of_a_model_meet(tmp_path: Path):
    one = prepared(tmp_path)
    measured = tuple(replace(gpu, model="A100") for gpu in one.measured)
    found = pairing.known(
        [replace(one, contract=replace(one.contract, host=f"gpu{n}"),
                 measured=measured if n > 2 else one.measured) for n in range(1, 6)],
        {}, {}, "cuda",
    )  # fmt: skip
    assert {len(places) for places in found.places.values()} == {4, 6}
    rounds, _ = across.first(found, "cuda", 86400, seed=1)
    own = {"gpu1", "gpu2"}
    pairs = [pair for row in rounds for pair in row]
    assert all(({pair.first.host} <= own) == ({pair.second.host} <= own) for pair in pairs)
    cells = [cell for pair in pairs for cell in pair.cells.values()]
    assert len({cell["parameters"]["rendezvous"]["port"] for cell in cells}) == len(pairs)
