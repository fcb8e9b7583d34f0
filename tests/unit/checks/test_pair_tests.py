"""Pairs across hosts on simulated networks: who meets whom, and who is blamed in the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from aiprov.checks.model import Check, Subject
from aiprov.checks.pair_tests import Pair, Place, Settings, again, cells_of, pair_cells
from aiprov.checks.pair_verdicts import NAME, Tried, counted, floor, pair_checks, tried
from aiprov.checks.pairs import Endpoint, Trial
from aiprov.errors import UsageError
from aiprov.payload.plan import plan_from

GOOD = 48.0
Rate = Callable[[Endpoint, Endpoint], "float | None"]


def places(hosts: int, gpus: int = 2) -> list[Place]:
    return [
        Place(
            endpoint=Endpoint(host=f"h{host}", gpu=f"gpu{gpu}", nic=f"mlx5_{gpu}"),
            device=f"cuda:{gpu}",
            address=f"10.0.0.{host}",
        )
        for host in range(hosts)
        for gpu in range(gpus)
    ]


def subjects(known: Iterable[Place]) -> dict[tuple[str, str], Subject]:
    return {
        (one.endpoint.host, one.endpoint.gpu): Subject(
            host=one.endpoint.host, kind="gpu", id=f"{one.endpoint.host}-{one.endpoint.gpu}"
        )
        for one in known
    }


def ranked(cell: dict[str, Any], gbs: float, wrong: int = 0) -> dict[str, Any]:
    """What one host's rank says of its half of a pair."""
    told = cell["parameters"]
    size = {"bytes": told["bytes"][0], "iterations": 9, "verified": 11, "faults": wrong,
            "seconds": told["bytes"][0] / gbs / 1e9}  # fmt: skip
    node = told["rendezvous"]["node"]
    return {"ranks": {str(node): {"operation": told["operation"], "world": 2, "sizes": [size]}}}


def journals(
    made: Iterable[Sequence[Pair]], value: Rate, wrong: Rate = lambda _one, _other: 0
) -> dict[str, list[dict[str, Any]]]:
    """The journals of all hosts, of a network with these rates."""
    found: dict[str, list[dict[str, Any]]] = {}
    for host, cells in cells_of(made).items():
        named = [{"id": str(number), **cell} for number, cell in enumerate(cells)]
        found[host] = [{"event": "plan", "self_test": False, "cells": named}]
    for one in made:
        for pair in one:
            gbs = value(pair.first, pair.second)
            for host, cell in pair.cells.items():
                own = [{**one, "id": ""} for one in found[host][0]["cells"]]
                number = str(own.index({"id": "", **cell}))
                end: dict[str, Any] = {
                    "event": "end", "cell": number, "status": "timed out", "error": "late",
                }  # fmt: skip
                if gbs is not None:
                    faults = int(wrong(pair.first, pair.second) or 0)
                    end |= {"status": "done", "result": ranked(dict(cell), gbs, faults)}
                found[host].append(end)
    return found


def campaign(
    known: list[Place], value: Rate, wrong: Rate = lambda _one, _other: 0, **more: Any
) -> tuple[Check, ...]:
    """Both stages, and the verdicts."""
    made = pair_cells(known)
    seen = tried(made, journals(made, value, wrong))
    for stage in (2, 3):
        more_pairs = again(known, seen, stage=stage, **more)
        seen += tried(more_pairs, journals(more_pairs, value, wrong))
    return pair_checks(seen, subjects(known), **more)


def verdicts(checks: Iterable[Check]) -> dict[str, str]:
    return {
        f"{one.subject.kind} {one.subject.host} {one.subject.id}".strip(): one.verdict
        for one in checks
        if one.verdict != "ok"
    }


# ---------------------------------------------------------------- who with whom


@pytest.mark.parametrize(("hosts", "gpus"), [(2, 1), (4, 8), (5, 2), (3, 3)])
def test_every_host_meets_every_other_once_on_every_rail(hosts: int, gpus: int):
    made = pair_cells(places(hosts, gpus))
    met = [frozenset((pair.first, pair.second)) for one in made for pair in one]
    assert len(met) == len(set(met)) == hosts * (hosts - 1) // 2 * gpus
    for one in made:
        busy = [end for pair in one for end in (pair.first, pair.second)]
        assert len(busy) == len(set(busy))
    assert all(pair.first.gpu == pair.second.gpu for one in made for pair in one)
    assert len(made) == hosts - 1 + hosts % 2


