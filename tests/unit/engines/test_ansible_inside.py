"""What happens around the calls: results, errors, secrets, and what a play shows of a plan."""

from __future__ import annotations

import io
import json
import os
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError

from aiprov.converge import HostResult
from aiprov.engines import Outcome
from aiprov.engines.ansible.calls import ModuleCall
from aiprov.engines.ansible.inside import InsideEngine
from aiprov.engines.ansible.modules import failure, hider, host_error
from aiprov.engines.ansible.process import _Run
from aiprov.errors import BecomeError, HostError, HostKeyError, UnreachableError
from aiprov.outcome import HINT
from aiprov.plan import Change, HostPlan, Skipped, Unknown
from aiprov.planner import BUILT_IN
from aiprov.play import own_part
from aiprov.report.ansible import task_diff, task_result
from aiprov.resources import (
    Absent,
    AptRepository,
    Command,
    File,
    Group,
    PathExists,
    Reboot,
    Resource,
    Secret,
    Service,
)


def change(resource: Resource, role: str = "docker", **states: Any) -> Change:
    return Change(
        role=role,
        resource=resource,
        before=states.get("before", {}),
        after=states.get("after", {}),
        reason="a reason",
    )


# ---------------------------------------------------------------- results and errors


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"changed": True, "rc": 0}, None),
        ({"failed": True, "msg": "no such package"}, "no such package"),
        ({"failed": True, "rc": 7, "msg": "non-zero return code", "stderr": "a\nb"}, "a\nb"),
        (
            {"failed": True, "rc": 7, "msg": "The command exited with a non-zero return code."},
            "exit code 7",
        ),
        ({"failed": True, "msg": "it broke", "stderr": "because"}, "it broke\nbecause"),
        (
            {
                "failed": True,
                "exception": SimpleNamespace(
                    event=SimpleNamespace(
                        msg="cannot replace",
                        chain=SimpleNamespace(event=SimpleNamespace(msg="No space", chain=None)),
                    )
                ),
            },
            "cannot replace: No space",
        ),
    ],
)
def test_what_a_result_says(result: dict[str, Any], told: str | None) -> None:
    said = failure(result)
    assert said == told or (told is not None and said is not None and said.startswith(told))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AnsibleConnectionFailure("Failed to connect: Connection refused"), UnreachableError),
        (AnsibleAuthenticationFailure("Permission denied (publickey)"), UnreachableError),
        (AnsibleConnectionFailure("Host key verification failed."), HostKeyError),
        (AnsibleConnectionFailure("REMOTE HOST IDENTIFICATION HAS CHANGED!"), HostKeyError),
        (AnsibleError("Incorrect sudo password"), BecomeError),
        (AnsibleError("Missing sudo password"), BecomeError),
        (AnsibleConnectionFailure("Timeout (12s) waiting for privilege escalation prompt"),
         BecomeError),
    ],
)  # fmt: skip
def test_errors_of_ansible_are_ours(error: AnsibleError, kind: type[HostError]) -> None:
    ours = host_error("web1", error)
    assert type(ours) is kind
    assert ours.host == "web1"
    assert ours.hint


def test_other_errors_are_the_modules() -> None:
    assert host_error("web1", AnsibleError("no filter named foo")) is None


def test_secrets_are_taken_out_of_texts() -> None:
    hide = hider(['password = "S3cretWord"\nport = 80\n'])
    assert hide("line 1: S3cretWord is refused, port 80 is not") == (
        "line 1: *** is refused, port 80 is not"
    )


# ---------------------------------------------------------------- the engine in the worker


class FakeModules:
    """Answers every call from a table by the module's or command's name."""

    host = "web1"

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[ModuleCall] = []

    def run(self, call: ModuleCall) -> dict[str, Any]:
        self.calls.append(call)
        argv = call.args.get("argv") or [call.module.rpartition(".")[2]]
        answer = self.answers.get(argv[0], {"changed": True})
        if isinstance(answer, Exception):
            raise answer
        return answer


def engine(modules: FakeModules, *, local: bool = False) -> InsideEngine:
    return InsideEngine(modules, family=lambda: "debian", local=local)  # type: ignore[arg-type]


