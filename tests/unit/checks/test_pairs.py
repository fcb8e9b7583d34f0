"""Who is tested with whom, and whose fault it is: on simulated fabrics whose faults are known."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.checks.pairs import (
    Blame,
    Endpoint,
    Part,
    Solution,
    Trial,
    disjoint,
    rounds,
    separate,
    solve,
)

FLOOR = 40.0
GOOD = 48.0


@settings(deadline=None)
@given(st.integers(0, 33))
def test_everybody_meets_everybody_once_and_nobody_is_twice_in_a_round(count: int):
    made = rounds(range(count))
    assert len(made) == (0 if count < 2 else count - 1 if count % 2 == 0 else count)
    met = [tuple(sorted(pair)) for one in made for pair in one]
    assert sorted(met) == sorted(combinations(range(count), 2))
    for one in made:
        busy = [member for pair in one for member in pair]
        assert len(busy) == len(set(busy)) == count - count % 2


def test_some_rounds_test_everybody_against_different_partners():
    made = rounds(range(128), most=3)
    assert [len(one) for one in made] == [64, 64, 64]
    assert len({frozenset(pair) for one in made for pair in one}) == 3 * 64


class Fabric:
    """A cluster whose parts can be slow. Rails: GPU i of a host uses its adapter i."""

    def __init__(self, rng: random.Random, hosts: int, rails: int) -> None:
        self.rng = rng
        self.ends = [
            [
                Endpoint(host=f"h{host:03}", gpu=f"gpu{rail}", nic=f"nic{rail}")
                for host in range(hosts)
            ]
            for rail in range(rails)
        ]
        self.all = [end for rail in self.ends for end in rail]
        self.rate: dict[Part, float] = {}

    def breaks(self, kind: str) -> Part:
        if kind == "link":
            first, second = self.rng.sample(self.rng.choice(self.ends), 2)
            parts = Trial(first=first, second=second, value=None).parts
        else:
            parts = self.rng.choice(self.all).parts
        part = next(part for part in sorted(parts) if part.kind == kind)
        self.rate[part] = self.rng.uniform(5, 30)
        return part

    def trial(self, first: Endpoint, second: Endpoint) -> Trial:
        parts = Trial(first=first, second=second, value=None).parts
        slowest = min([GOOD, *(self.rate.get(part, GOOD) for part in parts)])
        return Trial(first=first, second=second, value=self.rng.gauss(slowest, slowest * 0.01))

    def first_stage(self, most: int | None = None) -> list[Trial]:
        return [
            self.trial(*pair) for rail in self.ends for one in rounds(rail, most) for pair in one
        ]


def adjudicate(fabric: Fabric, most: int | None = None) -> tuple[Solution, int]:
    """Both stages; the solution and how many rounds of trials the second one took."""
    trials = fabric.first_stage(most)
    first = solve(trials, FLOOR)
    pairs = [pair for blame in first.blames for pair in separate(blame, fabric.all, first)]
    second = disjoint(pairs)
    trials += [fabric.trial(*pair) for one in second for pair in one]
    return solve(trials, FLOOR), len(second)


@pytest.mark.parametrize("kind", ["gpu", "nic", "host", "link"])
def test_one_fault_is_found_whatever_it_is(kind: str):
    for seed in range(20):
        fabric = Fabric(random.Random(seed), hosts=8, rails=4)
        part = fabric.breaks(kind)
        solution, second = adjudicate(fabric)
        assert [blame.parts for blame in solution.blames] == [(part,)], str(solution.blames[0])
        assert not solution.unexplained
        assert second <= 12


@pytest.mark.parametrize("faults", [2, 3, 4])
def test_several_faults_are_found_together(faults: int):
    right = total = 0
    for seed in range(15):
        rng = random.Random(100 * faults + seed)
        fabric = Fabric(rng, hosts=16, rails=4)
        broken = {
            fabric.breaks(rng.choice(["gpu", "gpu", "nic", "link", "host"])) for _ in range(faults)
        }
        solution, _ = adjudicate(fabric)
        blamed = {part for blame in solution.blames if blame.certain for part in blame.parts}
        right += len(blamed & broken)
        total += len(broken | blamed)
    assert right / total >= 0.9, right / total


def test_a_few_rounds_and_a_second_stage_find_a_gpu_of_128_hosts():
    fabric = Fabric(random.Random(5), hosts=128, rails=1)
    part = fabric.breaks("gpu")
    first = solve(fabric.first_stage(most=3), FLOOR)
    (blame,) = first.blames
    assert part in blame.parts
    assert {other.kind for other in blame.parts} == {"gpu", "nic", "host"}
    assert not blame.certain  # a host of one rail has nothing to swap with
    assert blame.trials == 3


def test_a_gpu_and_its_adapter_are_told_apart_by_a_neighbour():
    fabric = Fabric(random.Random(6), hosts=4, rails=2)
    part = fabric.breaks("nic")
    first = solve(fabric.first_stage(), FLOOR)
    (blame,) = first.blames
    assert {other.kind for other in blame.parts} == {"gpu", "nic"}
    assert str(blame).startswith("gpu ")  # the likelier one first
    pairs = separate(blame, fabric.all, first)
    trials = [*fabric.first_stage(), *(fabric.trial(*pair) for pair in pairs)]
    assert solve(trials, FLOOR).blames == (Blame(parts=(part,), trials=5),)


A, B = Endpoint(host="a", gpu="gpu0", nic="nic0"), Endpoint(host="b", gpu="gpu0", nic="nic0")
C = Endpoint(host="c", gpu="gpu0", nic="nic0")


def test_two_hosts_alone_cannot_tell_whose_fault_it_is():
    solution = solve([Trial(first=A, second=B, value=1.0)], FLOOR)
    assert len(solution.blames[0].parts) == 7
    assert separate(solution.blames[0], [A, B], solution) == ()


def test_a_pair_that_hangs_is_slow():
    trials = [
        Trial(first=A, second=B, value=None),
        Trial(first=A, second=C, value=GOOD),
        Trial(first=B, second=C, value=GOOD),
    ]
    (blame,) = solve(trials, FLOOR).blames
    assert str(blame) == "link a/gpu0/nic0 - b/gpu0/nic0"


def test_a_pair_that_was_fast_before_is_nobodys_fault():
    trials = [Trial(first=A, second=B, value=GOOD), Trial(first=B, second=A, value=1.0)]
    solution = solve(trials, FLOOR)
    assert solution.blames == ()
    assert solution.unexplained == (trials[1],)


def test_nothing_slow_blames_nobody():
    fabric = Fabric(random.Random(7), hosts=6, rails=2)
    solution = solve(fabric.first_stage(), FLOOR)
    assert solution.blames == ()
    assert {part for end in fabric.all for part in end.parts} <= solution.cleared
    assert solve([], FLOOR) == Solution()


def test_gpus_of_one_host_need_no_adapters():
    ends = [Endpoint(host="a", gpu=f"gpu{index}") for index in range(8)]
    slow = Part(kind="gpu", name="a/gpu3")
    trials = [
        Trial(first=first, second=second, value=100.0 if "gpu3" in (first.gpu, second.gpu) else 390)
        for one in rounds(ends)
        for first, second in one
    ]
    solution = solve(trials, 300)
    assert solution.blames == (Blame(parts=(slow,), trials=7),)


def used(pairs: Iterable[tuple[Endpoint, Endpoint]]) -> list[tuple[str, str]]:
    return [(end.host, word) for pair in pairs for end in pair for word in (end.gpu, end.nic)]


def test_the_second_stage_uses_no_part_twice_at_a_time():
    fabric = Fabric(random.Random(8), hosts=6, rails=3)
    for kind in ("gpu", "nic", "gpu"):
        fabric.breaks(kind)
    first = solve(fabric.first_stage(), FLOOR)
    made = disjoint(pair for blame in first.blames for pair in separate(blame, fabric.all, first))
    assert made
    for one in made:
        assert len(used(one)) == len(set(used(one)))
