"""Pairs across hosts: who meets whom, what is kept, and what journals of both sides come to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aiprov.checks.model import Check, Subject, verdict_of
from aiprov.checks.pairs import Endpoint
from aiprov.payload.journal import encoded
from aiprov.validation import across, pairing
from aiprov.validation.folder import Campaign, Folder, cells_of, new_name
from aiprov.validation.pairing import Known, Wishes
from aiprov.validation.prepared import Prepared, prepare
from tests.processes.validation.local_host import ADDRESSES, LocalHost, LocalRemote

HOSTS = ("gpu1", "gpu2", "gpu3", "gpu4")
Result = Callable[[str, dict[str, Any]], dict[str, Any]]


@pytest.fixture
def ready(tmp_path: Path) -> list[Prepared]:
    """Four hosts of two GPUs."""
    found = []
    for number, name in enumerate(HOSTS, start=1):
        one = prepare(LocalRemote(LocalHost(tmp_path / "hosts", name, gpus=True)), "cuda")
        found.append(replace(one, address=f"10.0.0.{number}", interface="eno1"))
    return found


@pytest.fixture
def folder(tmp_path: Path, ready: list[Prepared]) -> Folder:
    name = new_name(datetime.now(UTC))
    campaign = Campaign(
        name=name, started="", budget_s=1200, device="cuda", seed=1, hosts=HOSTS
    )  # fmt: skip
    made = Folder.begin(campaign, tmp_path / "campaigns")
    for one in ready:
        made.host(one.contract.host).write("prepared.json", one.document)
    return made


def met(folder: Folder, meeting: across.Meeting, result: Result) -> None:
    """The journals of a stage, with what each cell came to."""
    for host, plan in across.plans(folder.campaign.name, meeting).items():
        own = folder.host(host)
        own.write(f"{meeting.stage}.plan.json", plan)
        records: list[dict[str, Any]] = []
        for cell in cells_of(plan):
            end = {"event": "end", "cell": cell.id, "at": 1.0, **result(host, cell.document)}
            records.append({"n": len(records), **end})
        own.append(meeting.stage, b"".join(encoded(record) for record in records))


def links(*rates: float) -> dict[str, Any]:
    """What a host tells of its ports: one near each GPU, with these rates, and a slow one."""
    ways = {address: ["pci0000:00", f"0000:0{n}:00.0"] for n, address in enumerate(ADDRESSES)}
    fast = zip(rates, reversed(ways.values()), strict=False)
    ports = {
        f"mlx5_{n}/1": {"state": "ACTIVE", "rate_gbps": rate, "way": [*way, "0000:99:00.0"]}
        for n, (rate, way) in enumerate(fast)
    }
    ports["mlx5_9/1"] = {"state": "ACTIVE", "rate_gbps": 25.0, "way": ways[ADDRESSES[0]]}
    return {"gpus": {address: {"way": way} for address, way in ways.items()}, "ports": ports}


def known(ready: list[Prepared], *rates: float, device: str = "cuda", **wished: Any) -> Known:
    ports = {one.contract.host: links(*rates) for one in ready} if rates else {}
    return pairing.known(
        ready, {name: Wishes(**own) for name, own in wished.items()}, ports, device
    )


def stage(ready: list[Prepared], *rates: float, budget_s: float = 1200) -> across.Meeting:
    rounds, _ = across.first(known(ready, *rates), "cuda", budget_s, seed=1)
    return across.Meeting(stage="pairs-0", rounds=rounds)


def test_all_hosts_meet_all_others_and_nobody_is_twice_in_a_round(ready: list[Prepared]):
    meeting = stage(ready, 400, 400)
    met_pairs = set()
    for row in meeting.rounds:
        ends = [end for pair in row for end in (pair.first, pair.second)]
        assert len(ends) == len(set(ends)) == len(HOSTS) * 2
        met_pairs |= {frozenset((pair.first.host, pair.second.host)) for pair in row}
    assert len(met_pairs) == 6 and len(meeting.rounds) == 3
    plans = across.plans("c", meeting)
    assert set(plans) == set(HOSTS)
    assert {cell["device"] for cell in plans["gpu1"]["cells"]} == {"cuda:0", "cuda:1"}
    assert plans["gpu1"]["campaign"] == "c-pairs-0"


def test_gpus_that_share_an_adapter_meet_one_after_the_other(ready: list[Prepared]):
    meeting = stage(ready, budget_s=3000)
    assert len(meeting.rounds) == 6
    for row in meeting.rounds:
        hosts = [end.host for pair in row for end in (pair.first, pair.second)]
        assert sorted(hosts) == sorted(HOSTS)
    some = stage(ready, budget_s=900).rounds
    assert len(some) == 3
    assert len({pair.first.host + pair.second.host for row in some for pair in row}) == 6, "all met"
    assert len({pair.first.gpu for row in some for pair in row}) == 2, "with another GPU each time"


def test_pairs_take_no_more_than_their_share_of_the_budget(ready: list[Prepared]):
    all_of_it = known(ready, 400, 400)
    rounds, why = across.first(all_of_it, "cuda", 120, seed=1)
    assert rounds == () and "no time for them" in why[0]
    rounds, why = across.first(all_of_it, "cuda", 600, seed=1)
    assert len(rounds) == 2
    assert why == (
        "4 of 12 pairs across hosts: the budget has time for 2 rounds of them",
    )  # fmt: skip
    assert across.first(all_of_it, "cuda", 1200, seed=1)[1] == ()


@dataclass
class Network:
    """Where pairs are good, but for those of which an end is ``bad``: slow, or ``wrong``."""

    bad: Callable[[Endpoint], bool]
    wrong: bool = False

    def result(self, meeting: across.Meeting) -> Result:
        def result(_host: str, cell: dict[str, Any]) -> dict[str, Any]:
            where = cell["parameters"]["rendezvous"]
            pairs = [pair for row in meeting.rounds for pair in row]
            (own,) = [pair for pair in pairs if where in _meetings(pair.cells)]
            hit = self.bad(own.first) or self.bad(own.second)
            wrong = 3 if hit and self.wrong else 0
            rate = 2.0 if hit and not self.wrong else 45.0
            size = {"bytes": 256 << 20, "iterations": 9, "verified": 9, "wrong": wrong,
                    "faults": wrong, "seconds": (256 << 20) / rate / 1e9}  # fmt: skip
            told = {"world": 2, "operation": "send_recv", "dtype": "fp32", "sizes": [size]}
            return {"status": "done", "error": "", "result": {"ranks": {str(where["node"]): told}}}

        return result


def judged(folder: Folder, found: Known, network: Network) -> tuple[Check, ...]:
    """All stages, as the run makes them."""
    told = across.Kept()
    while len(told.meetings) < across.STAGES:
        seen = across.tried(folder, told.meetings)
        rounds, left_out = across.stage(found, told, seen, folder.campaign)
        told = told.but(*left_out, least_gbs=found.least_gbs)
        if not rounds:
            break
        meeting = across.Meeting(stage=f"pairs-{len(told.meetings)}", rounds=rounds)
        told = told.but(meetings=(*told.meetings, meeting))
        met(folder, meeting, network.result(meeting))
        across.keep(folder, told)
    assert across.kept(folder) == told
    return across.checks(folder)


def failed(checks: Iterable[Check]) -> set[Subject]:
    return {check.subject for check in checks if check.verdict == "failed"}


def nic(host: str, name: str) -> Subject:
    return Subject(host=host, kind="nic", id=name, label=name)


@pytest.mark.parametrize("rates", [(), (400, 400)])
def test_where_all_is_well_nobody_meets_twice(
    folder: Folder, ready: list[Prepared], rates: tuple[float, ...]
):
    checks = judged(folder, known(ready, *rates), Network(bad=lambda _end: False))
    assert {check.verdict for check in checks} == {"ok"}
    assert {check.subject for check in checks} == {m.subject for one in ready for m in one.measured}
    assert len(across.kept(folder).meetings) == 1
    chances = across.by_fault(folder)
    assert set(chances) == {"network link or switch", "network adapter"}
    assert 0 < chances["network adapter"] < 0.01, "seconds of traffic"


RAILS, SHARED = (400.0, 400.0), ()
"""An adapter for each GPU, or one interface for all."""


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize(
    ("rates", "bad", "blamed"),
    [
        (RAILS, lambda end: end.host == "gpu3" and end.gpu == "cuda:1", "gpu cuda:1"),
        (SHARED, lambda end: end.host == "gpu3" and end.gpu == "cuda:1", "gpu cuda:1"),
        (RAILS, lambda end: end.host == "gpu3" and end.nic == "mlx5_0", "nic mlx5_0"),
        (RAILS, lambda end: end.host == "gpu3", "host"),
        (SHARED, lambda end: end.host == "gpu3", "host"),
    ],
)
def test_the_blame_lies_where_the_fault_is(
    folder: Folder, ready: list[Prepared], rates: Any, bad: Any, blamed: str, wrong: bool
):
    # Half of the pairs are slow where a host is: what others reach does not tell, what is set does.
    wished = {} if rates else {name: {"gbs": 30.0} for name in HOSTS}
    network = Network(bad=bad, wrong=wrong)
    found = failed(judged(folder, known(ready, *rates, **wished), network))
    third = {one.device: one.subject for one in ready[2].measured}
    kind, _, name = blamed.partition(" ")
    wanted = {"gpu": third.get(name), "nic": nic("gpu3", name), "host": Subject(host="gpu3")}[kind]
    assert found == {wanted}


def _meetings(cells: Any) -> list[dict[str, Any]]:
    return [cell["parameters"]["rendezvous"] for cell in cells.values()]


def test_what_was_planned_is_kept(folder: Folder, ready: list[Prepared]):
    meeting = stage(ready)
    assert across.kept(folder) == across.Kept()
    told = across.Kept(meetings=(meeting,), least_gbs={"H100": 30.0}, not_tested=("b",))
    across.keep(folder, told)
    assert across.kept(folder) == told
    assert told.but("b", "c").not_tested == ("b", "c")
    assert json.loads((folder.path / across.FILE).read_text())["format_version"] == "1.0"


def test_pairs_without_a_result_are_not_measured(folder: Folder, ready: list[Prepared]):
    assert across.checks(folder) == ()
    across.keep(folder, across.Kept(meetings=(stage(ready),)))
    found = across.checks(folder)
    assert {check.subject.host for check in found} == set(HOSTS)
    assert {check.verdict for check in found} == {"not measured"}
    met(folder, stage(ready), lambda _host, _cell: {"status": "error", "error": "no route"})
    found = across.checks(folder)
    assert verdict_of(found) == "not measured"
    assert "no route" in found[0].evidence[0].text
    subjects = {one.subject for own in ready for one in own.measured}
    assert subjects <= {check.subject for check in found}
    assert all(isinstance(check.subject, Subject) for check in found)