def test_the_first_failure_ends_it() -> None:
    modules = FakeModules(group={"failed": True, "msg": "no"})
    begun: list[str] = []
    changes = [
        change(File(path="/a", content="")),
        change(Group(name="g")),
        change(Group(name="h")),
    ]
    outcomes = engine(modules).apply(changes, lambda one: begun.append(one.address))
    assert [(one.status, one.message) for one in outcomes] == [
        ("done", ""),
        ("failed", "no"),
        ("not run", ""),
    ]
    assert begun == ["File[/a]", "Group[g]"]


def test_a_host_that_is_gone_from_the_start() -> None:
    modules = FakeModules(group=UnreachableError("web1", "gone"))
    with pytest.raises(UnreachableError):
        engine(modules).apply([change(Group(name="g"))], lambda one: None)


def test_a_host_that_goes_later_keeps_what_was_done() -> None:
    modules = FakeModules(group=UnreachableError("web1", "gone"))
    changes = [change(File(path="/a", content="")), change(Group(name="g"))]
    done, lost = engine(modules).apply(changes, lambda one: None)
    assert done.status == "done"
    assert (lost.status, lost.message) == ("failed", "the connection was lost: gone")


def test_a_reboot_is_proven_by_the_boot_id() -> None:
    modules = FakeModules(cat={"stdout": "the same", "rc": 0})
    reboot = change(Reboot(name="r", unless=PathExists(path="/x")))
    (outcome,) = engine(modules).apply([reboot], lambda one: None)
    assert "its boot id is the same" in outcome.message


def test_the_controller_is_not_rebooted() -> None:
    reboot = Reboot(name="r", unless=PathExists(path="/x"))
    assert engine(FakeModules(), local=True).unsupported(reboot)
    assert engine(FakeModules()).unsupported(reboot) is None


def test_a_secret_call_tells_nothing() -> None:
    modules = FakeModules(copy={"failed": True, "msg": "cannot take S3cretWord"})
    secret = change(File(path="/a", content=Secret("S3cretWord")))
    (outcome,) = engine(modules).apply([secret], lambda one: None)
    assert "S3cretWord" not in outcome.message
    assert "Write /a failed" in outcome.message


def test_a_command_tells_what_it_said_but_not_its_secret() -> None:
    said = "cp1:6443 refuses S3cretWord\nhint: make a new one"
    modules = FakeModules(join={"failed": True, "rc": 2, "stderr": said, "stdout": ""})
    secret = Secret("to: cp1:6443\nkey: S3cretWord", parts=(Secret("S3cretWord"),))
    join = Command(name="join", argv=("join",), unless=PathExists(path="/x"), stdin=secret)
    (outcome,) = engine(modules).apply([change(join)], lambda one: None)
    message, _, hint = outcome.message.partition(HINT)
    assert message == "cp1:6443 refuses ***\nexit code 2"
    assert hint == "make a new one"


def test_a_service_is_told_with_its_log() -> None:
    modules = FakeModules(
        systemd_service={"failed": True, "msg": "Job failed"},
        journalctl={"stdout": "unknown key", "rc": 0},
    )
    states = {"before": {"running": False}, "after": {"running": True}}
    (outcome,) = engine(modules).apply(
        [change(Service(name="a.service"), **states)], lambda one: None
    )
    assert outcome.message == "Job failed\nunknown key"


# ---------------------------------------------------------------- what the other process tells


def told(changes: list[Change], *events: dict[str, Any], silence_s: float = 5.0) -> _Run:
    run = _Run(changes, lambda one: None, "web1")
    reading, writing = os.pipe()
    with io.FileIO(writing, "w") as stream:
        stream.write(b"".join(json.dumps(event).encode() + b"\n" for event in events))
    run.follow(reading, silence_s)
    os.close(reading)
    return run


def ended(number: int, status: str, message: str = "") -> dict[str, Any]:
    return {
        "event": "outcome",
        "change": number,
        "status": status,
        "message": message,
        "seconds": 1.0,
    }


def test_outcomes_come_back() -> None:
    changes = [change(Group(name="g")), change(Group(name="h"))]
    run = told(changes, {"event": "begin", "change": 0}, ended(0, "done"), ended(1, "failed", "no"))
    assert [(one.status, one.message) for one in run.outcomes(2, "noise")] == [
        ("done", ""),
        ("failed", "no"),
    ]