def test_hosts_with_unequal_numbers_of_gpus_leave_none_out():
    known = [*places(1, 5), *(p for p in places(2, 2) if p.endpoint.host == "h1")]
    made = pair_cells(known)
    ends = {end for one in made for pair in one for end in (pair.first, pair.second)}
    assert ends == {place.endpoint for place in known}
    assert [len(one) for one in made] == [2, 2, 1]


def test_cells_are_plans_that_meet():
    made = pair_cells(places(4), Settings(seconds=1, limit_s=30))
    for host, cells in cells_of(made).items():
        document = {"format_version": "1.0", "campaign": "x", "cells": list(cells)}
        plan = plan_from(json.dumps(document))
        assert all(cell.ranked for cell in plan.cells)
        assert len(cells) == 6, host
    meetings = []
    for one in made:
        for pair in one:
            first, second = (cell["parameters"]["rendezvous"] for cell in pair.cells.values())
            assert {first["node"], second["node"]} == {0, 1}
            for same in ("address", "port", "name", "nodes"):
                assert first[same] == second[same]
            meetings.append((first["address"], first["port"]))
    # One who is late must not walk into the next meeting.
    assert len(set(meetings)) == len(meetings)


def test_nobody_is_suspected_where_all_is_well():
    known = places(4)
    made = pair_cells(known)
    seen = tried(made, journals(made, lambda _one, _other: GOOD))
    assert again(known, seen) == ()
    checks = pair_checks(seen, subjects(known))
    assert {check.verdict for check in checks} == {"ok"}
    assert len(checks) == len(known)
    assert all(check.name == NAME and check.evidence for check in checks)


# ---------------------------------------------------------------- who is to blame


def slow_where(is_slow: Callable[[Endpoint, Endpoint], bool], gbs: float | None = 20.0) -> Rate:
    return lambda one, other: gbs if is_slow(one, other) else GOOD


def uses(host: str, **parts: str) -> Callable[[Endpoint, Endpoint], bool]:
    return lambda one, other: any(
        end.host == host and all(getattr(end, key) == value for key, value in parts.items())
        for end in (one, other)
    )


def test_a_slow_adapter_is_told_from_its_gpu():
    found = verdicts(campaign(places(6), slow_where(uses("h2", nic="mlx5_1"))))
    assert found == {"nic h2 mlx5_1": "failed"}


def test_a_slow_gpu_is_told_from_its_adapter():
    found = verdicts(campaign(places(6), slow_where(uses("h2", gpu="gpu1"))))
    assert found == {"gpu h2 h2-gpu1": "failed"}


def test_a_slow_host_is_blamed_as_a_host():
    found = verdicts(campaign(places(6), slow_where(uses("h3"))))
    assert found == {"host h3": "failed"}


def test_a_slow_link_is_blamed_as_a_link():
    ends = {"h1/gpu0/mlx5_0", "h4/gpu0/mlx5_0"}
    found = verdicts(
        campaign(places(6), slow_where(lambda one, other: {str(one), str(other)} == ends))
    )
    assert found == {"link h1 h1/gpu0/mlx5_0 - h4/gpu0/mlx5_0": "failed"}


def test_two_faults_are_both_found():
    one, two = uses("h1", nic="mlx5_0"), uses("h4", gpu="gpu1")
    found = verdicts(campaign(places(8), slow_where(lambda a, b: one(a, b) or two(a, b))))
    assert found == {"nic h1 mlx5_0": "failed", "gpu h4 h4-gpu1": "failed"}


def test_wrong_results_are_a_fault_however_fast():
    bad = uses("h2", nic="mlx5_1")
    found = verdicts(campaign(places(6), lambda *_: GOOD, wrong=lambda a, b: int(bad(a, b))))
    assert found == {"nic h2 mlx5_1": "failed"}


