"""What people and machines read of a run: on one screen, without secrets, in every form."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import click
import pytest

from aiprov import app, cli
from aiprov.converge import Event, HostResult
from aiprov.errors import ApplyError, HostError, UnreachableError, VerificationError
from aiprov.outcome import Outcome
from aiprov.plan import Desired, HostPlan
from aiprov.planner import plan
from aiprov.report.ansible import task_diff, task_result
from aiprov.report.document import run_document
from aiprov.report.html import html
from aiprov.report.junit import junit
from aiprov.report.progress import Bars
from aiprov.report.text import facts_text, plan_text, summary_text
from aiprov.resources import Command, File, Package, Secret, Succeeds
from aiprov.roles import Note
from tests.unit.test_planner import CONFIG, SERVICE, file_state

STARTED = datetime(2026, 11, 21, 8, tzinfo=UTC)
SECRET = "hunter2"


def a_plan() -> HostPlan:
    wanted = [
        CONFIG,
        SERVICE,
        Package(name="p", version="2"),
        File(path="/etc/secret", content=Secret(f"password={SECRET}\n"), mode=0o600),
    ]
    state = {
        "File[/etc/x.conf]": file_state("old\n"),
        "Package[p]": {"version": "1.0-1", "candidates": ["2.0-1"]},
        "File[/etc/secret]": {"type": "file", "sha256": "0" * 64, "content": f"old={SECRET}"},
    }
    return plan("h", [Desired(role="r", resource=one) for one in wanted], state)


def pending(name: str = "h") -> HostResult:
    return HostResult(host=name, status="pending", plan=a_plan(), seconds=0.4)


def failed(name: str = "bad", error: HostError | None = None) -> HostResult:
    change = a_plan().changes[0]
    return HostResult(
        host=name,
        status="failed",
        plan=a_plan(),
        outcomes=(Outcome(change=change, status="failed", message="line\n" * 30),),
        error=error or ApplyError(name, "x failed\n" + "more\n" * 30, hint="do this"),
        stages=1,
    )


def document(*results: HostResult) -> dict:
    return run_document("plan", results, started=STARTED, seconds=1.5)


def test_the_document_is_versioned_and_stable():
    made = document(pending(), HostResult(host="a", status="unchanged"))
    assert made["format_version"] == "1.0"
    assert list(made["hosts"]) == ["a", "h"]
    assert made["summary"]["pending"] == 1
    assert json.loads(json.dumps(made)) == made


def test_secrets_are_in_no_form_of_a_run():
    made = document(pending(), failed())
    forms = [json.dumps(made), html(made), junit(made), summary_text(made, whole=True)]
    forms.append(plan_text(pending()))
    for form in forms:
        assert SECRET not in form
    assert "(secret)" in plan_text(pending())


def test_a_plan_tells_what_and_why():
    text = plan_text(pending())
    assert "Package[p] 1.0-1 -> 2.0-1" in text
    assert "-old" in text
    assert "+new" in text
    assert "restart Service[x.service]" in text
    assert "/etc/x.conf changed" in text


def test_the_summary_fits_a_screen():
    many = [HostResult(host=f"h{number}", status="unchanged") for number in range(200)]
    text = summary_text(document(*many, failed()))
    assert len(text.splitlines()) < 24
    assert "200 hosts" in text
    assert "hint: do this" in text
    assert "more with `aiprov report -v`" in text


def test_junit_counts_failures():
    root = ET.fromstring(junit(document(pending(), failed())).split("?>", 1)[1])
    counts = {suite.get("name"): suite.get("failures") for suite in root}
    assert counts == {"bad": "1", "h": str(len(a_plan().changes))}


def test_junit_holds_nothing_that_xml_may_not():
    error = HostError("bad", "\x1b[31mred\x00\x1b[0m")
    suites = ET.fromstring(junit(document(failed(error=error))).split("?>", 1)[1])
    assert "red" in ET.tostring(suites, encoding="unicode")


def test_a_password_that_a_file_still_holds_is_not_shown():
    line = f'http_proxy="http://me:{SECRET}@proxy:3128"\n'
    state = {"File[/etc/environment]": file_state(line)}
    wanted = [Desired(role="r", resource=File(path="/etc/environment", content="A=1\n"))]
    result = HostResult(host="h", status="pending", plan=plan("h", wanted, state))
    shown = plan_text(result) + json.dumps(document(result)) + json.dumps(task_diff(result))
    assert "http://me:***@proxy:3128" in shown
    assert SECRET not in shown


def test_what_a_question_said_is_in_every_form_of_a_plan():
    asked = Command(name="c", argv=("join",), unless=Succeeds(argv=("q",)), stdin=Secret(SECRET))
    said = ["a taint is missing", "label zone: a, wanted b"]
    wanted = [Desired(role="r", resource=asked)]
    made = plan("h", wanted, {"Command[c]": {"done": False, "said": said}})
    result = HostResult(host="h", status="pending", plan=made)
    whole = document(result)
    forms = [plan_text(result), html(whole), junit(whole), str(task_diff(result))]
    forms += [json.dumps(whole), "".join(task_result(result)["plan"]) + said[1]]
    for form in forms:
        assert "a taint is missing (and 1 more)" in form
        assert "label zone: a, wanted b" in form
        assert SECRET not in form
    assert "        label zone: a, wanted b" in plan_text(result).splitlines()


def test_bars_wait_until_nobody_is_asked_for_a_password():
    with Bars() as bars:
        assert not bars._progress.live.is_started
        bars(Event(host="", step="begin", total=1))
        assert bars._progress.live.is_started
    assert not bars._progress.live.is_started


def test_facts_are_a_line_each():
    text = facts_text({"name": "h", "cpus": 2, "pci_devices": (), "interfaces": (
        {"name": "eth0", "addresses": ("10.0.0.1/24", "fd00::1/64"), "mac": None},)})  # fmt: skip
    assert "    name=eth0 addresses=10.0.0.1/24,fd00::1/64" in text.splitlines()
    assert "pci_devices" not in text


def test_the_page_asks_for_nothing_from_elsewhere():
    page = html(document(pending(), failed()))
    assert "src=" not in page
    assert "http" not in page


def test_the_page_escapes_what_hosts_say():
    error = HostError("bad", "<script>alert(1)</script>")
    assert "<script>" not in html(document(failed(error=error)))


# ---------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([HostResult(host="a", status="unchanged")], 0),
        ([HostResult(host="a", status="changed")], 0),
        ([pending()], 2),
        ([failed(), pending()], 1),
        ([pending(), failed(error=UnreachableError("bad", "gone"))], 4),
        ([failed(error=VerificationError("bad"))], 3),
        ([failed(error=VerificationError("bad")), failed(error=UnreachableError("b", "x"))], 3),
        ([failed(), failed(error=UnreachableError("b", "x"))], 1),
    ],
)
def test_the_exit_code_is_the_worst_that_happened(results, code):
    run = app.Run(verb="plan", results=tuple(results), started=STARTED, seconds=1)
    assert cli.exit_code(run) == code


def test_an_interrupted_run_tells_what_it_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AIPROV_HISTORY", str(tmp_path / "history"))
    run = app.Run(
        verb="apply", results=(pending(),), started=STARTED, seconds=1,
        hosts=4, interrupted=True, under_way=("web1",),
    )  # fmt: skip
    code = cli._run(lambda _request, _show: run, app.Request(), as_json=True, verbose=0)
    said = capsys.readouterr().err
    assert code == cli.INTERRUPTED
    assert "2 of 4 hosts were not begun" in said
    assert "left under way, run again to go on: web1" in said


def test_a_history_that_cannot_be_written_does_not_hide_the_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIPROV_HISTORY", str(tmp_path / "file" / "h"))
    run = app.Run(verb="plan", results=(pending(),), started=STARTED, seconds=1)
    code = cli._run(lambda _request, _show: run, app.Request(), as_json=False, verbose=0)
    said = capsys.readouterr()
    assert code == cli.PENDING
    assert "1 pending" in said.out
    assert "AIPROV_HISTORY" in said.err


def test_notes_are_told_with_the_plan_and_warnings_with_the_run(capsys):
    notes = (
        Note(level="reason", text="open modules: Hopper"),
        Note(level="warning", text="driver 535 has been at its end of life since 2026-06"),
    )
    hosts = [HostResult(host=name, status="unchanged", plan=HostPlan(host=name, notes=notes))
             for name in ("a", "b")]  # fmt: skip
    text = click.unstyle(plan_text(hosts[0]))
    assert "because open modules: Hopper" in text
    assert "warning: driver 535" in text
    summary = click.unstyle(summary_text(run_document("apply", hosts, started=STARTED, seconds=1)))
    assert "warning: a, b: driver 535 has been" in summary
    assert "because" not in summary