def test_what_was_not_told_did_not_happen() -> None:
    changes = [change(Group(name=name)) for name in "abc"]
    outcomes = told(changes, ended(0, "done")).outcomes(1, "a traceback")
    assert [one.status for one in outcomes] == ["done", "failed", "not run"]
    assert outcomes[1].message == "ansible-playbook ended with exit code 1:\na traceback"


def test_errors_come_back_as_they_were() -> None:
    event = {"event": "error", "type": "HostKeyError", "message": "changed", "hint": "look"}
    with pytest.raises(HostKeyError, match="changed") as error:
        told([change(Group(name="g"))], event).outcomes(2, "")
    assert error.value.hint == "look"


# ---------------------------------------------------------------- what a play shows


def result(*changes: Change, unknown: tuple[Unknown, ...] = (), **more: Any) -> HostResult:
    plan = HostPlan(host="web1", changes=changes, unknown=unknown, **more)
    return HostResult(host="web1", status="pending", plan=plan)


def test_a_check_shows_the_role_s_own_part() -> None:
    theirs = change(Group(name="g"), role="containerd")
    lists = change(Group(name="lists"), role=BUILT_IN)
    waiting = Unknown(role="docker", resource=Group(name="h"), until="containerd is there")
    shown = own_part(result(lists, theirs, unknown=(waiting,)), "docker")
    assert task_result(shown) == {
        "changed": True,
        "plan": ["Group[h]: unknown until containerd is there"],
        "stages": 0,
    }
    assert task_diff(shown) == [{"prepared": "Group[h]: unknown until containerd is there\n"}]
    nothing = own_part(result(lists, theirs), "docker")
    assert task_result(nothing)["changed"] is False
    alone = own_part(result(lists, change(Group(name="g"))), "docker")
    assert len(task_result(alone)["plan"]) == 2


def test_a_skip_is_the_role_s_own() -> None:
    skipped = (Skipped(role="containerd", reason="a"), Skipped(role="docker", reason="b"))
    shown = own_part(result(skipped=skipped), "docker")
    assert shown.plan is not None
    assert [one.reason for one in shown.plan.skipped] == ["b"]


DIFFS: dict[str, tuple[Change, str, str]] = {
    "file": (
        change(
            File(path="/a", content="new\n"),
            before={"type": "file", "sha256": "1", "content": "old\n"},
            after={"type": "file", "sha256": "2"},
        ),
        "old\n",
        "new\n",
    ),
    "mode only": (
        change(
            File(path="/a", content="same\n"),
            before={"type": "file", "sha256": "1", "content": "same\n", "mode": 0o600},
            after={"type": "file", "sha256": "1", "mode": 0o644},
        ),
        "mode: 0600\n",
        "mode: 0644\n",
    ),
    "secret": (
        change(File(path="/a", content=Secret("S3cret")), before={}, after={"sha256": "2"}),
        "(secret), as it is\n",
        "(secret), as wanted\n",
    ),
    "absent": (
        change(Absent(path="/a"), before={"type": "file"}, after={"type": "absent"}),
        "type: file\n",
        "type: absent\n",
    ),
    "service": (
        change(Service(name="a"), before={"running": False}, after={"running": True}),
        "running: false\n",
        "running: true\n",
    ),
    "repository": (
        change(AptRepository(name="r", uris=("http://r",), suites=("s",)), before={"files": [""]}),
        "",
        "Types: deb\nURIs: http://r\nSuites: s\n",
    ),
}


@pytest.mark.parametrize("case", DIFFS)
def test_diffs(case: str) -> None:
    made, before, after = DIFFS[case]
    (entry,) = task_diff(result(made))
    assert (entry["before"], entry["after"]) == (before, after)
    assert made.address in entry["after_header"]


def test_what_was_done_is_shown_not_what_was_planned() -> None:
    made = change(Group(name="g"))
    outcomes = (Outcome(change=made, status="done"), Outcome(change=made, status="not run"))
    shown = HostResult(host="web1", status="failed", outcomes=outcomes)
    assert task_result(shown)["plan"] == ["done: Group[g]: a reason", "not run: Group[g]: a reason"]
    assert task_result(shown)["changed"] is True
    assert len(task_diff(shown)) == 1
