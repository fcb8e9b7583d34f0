"""Removal, reset, snapshots, restoring, certificates and status, on a made-up cluster."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aiprov import patience
from aiprov.cli import root
from aiprov.cluster import plane, removal
from aiprov.cluster.members import Members
from aiprov.errors import AiprovError
from tests.unit.cluster.made_up import NEW, SNAPSHOT, MadeUp, cluster

PLANES, WORKERS = ("cp1", "cp2", "cp3"), ("gpu1", "gpu2")


class Site:
    """An inventory, its hosts, and the command line."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.members: Members = cluster(folder, *PLANES, workers=WORKERS)
        self.hosts = MadeUp(self.members, NEW)
        monkeypatch.setattr(plane, "Hosts", lambda: self.hosts)

    def aiprov(self, *words: str, given: str = "") -> Result:
        flags = ["-i", str(self.folder / "hosts.yml")]
        return CliRunner().invoke(
            root, ["cluster", *words, *flags], input=given, standalone_mode=False
        )

    def fails(self, *words: str) -> AiprovError:
        result = self.aiprov(*words)
        assert isinstance(result.exception, AiprovError), result.output
        assert result.exception.hint
        return result.exception


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


# ---------------------------------------------------------------- removal and reset


def test_a_node_leaves_drained_deleted_and_clean(site: Site):
    result = site.aiprov("remove", "gpu1", "--yes", "--drain-timeout", "90s")
    assert result.return_value == 0, result.exception
    assert site.hosts.did() == [
        "cp1 drain gpu1 --timeout 90",
        "cp1 delete gpu1",
        "gpu1 kube-reset reset",
    ]
    assert "now take out of the inventory: gpu1" in result.output


def test_a_control_plane_leaves_by_way_of_another(site: Site):
    assert site.aiprov("remove", "cp1", "--yes").return_value == 0
    assert site.hosts.did()[0] == "cp2 drain cp1 --timeout 600"


def test_a_host_that_is_dead_is_asked_about_first(site: Site):
    site.hosts.dead = {"gpu1"}
    site.hosts.nodes["gpu1"].update(ready=False)
    error = site.fails("remove", "gpu2", "gpu1", "--yes")
    assert error.exit_code == 4
    assert "--unreachable-ok" in str(error.hint)
    assert site.hosts.did() == []
    result = site.aiprov("remove", "gpu1", "--yes", "--unreachable-ok")
    assert result.return_value == 0
    assert site.hosts.did() == ["cp1 delete gpu1"]


@pytest.mark.parametrize("dies", [True, False])
def test_a_node_that_seems_to_live_is_looked_at(site: Site, dies: bool, monkeypatch: Any):
    """Its host has just been lost: whether it is only ssh that is, the cluster tells in time."""
    monkeypatch.setattr(removal, "GONE_S", 5.0 if dies else 0.05)
    site.hosts.dead = {"gpu1"}
    plan = removal.plan_removal(site.hosts, site.members, ["gpu1"], unreachable_ok=True)

    def later(_seconds: float) -> None:
        if ("nodes", "cp1") not in site.hosts.away:
            site.hosts.away["nodes", "cp1"] = 1  # a question that nobody answers is no end
        elif not site.hosts.away["nodes", "cp1"]:
            site.hosts.nodes["gpu1"].update(ready=not dies)

    removal.remove(site.hosts, plan, plane.Drain(), lambda *_: None, later)
    drained = [] if dies else ["cp1 drain gpu1 --timeout 600"]
    assert site.hosts.did() == [*drained, "cp1 delete gpu1"]
    assert "drain if it lives" in removal.removal_text(plan)


def test_a_node_that_the_inventory_has_not_leaves_too(site: Site):
    site.hosts.nodes["old9"] = {**site.hosts.nodes["gpu1"], "name": "old9"}
    assert site.aiprov("remove", "old9", "--yes").return_value == 0
    assert site.hosts.did() == ["cp1 drain old9 --timeout 600", "cp1 delete old9"]


