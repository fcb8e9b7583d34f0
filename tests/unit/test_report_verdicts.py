"""Verdicts as text, Markdown, JUnit and Prometheus metrics: what is not ok is never hidden."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.checks.model import Bound, Check, Evidence, Measurement, Subject
from aiprov.checks.validation import Action, Coverage, Gpu, HostRun, Validation, from_document
from aiprov.errors import UsageError
from aiprov.report.verdicts.findings import problems, summary
from aiprov.report.verdicts.junit import junit
from aiprov.report.verdicts.prometheus import prometheus
from aiprov.report.verdicts.text import markdown, text

STARTED = "2026-11-21T10:00:00+00:00"
FLOOR = Bound(relation="at least", value=700.0, basis="physics", reason="65 % of the limit")


def gpu(number: int, host: str = "a") -> Subject:
    return Subject(host=host, kind="gpu", id=f"165{number}", label=f"GPU {number}")


def check(subject: Subject, value: float | None = 790.0, **more: object) -> Check:
    item = Measurement(
        name="bf16", value=value, unit="TFLOPS", bounds=(FLOOR,), reason="the worker was killed"
    )
    return Check(name="products bf16 A", subject=subject, measurements=(item,), **more)  # type: ignore[arg-type]


CHECKS = (
    check(gpu(0), not_tested=("bf16 against the fleet: too few",)),
    check(gpu(1), 400.0, action="RESET_GPU", evidence=(Evidence.of("dmesg", "Xid 79\x1b[31m"),)),
    check(gpu(2), None),
    Check(name="inventory", subject=Subject(host="b"), error="nvidia-smi is not there"),
)


def validation(*checks: Check, **more: object) -> Validation:
    hosts = tuple(
        HostRun(host=host, status="done") for host in sorted({one.subject.host for one in checks})
    )
    given = {"campaign": "c", "started": STARTED, "seconds": 60.0, "hosts": hosts, **more}
    return Validation(checks=checks, **given)  # type: ignore[arg-type]


LATE = HostRun(host="z", status="unreachable", message="no route to host", hint="is it on?")


def test_a_summary_counts_by_verdict():
    assert summary(validation(*CHECKS)) == (
        "failed: 4 checks (1 failed, 2 not measured, 1 ok); 2 hosts (1 failed, 1 not measured); "
        "3 GPUs (1 failed, 1 not measured, 1 ok)"
    )
    assert summary(validation()) == "not measured: 0 checks"


def test_text_tells_the_worst_first_and_why():
    shown = text(validation(*CHECKS))
    assert shown.index("a GPU 1: failed") < shown.index("a GPU 2: not measured") < shown.index("b:")
    assert (
        "products bf16 A: bf16: 400 TFLOPS, must be at least 700 TFLOPS (physics: 65 % of the "
        "limit) [RESET_GPU]" in shown
    )
    assert "inventory: nvidia-smi is not there" in shown
    assert "not tested:\n  bf16 against the fleet: too few (once)" in shown
    assert "GPU 0:" not in shown


def test_many_reasons_fit_a_screen():
    bad = Measurement(name="x", value=1.0, bounds=(FLOOR,))
    shown = text(validation(Check(name="many", subject=gpu(0), measurements=(bad,) * 50)))
    assert "… and 45 more" in shown
    assert len(shown.splitlines()) < 12


def test_markdown_has_a_table_and_no_markup_of_hosts():
    odd = Check(name="a|b", subject=Subject(host="<script>"), error="*bold*\n# heading")
    shown = markdown(validation(*CHECKS, odd))
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 5
    assert all(line.count("|") - line.count("\\|") == 5 for line in table)
    assert "<script>" not in shown.replace("\\<script\\>", "")
    assert "\n# heading" not in shown


def test_junit_has_failures_and_errors_and_no_skips():
    root = ET.fromstring(junit(validation(*CHECKS)))
    suites = {suite.get("name"): suite for suite in root}
    assert {key: suites["a"].get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "1", "errors": "1", "skipped": "0",
    }  # fmt: skip
    cases = {case.get("classname"): case for case in root.iter("testcase")}
    assert cases["a.GPU 0"].find("failure") is None
    failure = cases["a.GPU 1"].find("failure")
    assert failure is not None
    assert failure.get("message", "").startswith("bf16: 400")
    assert "Xid 79" in (cases["a.GPU 1"].findtext("system-out") or "")
    assert cases["a.GPU 2"].find("error") is not None
    assert cases["b"].find("error") is not None


def test_junit_of_nothing_is_an_error():
    assert ET.fromstring(junit(validation())).find(".//error") is not None


LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)')


def series(shown: str) -> dict[tuple[str, str], float]:
    found = {}
    for line in shown.removesuffix("\n").split("\n"):
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            key = (match[1], match[2] or "")
            assert key not in found, "a series is there twice"
            found[key] = float(match[3])
    return found


def test_metrics_say_each_verdict_as_zero_or_one():
    found = series(prometheus(validation(*CHECKS)))
    told = {key: value for key, value in found.items() if key[0] == "aiprov_check"}
    assert len(told) == 4 * 3
    assert sum(told.values()) == 4
    assert sum(value for (_, labels), value in told.items() if 'verdict="ok"' in labels) == 1
    assert found["aiprov_validated_seconds", ""] == 1795255260.0
    rates = {
        labels: value for (name, labels), value in found.items() if name == "aiprov_measurement"
    }
    assert sorted(rates.values()) == [400.0, 790.0]


def test_two_checks_of_one_name_are_one_series_and_the_worse():
    found = series(prometheus(validation(check(gpu(0)), check(gpu(0), 400.0))))
    told = {labels: value for (name, labels), value in found.items() if name == "aiprov_check"}
    assert [value for labels, value in told.items() if 'verdict="failed"' in labels] == [1.0]


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=20), st.text(max_size=20))
def test_whatever_hosts_are_called_the_formats_stay_whole(name: str, host: str):
    odd = Check(name=name, subject=Subject(host=host), error=name)
    told = validation(odd, hosts=(HostRun(host=host, status="refused", message=name),))
    shown = prometheus(told)
    assert series(shown)  # no name begins a line of its own
    assert text(told)
    assert markdown(told)
    ET.fromstring(junit(told))


def test_a_host_that_is_not_done_is_in_every_form():
    told = validation(*CHECKS, hosts=(HostRun(host="a", status="done"), LATE))
    assert "\nz: unreachable: no route to host (is it on?)" in text(told)
    assert "- z: unreachable: no route to host (is it on?)" in markdown(told)
    suites = {suite.get("name"): suite for suite in ET.fromstring(junit(told))}
    assert suites["z"].get("errors") == "1"
    found = series(prometheus(told))
    assert found["aiprov_host_status", 'host="z",status="unreachable"'] == 1
    labels = 'host="z",kind="host",id="",label="",verdict="not measured"'
    assert found["aiprov_subject", labels] == 1


SILENT = {
    "a host of which nothing came, though it is done": (
        ("a", "z"), "z", "it is said to be done, and no check tells of it"),
    "a host that nobody validated, and checks tell of it": (
        (), "a", "checks tell of it, and it is none of the hosts"),
}  # fmt: skip


@pytest.mark.parametrize("name", SILENT)
def test_a_host_that_is_not_accounted_for_is_not_measured_in_every_form(name: str):
    hosts, host, why = SILENT[name]
    good = check(gpu(0))
    assert validation(good).verdict == good.verdict == "ok"
    told = validation(good, hosts=tuple(HostRun(host=one, status="done") for one in hosts))
    assert told.verdict == told.by_subject[Subject(host=host)] == "not measured"
    assert from_document(json.loads(json.dumps(told.document))).verdict == "not measured"
    assert f"\n{host}: failed: {why}" in text(told)
    assert why in markdown(told)
    suites = {suite.get("name"): suite for suite in ET.fromstring(junit(told))}
    assert suites[host].get("errors") == "1"
    found = series(prometheus(told))
    assert found["aiprov_host_status", f'host="{host}",status="done"'] == 0
    assert found["aiprov_validation", 'verdict="ok"'] == 0
    labels = f'host="{host}",kind="host",id="",label="",verdict="not measured"'
    assert found["aiprov_subject", labels] == 1
    assert why in problems(told)[0].reason


def test_a_gpu_of_which_no_check_tells_is_missed():
    known = tuple(Gpu(subject=gpu(number), model="H200") for number in (0, 1))
    told = validation(check(gpu(0)), gpus=known)
    assert told.verdict == "not measured"
    assert f"no check tells of {gpu(1).label}" in text(told)
    assert validation(check(gpu(0)), check(gpu(1)), gpus=known).verdict == "ok"


@pytest.mark.parametrize("name", ["campaign", "hosts", "gpus", "series", "coverage", "actions"])
def test_a_document_that_is_cut_off_is_refused(name: str):
    told = validation(check(gpu(0))).document
    for broken in ({key: value for key, value in told.items() if key != name}, {**told, name: 7}):
        if name == "campaign" and name in broken:
            continue
        with pytest.raises(UsageError, match="makes no sense"):
            from_document(broken)


def test_what_was_proven_and_done_is_told():
    told = validation(
        check(gpu(0)),
        gpus=(Gpu(subject=gpu(0), model="H200"),),
        coverage=(
            Coverage(
                subject=gpu(0), hours=0.5, products=9000, faults=0, upper_per_hour=5.99,
                detection=0.39,
            ),
        ),
        by_fault={"slow": 0.9},
        not_tested=("NVLink: no switch",),
        actions=(Action(host="a", kind="cordon", done=False, message="no right to"),),
    )  # fmt: skip
    for shown in (text(told), markdown(told)):
        assert "9,000 products on 1 subjects in 0.5 hours under load, 0 faults" in shown
        assert "at most 5.99 faults an hour" in shown
        assert "NVLink: no switch" in shown
        assert "a: cordon NOT DONE: no right to" in shown
    assert ET.fromstring(junit(told)).find(".//testcase[@name='action cordon']/error") is not None
    found = series(prometheus(told))
    assert found["aiprov_fault_detection_ratio", 'fault="slow"'] == 0.9
    assert found["aiprov_action", 'host="a",action="cordon"'] == 0


def test_a_self_test_accuses_no_hardware():
    told = validation(*CHECKS, self_test=True)
    assert "self-test" in text(told)
    assert "self-test" in markdown(told)
    assert {name for name, _ in series(prometheus(told))} == {
        "aiprov_self_test", "aiprov_validated_seconds", "aiprov_validation_duration_seconds",
    }  # fmt: skip


def test_what_is_wrong_alike_is_one_problem_and_wrong_data_comes_first():
    none = Bound(relation="at most", value=0, basis="exact")
    wrong = Measurement(name="faults", value=3, bounds=(none,))
    slow = [check(gpu(number), 400.0 + number) for number in range(30)]
    bad = Check(name="products fp64 B", subject=gpu(31), measurements=(wrong,))
    told = validation(*slow, bad, hosts=(HostRun(host="a", status="done"), LATE))
    found = problems(told)
    assert [(one.verdict, len(one.subjects)) for one in found] == [
        ("failed", 1), ("failed", 30), ("not measured", 1),
    ]  # fmt: skip
    assert found[0].what == "products fp64 B"
    assert "400 TFLOPS" in found[1].reason, "the worst one stands for all"
    assert len(text(told).splitlines()) < 24, "many of one kind are one line"
