"""An upgrade: which nodes in which order, what is refused, where it stops and how it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aiprov.cluster.members import Member, Members
from aiprov.cluster.plane import Say
from aiprov.cluster.steps import upgrade_text, wave_size
from aiprov.cluster.upgrade import Upgrading, outcome_text
from aiprov.converge import HostResult
from aiprov.errors import AiprovError, HostError, UnsupportedError, UsageError
from tests.unit.cluster.made_up import NEW, OLD, MadeUp, cluster

PLANES, WORKERS = ("cp1", "cp2", "cp3"), ("gpu1", "gpu2", "gpu3")


@dataclass
class Engine:
    """What converges a host: its kubelet has the new version then, unless it fails."""

    hosts: MadeUp
    failing: set[str] = field(default_factory=set)
    never_ready: set[str] = field(default_factory=set)

    def __call__(self, member: Member, say: Say) -> HostResult:
        name = member.host.name
        say(name, "change 1/1 kubernetes: Command[upgrade]")
        self.hosts.calls.append((name, "converge"))
        if name in self.failing:
            error = HostError(name, "no space left", hint="make some")
            return HostResult(host=name, status="failed", error=error)
        node = self.hosts.nodes[member.name]
        node.update(version=NEW, api_version=NEW if member.control_plane else None)
        if name == "cp1":
            self.hosts.version = NEW
        if name in self.never_ready:
            node.update(ready=False, reason="PLEG is not healthy")
        return HostResult(host=name, status="changed")


@dataclass
class Run:
    """A cluster, and an upgrade of it."""

    members: Members
    hosts: MadeUp
    engine: Engine
    said: list[str] = field(default_factory=list)

    def go(self, wave: str = "1") -> str:
        upgrading = Upgrading(
            hosts=self.hosts, members=self.members, converge=self.engine,
            say=lambda host, line: self.said.append(f"{host} {line}"),
            healthy_s=0, wait=lambda _seconds: None,
        )  # fmt: skip
        plan = upgrading.plan(wave)
        return outcome_text(plan, upgrading.run(plan))

    def plan(self, wave: str = "1", only: set[str] | None = None) -> str:
        upgrading = Upgrading(
            hosts=self.hosts, members=self.members, converge=self.engine,
            say=lambda *_: None,
        )  # fmt: skip
        return upgrade_text(upgrading.plan(wave, only))


def run(
    folder: Path,
    planes: tuple[str, ...] = PLANES,
    workers: tuple[str, ...] = WORKERS,
    **versions: str,
) -> Run:
    found = cluster(folder, *planes, workers=workers, version=versions.get("wanted", NEW))
    hosts = MadeUp(found, versions.get("present", OLD))
    return Run(found, hosts, Engine(hosts))


def test_control_planes_go_first_one_by_one_and_workers_in_waves(tmp_path: Path):
    one = run(tmp_path)
    assert one.plan("50%") == "\n".join(
        [
            "Kubernetes 1.35.2 -> 1.36.4",
            "  1. cp1 (control plane): 1.35.2 -> 1.36.4",
            "  2. cp2 (control plane): 1.35.2 -> 1.36.4",
            "  3. cp3 (control plane): 1.35.2 -> 1.36.4",
            "  4. gpu1 (worker): 1.35.2 -> 1.36.4",
            "  4. gpu2 (worker): 1.35.2 -> 1.36.4",
            "  5. gpu3 (worker): 1.35.2 -> 1.36.4",
        ]
    )
    assert one.hosts.did() == []


def test_each_node_is_drained_upgraded_and_freed_by_way_of_another(tmp_path: Path):
    one = run(tmp_path)
    assert "upgraded to 1.36.4: cp1, cp2, cp3, gpu1, gpu2, gpu3" in one.go()
    assert one.hosts.did()[:6] == [
        "cp2 drain cp1 --timeout 600",
        "cp1 converge",
        "cp2 uncordon cp1",
        "cp1 drain cp2 --timeout 600",
        "cp2 converge",
        "cp1 uncordon cp2",
    ]
    assert all(node["schedulable"] for node in one.hosts.nodes.values())
    assert "gpu1 drain gpu1 --timeout 600 done" in one.said
    assert one.plan() == (
        f"Kubernetes 1.36.4 -> 1.36.4\n  at {NEW} already: cp1, cp2, cp3, gpu1, gpu2, gpu3"
    )


def test_it_stops_at_the_first_failure_and_goes_on_when_run_again(tmp_path: Path):
    one = run(tmp_path)
    one.engine.failing = {"gpu1"}
    text = one.go("2")
    assert "upgraded to 1.36.4: cp1, cp2, cp3, gpu2" in text
    assert "failed: gpu1: no space left" in text
    assert "  hint: make some" in text
    assert "not begun: gpu3" in text
    assert "run it again" in text
    assert one.hosts.nodes["gpu1"]["schedulable"] is False
    assert one.hosts.nodes["gpu3"]["version"] == OLD
    one.engine.failing = set()
    one.hosts.calls.clear()
    assert "upgraded to 1.36.4: gpu1, gpu3" in one.go()
    assert one.hosts.did()[0] == "cp1 drain gpu1 --timeout 600"
    assert one.hosts.nodes["gpu1"]["schedulable"] is True


def test_a_node_that_is_not_well_afterwards_stops_it(tmp_path: Path):
    one = run(tmp_path)
    one.engine.never_ready = {"cp1"}
    text = one.go()
    assert "failed: cp1: it is not ready: PLEG is not healthy" in text
    assert "not begun: cp2, cp3, gpu1, gpu2, gpu3" in text


def test_a_control_plane_that_is_not_well_stops_it(tmp_path: Path):
    one = run(tmp_path)
    one.hosts.problems = [{"what": "etcd cp1", "why": "no leader"}]
    assert "etcd cp1: no leader" in one.go()
    one.hosts.problems = [{"what": "node gpu9", "why": "somebody else's"}]
    assert "failed" not in one.go()


def test_a_drain_that_is_kept_from_ending_stops_it(tmp_path: Path):
    one = run(tmp_path)
    one.hosts.fails["drain", "cp1"] = "kube-cluster: pod a/b is kept by c\nhint: loosen it\n"
    text = one.go()
    assert "failed: cp1: pod a/b is kept by c" in text
    assert "hint: loosen it" in text
    assert not any("converge" in line for line in one.hosts.did())


def test_what_an_earlier_run_left_cordoned_is_freed(tmp_path: Path):
    one = run(tmp_path)
    one.go()
    one.hosts.nodes["gpu2"].update(schedulable=False, cordoned_by_aiprov=True)
    one.hosts.nodes["gpu3"].update(schedulable=False)
    one.hosts.calls.clear()
    assert "gpu2 (worker): uncordon" in one.plan()
    one.go()
    assert one.hosts.did() == ["cp1 uncordon gpu2"]


def test_the_only_node_is_not_drained(tmp_path: Path):
    one = run(tmp_path, ("cp1",), ())
    assert "not drained: no other node takes pods" in one.plan()
    one.go()
    assert one.hosts.did() == ["cp1 converge", "cp1 uncordon cp1"]


def test_a_control_plane_half_way_is_not_passed_over(tmp_path: Path):
    one = run(tmp_path)
    one.hosts.nodes["cp1"].update(version=NEW)
    assert "cp1 (control plane): 1.35.2 -> 1.36.4" in one.plan()


def test_who_is_not_known_on_both_sides_is_told(tmp_path: Path):
    one = run(tmp_path)
    one.hosts.nodes["old9"] = {**one.hosts.nodes.pop("gpu3"), "name": "old9"}
    assert "warning: old9 is not in the inventory" in one.plan()
    assert "warning: gpu3 has not joined: aiprov apply -l gpu3" in one.plan()


REFUSED: dict[str, tuple[dict[str, str], dict[str, Any], str, str]] = {
    "two minors": ({"present": "1.34.1"}, {}, "no minor version is skipped", "1.35, 1.36.4"),
    "back": ({"present": "1.36.4", "wanted": "1.35.2"}, {}, "does not go back", "snapshot"),
    "an old worker": ({}, {"gpu1": {"version": "1.32.9"}}, "kubelet 1.32.9", "1.33"),
    "a new worker": ({}, {"gpu1": {"version": "1.37.0"}}, "newer than", "control plane"),
    "never ready": ({}, {"gpu1": {"version": ""}}, "has never been ready", "aiprov apply"),
    "an old plane": ({}, {"cp2": {"api_version": "1.34.0"}}, "minor version is skipped", "1.35"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_kubernetes_does_not_go_is_refused_with_the_way(tmp_path: Path, case: str):
    versions, changes, why, way = REFUSED[case]
    one = run(tmp_path, **versions)
    for name, change in changes.items():
        one.hosts.nodes[name].update(change)
    with pytest.raises(UnsupportedError) as caught:
        one.plan()
    assert why in caught.value.message
    assert way in str(caught.value.hint)


WAVES = {("1", 9): 1, ("3", 9): 3, ("20%", 9): 2, ("1%", 9): 1, ("100%", 9): 9, ("50%", 0): 1}


@pytest.mark.parametrize(("text", "workers"), WAVES)
def test_how_many_at_once(text: str, workers: int):
    assert wave_size(text, workers) == WAVES[text, workers]


@pytest.mark.parametrize("text", ["0", "", "%", "-1", "101%", "a"])
def test_what_is_no_wave(text: str):
    with pytest.raises(UsageError, match="wave"):
        wave_size(text, 5)


def test_chosen_hosts_alone_control_planes_before_workers(tmp_path: Path):
    one = run(tmp_path)
    assert one.plan(only={"cp2"}).splitlines()[1:] == ["  1. cp2 (control plane): 1.35.2 -> 1.36.4"]
    with pytest.raises(UsageError, match="cp1, cp3 come before any worker"):
        one.plan(only={"cp2", "gpu1"})
    for name in PLANES:
        one.hosts.nodes[name].update(version=NEW, api_version=NEW)
    one.hosts.version = NEW
    assert "  1. gpu2 (worker)" in one.plan(only={"gpu2"})


def test_a_dead_control_plane_is_gone_around(tmp_path: Path):
    one = run(tmp_path)
    one.hosts.dead = {"cp1"}
    one.hosts.nodes["cp1"].update(ready=False, reason="dead", version=NEW, api_version=NEW)
    one.hosts.version = NEW
    assert "upgraded to 1.36.4: cp2" in one.go()


def test_without_any_control_plane_each_is_named(tmp_path: Path):
    one = run(tmp_path)
    one.hosts.dead = set(PLANES)
    with pytest.raises(AiprovError) as caught:
        one.plan()
    assert caught.value.exit_code == 4
    assert "no control plane answers" in caught.value.message


def test_nodes_of_one_cluster_have_one_version(tmp_path: Path):
    one = run(tmp_path)
    text = (tmp_path / "hosts.yml").read_text()
    own = '"gpu1": {"kubernetes_version": "1.35.2", '
    (tmp_path / "hosts.yml").write_text(text.replace('"gpu1": {', own))
    from aiprov.cluster.members import members
    from aiprov.inventory import load

    one.members = members(load([str(tmp_path / "hosts.yml")]))
    with pytest.raises(UsageError, match="several kubernetes_version"):
        one.plan()