def test_a_node_that_cannot_be_drained_stays(site: Site):
    site.hosts.fails["drain", "gpu1"] = "kube-cluster: pod a/b is kept by c\nhint: loosen it\n"
    error = site.fails("remove", "gpu1", "--yes")
    assert "pod a/b is kept by c" in error.message
    assert "gpu1" in site.hosts.nodes


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "nobody": (("remove", "gpu9", "--yes"), "neither a host"),
    "all control planes": (("remove", *PLANES, "--yes"), "no control plane would be left"),
    "nobody to ask": (("remove", "gpu1"), "nobody is there to ask"),
    "reset of all": (("reset", "--yes"), "reset which hosts"),
    "reset unasked": (("reset", "-l", "gpu1"), "nobody is there to ask about gpu1"),
    "renewed unasked": (("certificates", "--renew"), "nobody is there to ask"),
    "no time": (("remove", "gpu1", "--drain-timeout", "soon"), "'soon' is no time"),
    "no wave": (("upgrade", "--wave", "0", "--yes"), "'0' is no wave"),
    "a limit": (("status", "-l", "cp1"), "about the whole cluster"),
    "no plane": (("restore", "FILE", "--host", "gpu1", "--yes"), "no control plane"),
    "no snapshot": (("restore", "hosts.yml", "--yes"), "no whole snapshot"),
    "no file": (("restore", "none", "--yes"), "No such file"),
    "no folder": (("snapshot", "none/file"), "No such file"),
    "there": (("snapshot", "hosts.yml"), "there already"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_anything(site: Site, case: str, monkeypatch: Any):
    words, why = REFUSED[case]
    monkeypatch.chdir(site.folder)
    assert why in str(site.fails(*words))
    assert site.hosts.did() == []


RESETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a worker": (("gpu1",), ("all that Kubernetes has on gpu1", "aiprov cluster remove gpu1")),
    "one of three": (
        ("cp2",),
        ("of 3 members of etcd, 2 would be left", "needs 2 of 3, which it has\n", "remove cp2"),
    ),
    "two of three": (
        ("cp2", "cp3"),
        ("of 3 members of etcd, 1 would be left", "which it would not have", "remove cp2 cp3"),
    ),
    "all": (PLANES, ("it is the end of the cluster",)),
}


@pytest.mark.parametrize("case", RESETS)
def test_what_a_reset_means_is_told_before_anything(site: Site, case: str, monkeypatch: Any):
    names, told = RESETS[case]
    monkeypatch.setattr(removal, "reset", lambda *_: [])
    output = site.aiprov("reset", "-l", ",".join(names), "--yes").output
    for words in told:
        assert words in output
    assert site.hosts.did() == []


def test_hosts_are_reset_one_failing_does_not_stop_the_others(site: Site):
    site.hosts.dead = {"gpu1"}
    result = site.aiprov("reset", "-l", "gpu1,gpu2", "--yes")
    assert result.return_value == 4
    assert site.hosts.did() == ["gpu2 kube-reset reset"]
    assert "gpu1: no route to host" in result.output


# ---------------------------------------------------------------- backup and certificates


def test_a_snapshot_comes_here_whole_and_private(site: Site):
    file = site.folder / "etcd.db"
    result = site.aiprov("snapshot", str(file))
    assert result.return_value == 0, result.exception
    assert file.read_bytes() == SNAPSHOT
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in site.folder.iterdir()) == ["etcd.db", "hosts.yml"]


