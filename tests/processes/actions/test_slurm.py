"""Slurm nodes are drained with our reason, and undrained only where it stands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from aiprov import inventory
from aiprov.actions.acting import Context, act, held, release
from aiprov.actions.model import Limit, Policy
from aiprov.actions.slurm import parse
from aiprov.errors import HostError, UsageError
from tests.unit.actions.validations import validation

HERE = Path(__file__).parent
POLICY = Policy(action="slurm", limit=Limit(share=1.0))
BAD = validation(gpu01="failed", gpu02="ok")


class Slurm:
    """The stand-in's cluster."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "slurm.json"
        self.folder = folder
        self.set({"nodes": {"gpu01": node("IDLE"), "gpu02": node("MIXED")}})

    def set(self, told: dict[str, Any]) -> None:
        self.path.write_text(json.dumps(told))

    def change(self, **given: Any) -> None:
        self.set({**self.now, **given})

    @property
    def now(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    def node(self, name: str) -> tuple[str, str]:
        about = self.now["nodes"][name]
        return "+".join(about["state"]), about["reason"]

    @property
    def calls(self) -> list[list[str]]:
        return self.now.get("calls", [])


def node(*state: str, reason: str = "", by: str = "alice") -> dict[str, Any]:
    return {"state": state, "reason": reason, "by": by, "at": "2026-11-20T08:00:00"}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable} -S\n" + (HERE / "stand_in_scontrol.py").read_text())
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    made = Slurm(tmp_path)
    monkeypatch.setenv("STAND_IN_SLURM", str(made.path))
    return made


def context(text: str = "gpu01,gpu02,gpu03", **given: Any) -> Context:
    return Context(inventory=inventory.load([text]), **given)


# ---------------------------------------------------------------- what scontrol says


def test_real_output_is_read():
    found = parse((HERE / "data" / "scontrol_show_node.txt").read_text())
    assert list(found) == ["gpu01", "gpu02", "gpu03", "gpu04"]
    assert found["gpu01"].states == ("UNKNOWN", "NOT_RESPONDING")
    assert not found["gpu01"].drained
    assert found["gpu01"].reason == ""
    gpu02 = found["gpu02"]
    assert gpu02.states == ("IDLE", "DRAIN", "NOT_RESPONDING")
    assert (gpu02.reason, gpu02.by, gpu02.at) == ("aiprov: 3", "root", "2026-11-21T23:32:05")
    assert gpu02.ours


@pytest.mark.parametrize(
    ("tail", "states", "reason"),
    [
        ("State=DOWN*+DRAIN Reason=disk [2] of 3 [bob@2026-01-01T00:00:00]", ("DOWN", "DRAIN"),
         "disk [2] of 3"),
        ("State=IDLE Reason=Not responding Comment=x", ("IDLE",), "Not responding"),
        ("State=MIXED+CLOUD ThreadsPerCore=2", ("MIXED", "CLOUD"), ""),
    ],
)  # fmt: skip
def test_other_forms_are_read(tail: str, states: tuple[str, ...], reason: str):
    (found,) = parse(f"NodeName=n1 Arch=x86_64 {tail}\nsomething else\n").values()
    assert (found.states, found.reason) == (states, reason)


# ---------------------------------------------------------------- drain and undrain


def test_a_failed_host_is_drained_with_the_finding(slurm: Slurm):
    (done,) = act(BAD, POLICY, context())
    assert (done.host, done.kind, done.done) == ("gpu01", "drain", True)
    state, reason = slurm.node("gpu01")
    assert state == "IDLE+DRAIN"
    assert reason.startswith("aiprov: GPU 1: products: 3, must be at most 0")
    assert slurm.node("gpu02") == ("MIXED", "")


def test_twice_is_once_and_undone_is_as_before(slurm: Slurm):
    act(BAD, POLICY, context())
    (again,) = act(BAD, POLICY, context())
    assert again.done
    assert "is drained since 2026-11-21" in again.message
    assert len(slurm.calls) == 1
    assert held("slurm", context())["gpu01"].reason.startswith("GPU 1")
    (gave,) = release("slurm", ["gpu01"], context())
    assert gave.done
    assert slurm.node("gpu01") == ("IDLE", "")
    assert held("slurm", context()) == {}


def test_what_somebody_else_drained_keeps_its_reason(slurm: Slurm):
    mine = node("IDLE", "DRAIN", reason="fan [3] is loud")
    slurm.set({"nodes": {"gpu01": mine, "gpu02": node("IDLE")}})
    (done,) = act(BAD, POLICY, context())
    assert done.done
    assert "drained already by alice since 2026-11-20T08:00:00 (fan [3] is loud)" in done.message
    assert slurm.node("gpu01") == ("IDLE+DRAIN", "fan [3] is loud")
    with pytest.raises(UsageError, match="gpu01: not taken out"):
        release("slurm", ["gpu01"], context())
    assert slurm.node("gpu01") == ("IDLE+DRAIN", "fan [3] is loud")