def test_of_parts_that_nobody_tells_apart_none_is_accused_and_none_is_ok():
    known = places(6, gpus=1)  # no neighbour whose adapter it could use
    found = verdicts(campaign(known, slow_where(uses("h2"))))
    # GPU, adapter and host always went together; what they share is the host.
    assert found == {"gpu h2 h2-gpu0": "not measured", "nic h2 mlx5_0": "not measured",
                     "host h2": "failed"}  # fmt: skip


def test_pairs_without_a_result_accuse_nobody_of_a_fault():
    found = verdicts(campaign(places(6), slow_where(uses("h2"), None)))
    assert found["host h2"] == "not measured"
    assert "failed" not in found.values()


def test_a_disturbance_that_does_not_come_back_is_none():
    known, times = places(6), []

    def value(one: Endpoint, other: Endpoint) -> float:
        if {one.host, other.host} == {"h1", "h4"} and one.gpu == "gpu0" and not times:
            times.append(1)
            return 20.0
        return GOOD

    assert verdicts(campaign(known, value)) == {}


def test_a_wrong_result_is_not_excused_by_a_later_right_one():
    known, times = places(6), []

    def wrong(one: Endpoint, other: Endpoint) -> int:
        if {one.host, other.host} == {"h1", "h4"} and one.gpu == "gpu0" and not times:
            times.append(1)
            return 1
        return 0

    found = verdicts(campaign(known, lambda *_: GOOD, wrong))
    assert list(found.values()) == ["failed"]


def test_where_most_are_slow_the_network_s_own_floor_tells():
    known = places(4)
    slow = slow_where(lambda one, other: "h0" in (one.host, other.host) or one.host == "h1")
    assert verdicts(campaign(known, slow)) == {}
    found = verdicts(campaign(known, slow, least_gbs=30.0))
    assert "failed" in found.values()


def test_few_pairs_are_judged_by_results_and_by_the_given_floor():
    two = [Trial(first=places(2)[0].endpoint, second=places(2)[2].endpoint, value=GOOD)]
    assert floor(two).gbs < 1e-6
    assert floor(two, 40.0).basis == "physics"


def test_a_gpu_that_was_in_no_pair_is_not_measured():
    known = places(4)
    made = pair_cells(known)
    seen = tried(made, journals(made, lambda *_: GOOD))
    lonely = {**subjects(known), ("h9", "gpu0"): Subject(host="h9", kind="gpu", id="lonely")}
    found = verdicts(pair_checks(seen, lonely))
    assert found == {"gpu h9 lonely": "not measured"}


# ---------------------------------------------------------------- journals


def test_a_journal_that_lacks_a_pair_or_its_numbers_gives_no_rate():
    made = pair_cells(places(2, 1))
    good = journals(made, lambda *_: GOOD)
    assert tried(made, good)[0].trial.value == pytest.approx(GOOD)
    cut = {host: records[:1] for host, records in good.items()}
    assert tried(made, cut)[0].trial.value is None
    assert "no result came" in tried(made, {"h0": good["h0"]})[0].why
    good["h1"][1]["result"]["ranks"]["1"]["world"] = 1
    assert tried(made, good)[0].trial.value is None


def test_the_slower_side_counts():
    made = pair_cells(places(2, 1))
    seen = journals(made, lambda *_: GOOD)
    seen["h1"][1]["result"]["ranks"]["1"]["sizes"][0]["seconds"] *= 4
    assert tried(made, seen)[0].trial.value == pytest.approx(GOOD / 4)


def test_a_self_test_is_not_taken_for_real():
    made = pair_cells(places(2, 1))
    seen = journals(made, lambda *_: GOOD)
    seen["h0"][0]["self_test"] = True
    with pytest.raises(UsageError, match="self-test"):
        tried(made, seen)


def test_of_a_pair_the_last_trial_counts_in_either_direction():
    one, other = places(2, 1)[0].endpoint, places(2, 1)[1].endpoint
    first = Tried(trial=Trial(first=one, second=other, value=1.0))
    last = Tried(trial=Trial(first=other, second=one, value=2.0))
    assert counted([first, last]) == (last,)