def test_a_full_disk_leaves_nothing_behind(site: Site, monkeypatch: pytest.MonkeyPatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("aiprov.cluster.backup.os.fsync", full)
    assert "No space left" in site.fails("snapshot", str(site.folder / "etcd.db")).message
    assert [path.name for path in site.folder.iterdir()] == ["hosts.yml"]


def test_one_that_was_cut_off_is_none(site: Site):
    site.hosts.snapshot = SNAPSHOT[:-1]
    error = site.fails("snapshot", str(site.folder / "etcd.db"))
    assert "not whole" in error.message
    assert [path.name for path in site.folder.iterdir()] == ["hosts.yml"]


def test_a_snapshot_goes_back_to_one_control_plane(site: Site):
    file = site.folder / "etcd.db"
    file.write_bytes(SNAPSHOT)
    assert site.aiprov("restore", str(file), "--host", "cp2", "--yes").return_value == 0
    assert site.hosts.did() == ["cp2 restore -"]
    assert site.hosts.given == SNAPSHOT


def test_nothing_is_restored_while_another_control_plane_may_live(site: Site):
    """The one that begins again may not reach it; who uses the cluster may."""
    file = site.folder / "etcd.db"
    file.write_bytes(SNAPSHOT)
    site.hosts.dead = {"cp3"}
    error = site.fails("restore", str(file), "--yes")
    assert "--unreachable-ok" in error.hint
    assert site.aiprov("restore", str(file), "--yes", "--unreachable-ok").return_value == 0
    assert site.hosts.did() == ["cp1 restore -"]
    site.hosts.fails[("!", "-e")] = "there"
    error = site.fails("restore", str(file), "--yes", "--unreachable-ok")
    assert "two clusters of one name" in error.message
    assert "aiprov cluster reset -l cp2" in error.hint
    assert site.hosts.did() == ["cp1 restore -"]


def test_certificates_are_renewed_on_one_after_the_other(site: Site):
    result = site.aiprov("certificates", "--renew", "--yes")
    assert result.return_value == 0
    assert site.hosts.did() == ["cp1 renew", "cp2 renew", "cp3 renew"]
    assert "300 days" in result.output


def test_certificates_that_end_soon_are_a_problem(site: Site):
    site.hosts.days = 3
    assert site.aiprov("certificates").return_value == 3


def test_certificates_that_cannot_be_asked_for_are_told(site: Site):
    site.hosts.dead = {"cp2"}
    result = site.aiprov("certificates")
    assert result.return_value == 4
    assert "cp2\n  not known: no route to host\n  hint: is it up?" in result.output
    site.hosts.days = 3
    assert site.aiprov("certificates").return_value == 3


# ---------------------------------------------------------------- status


def test_a_cluster_that_is_well(site: Site):
    result = site.aiprov("status")
    assert result.return_value == 0, result.exception
    assert "all is well" in result.output
    assert "gpu1  worker         yes    1.36.4   3     8 gpu" in result.output


UNWELL: dict[str, tuple[Any, str]] = {
    "a node": (
        lambda hosts: hosts.problems.append({"what": "node gpu1", "why": "not ready"}),
        "problem: node gpu1: not ready",
    ),
    "not joined": (lambda hosts: hosts.nodes.pop("gpu2"), "aiprov apply -l gpu2"),
    "certificates": (lambda hosts: setattr(hosts, "days", 3), "ends in 3 days"),
    "a dead plane": (lambda hosts: hosts.dead.add("cp1"), "certificates of cp1: no route"),
}


@pytest.mark.parametrize("case", UNWELL)
def test_what_is_not_well_is_told(site: Site, case: str):
    change, told = UNWELL[case]
    change(site.hosts)
    result = site.aiprov("status")
    assert result.return_value == 3
    assert told in result.output


def test_what_is_worth_a_note_is_no_problem(site: Site):
    site.hosts.nodes["gpu1"].update(schedulable=False)
    site.hosts.nodes["old9"] = {**site.hosts.nodes["gpu2"], "name": "old9"}
    result = site.aiprov("status")
    assert result.return_value == 0
    assert "cordoned" in result.output
    assert "not in the inventory" in result.output


AWAY: dict[str, tuple[dict[str, int], str]] = {
    "of one": ({"cp1": 99}, "cp2"),
    "of all": ({"cp1": 2, "cp2": 9, "cp3": 9}, "cp1"),
}


@pytest.mark.parametrize("case", AWAY)
def test_an_api_that_is_away_for_a_moment_is_asked_again(site: Site, case: str, monkeypatch: Any):
    monkeypatch.setattr(patience, "PAUSE_S", 0.001)
    times, by_way_of = AWAY[case]
    site.hosts.away = {("version", host): number for host, number in times.items()}
    result = site.aiprov("status")
    assert result.return_value == 0, result.exception
    assert f"asked of {by_way_of}" in result.output


def test_one_that_is_away_at_the_last_question_too(site: Site, monkeypatch: Any):
    monkeypatch.setattr(patience, "PAUSE_S", 0.001)
    real = site.hosts.answer

    def answer(words: list[str], about: str) -> dict[str, Any]:
        if words[0] == "nodes":
            site.hosts.away["version", "cp1"] = 3
        return real(words, about)

    monkeypatch.setattr(site.hosts, "answer", answer)
    assert site.aiprov("status").return_value == 0


def test_one_that_stays_away_is_told(site: Site, monkeypatch: Any):
    monkeypatch.setattr(patience, "PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.02)
    site.hosts.away = {("version", host): 9999 for host in PLANES}
    error = site.fails("status")
    assert error.exit_code == 1
    for host in PLANES:
        assert f"{host}: kubectl version: etcdserver: no leader" in error.message


def test_what_would_be_the_same_in_a_minute_is_asked_once(site: Site):
    for host in PLANES:
        site.hosts.fails["version", host] = "kube-cluster: there is no admin.conf\nhint: join\n"
    assert "there is no admin.conf" in site.fails("status").message
    assert site.hosts.asked == [("version", host) for host in PLANES]


def test_without_programs_the_way_is_told(site: Site):
    site.hosts.dead = set(PLANES)
    error = site.fails("status")
    assert error.exit_code == 4