def test_what_was_down_stays_down_and_gets_its_reason_back(slurm: Slurm):
    down = node("DOWN", "NOT_RESPONDING", reason="Not responding", by="slurm")
    slurm.set({"nodes": {"gpu01": down}})
    act(BAD, POLICY, context())
    state, reason = slurm.node("gpu01")
    assert state == "DOWN+DRAIN+NOT_RESPONDING"
    assert reason.endswith("(before: Not responding)")
    act(BAD, POLICY, context())
    assert slurm.node("gpu01")[1] == reason
    release("slurm", None, context())
    assert slurm.node("gpu01") == ("DOWN+NOT_RESPONDING", "Not responding")


def test_another_reason_that_came_since_is_left(slurm: Slurm):
    act(BAD, POLICY, context())
    context_then = context()
    from aiprov.actions.slurm import Slurm as Way

    way = Way(context_then.inventory, None, context_then.connect)
    slurm.change(nodes={"gpu01": node("IDLE", "DRAIN", reason="RMA 77")})
    assert "RMA 77" in way.give("gpu01")
    assert slurm.node("gpu01") == ("IDLE+DRAIN", "RMA 77")
    slurm.change(nodes={"gpu01": node("IDLE")})
    assert "not drained any more" in way.give("gpu01")


def test_an_error_of_an_undrain_that_was_done_is_none(slurm: Slurm):
    slurm.set({"nodes": {"gpu01": node("UNKNOWN")}})
    act(BAD, POLICY, context())
    (gave,) = release("slurm", None, context())
    assert gave.done
    assert slurm.node("gpu01") == ("UNKNOWN", "")


def test_a_node_of_another_name(slurm: Slurm, tmp_path: Path):
    hosts = tmp_path / "hosts.yml"
    hosts.write_text("all: {hosts: {web-1: {aiprov_slurm_node: gpu02}}}\n")
    given = Context(inventory=inventory.load([str(hosts)]))
    (done,) = act(validation(**{"web-1": "failed"}), POLICY, given)
    assert done.done
    assert slurm.node("gpu02")[0] == "MIXED+DRAIN"
    assert list(held("slurm", given)) == ["web-1"]


# ---------------------------------------------------------------- what can go wrong

FAILURES = [
    ({"fails": "Unable to contact slurm controller (connect failure)"}, "Unable to contact",
     "scontrol ping"),
    ({"denied": True}, "Invalid user id", "run aiprov as one"),
    ({"nodes": {"other": node("IDLE")}}, "Node gpu01 not found", "aiprov_slurm_node"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said", "hint"), FAILURES)
def test_what_goes_wrong_is_told_with_the_way_out(
    slurm: Slurm, change: dict[str, Any], said: str, hint: str
):
    slurm.change(**change)
    (done,) = act(BAD, POLICY, context())
    assert not done.done
    assert said in done.message
    assert hint in done.message
    assert "GPU 1: products: 3" in done.message


def test_one_node_that_fails_does_not_stop_the_others(slurm: Slurm):
    done = act(validation(gpu01="failed", gpu02="failed", gpu03="failed"), POLICY, context())
    assert [(one.host, one.done) for one in done] == [
        ("gpu01", True), ("gpu02", True), ("gpu03", False),
    ]  # fmt: skip


def test_a_defect_hides_no_verdict(slurm: Slurm):
    def connect(_connection: Any) -> Any:
        raise ZeroDivisionError("oh")

    (done,) = act(BAD, POLICY, context(connect=connect))
    assert not done.done
    assert "a defect of aiprov: ZeroDivisionError: oh" in done.message
    assert "GPU 1: products: 3" in done.message


def test_no_scontrol_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (done,) = act(BAD, POLICY, context())
    assert not done.done
    assert "--slurm-host" in done.message
    with pytest.raises(HostError):
        held("slurm", context())


def test_a_named_host_runs_it(slurm: Slurm, tmp_path: Path):
    hosts = tmp_path / "hosts.yml"
    hosts.write_text("all: {hosts: {gpu01: , head: {ansible_connection: local}}}\n")
    given = Context(inventory=inventory.load([str(hosts)]), slurm_host="head")
    assert act(BAD, POLICY, given)[0].done
    assert slurm.node("gpu01")[0] == "IDLE+DRAIN"
    slurm.change(fails="Unable to contact slurm controller (connect failure)")
    assert "on head" in act(BAD, POLICY, given)[0].message
    slurm.change(fails="", denied=True, nodes={"gpu01": node("IDLE")})
    assert "become root on head with -b" in act(BAD, POLICY, given)[0].message


def test_a_host_that_is_not_there_is_said(slurm: Slurm):
    (done,) = act(BAD, POLICY, context(slurm_host="hedd"))
    assert (done.done, "hedd" in done.message) == (False, True)


@pytest.mark.parametrize("name", ["gpu[01-02]", "ALL", "gpu01,gpu02", "-x"])
def test_a_name_that_would_be_several_nodes_is_refused(slurm: Slurm, tmp_path: Path, name: str):
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(json.dumps({"all": {"hosts": {"gpu01": {"aiprov_slurm_node": name}}}}))
    (done,) = act(BAD, POLICY, Context(inventory=inventory.load([str(hosts)])))
    assert not done.done
    assert slurm.calls == []
