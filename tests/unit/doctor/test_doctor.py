"""What the doctor finds: cases of ``tests/doctor``, and what holds whatever a host answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiprov import app
from aiprov.catalog import xids
from aiprov.cli.doctor import doctor
from aiprov.doctor import AREAS, Diagnosis, examine, observe
from aiprov.doctor.questions import questions
from aiprov.errors import BecomeError, HostError, SurveyError, UnreachableError
from aiprov.report import doctor as report
from aiprov.survey.facts import Facts, PciDevice

TESTS = Path(__file__).parents[2]
TODAY = date(2026, 11, 21)
CASES = sorted((TESTS / "doctor").glob("*.yml"))


def read(path: Path) -> dict[str, Any]:
    """A case with what it lies over."""
    case = yaml.safe_load(path.read_text())
    if "over" not in case:
        return case
    base = read(TESTS / "doctor" / f"{case['over']}.yml")
    merged = {**base, "looked_at": [], "unseen": [], **case}
    for key in ("facts", "commands", "files", "folders", "links"):
        merged[key] = {**base.get(key, {}), **case.get(key, {})}
    return merged


def facts_of(case: Mapping[str, Any]) -> Facts:
    host = yaml.safe_load((TESTS / "hosts" / f"{case['host']}.yml").read_text())
    host |= case.get("facts", {})
    host["kernels"] = tuple(host.get("kernels", ()))
    return Facts(**host, pci_devices=tuple(devices(case.get("gpus", []))))


def devices(groups: list[dict[str, Any]]) -> list[PciDevice]:
    found = []
    for group in groups:
        own = dict(group)
        vendor, device = own.pop("id").split(":")
        for _ in range(own.pop("count", 1)):
            address = f"0000:{len(found) + 1:02x}:00.0"
            found.append(
                PciDevice(
                    address=address, vendor=vendor, device=device,
                    class_code=own.get("class", "030200"),
                    **{key: value for key, value in own.items() if key != "class"},
                )
            )  # fmt: skip
    return found


class Host:
    """Answers as the agent does, from a case."""

    def __init__(self, case: Mapping[str, Any]) -> None:
        self.case = case

    def look(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert request["ask"] == "look"
        assert all(argv[0] not in ("sh", "bash") for argv in request["commands"].values())
        return {
            "commands": {name: self.command(name, argv)
                         for name, argv in request["commands"].items()},
            "files": {path: self.part("files", path) for path in request["files"]},
            "folders": {path: self.part("folders", path) or [] for path in request["folders"]},
            "links": {path: self.part("links", path) for path in request["links"]},
        }  # fmt: skip

    def part(self, kind: str, name: str) -> Any:
        return self.case.get(kind, {}).get(name)

    def command(self, name: str, argv: list[str]) -> list[Any]:
        said = self.part("commands", name)
        if said is None:
            return [127, "", f"{argv[0]}: No such file or directory"]
        if isinstance(said, str):
            return [0, said, ""]
        return [said.get("rc", 0), said.get("out", ""), said.get("err", "")]


def found(case: Mapping[str, Any]) -> Diagnosis:
    return examine(facts_of(case), Host(case).look, TODAY)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path):
    case = read(path)
    diagnosis = found(case)
    shown = json.dumps(diagnosis.document(), indent=1)
    expected = case["findings"]
    assert [item["severity"] for item in expected] == [f.severity for f in diagnosis.findings], (
        shown
    )
    for wanted, finding in zip(expected, diagnosis.findings, strict=True):
        assert wanted["cause"] in finding.cause, shown
        assert wanted.get("remedy", "") in finding.remedy, shown
        for part in wanted.get("evidence", []):
            assert any(part in line for line in finding.evidence), (part, shown)
    for part in case.get("looked_at", []):
        assert any(part in title for title in diagnosis.looked_at), (part, shown)
    unseen = [f"{item.what}: {item.why}" for item in diagnosis.unseen]
    assert len(unseen) == len(case.get("unseen", [])), shown
    for part, line in zip(case.get("unseen", []), unseen, strict=True):
        assert part in line, shown
    holds(diagnosis)


def holds(diagnosis: Diagnosis) -> None:
    """What is so whatever a host answers."""
    for finding in diagnosis.findings:
        assert finding.cause and finding.remedy
        assert finding.evidence, finding
        assert all(line.strip() and "\n" not in line for line in finding.evidence), finding
    assert json.loads(json.dumps(diagnosis.document())) == diagnosis.document()


def test_every_cause_has_a_case():
    """Each cause that can be found is found by some case."""
    silent = {cause for area in AREAS for cause in area.causes}
    for path in CASES:
        case = read(path)
        seen = observe(facts_of(case), Host(case).look, TODAY)
        heard = {cause for cause in silent if any(True for _ in cause(seen))}
        silent -= heard
    assert {cause.__name__ for cause in silent} == set()


def test_what_may_hang_is_asked_last():
    """The agent reads answers in turn: one that hangs must not take others' time."""
    names = list(questions(facts_of(read(TESTS / "doctor" / "hgx.yml")))["commands"])
    assert names[-3:] == ["smi", "gpus", "docker"]


# ---------------------------------------------------------------- garbage

WORDS = st.sampled_from(
    ["GPU 0", "GPU 00000000:01:00.0", " : ", "    ", "\n", "Pending", "Yes", "580.95.05", "nvidia",
     "NVRM: Xid (PCI:0000:01:00", "): 79, ", "filename: ", "version: ", "Id=", "docker.service",
     "{", "}", "[", "]", "version = 4", "\t", "ii ", "hi ", "for kernel ", "error: ", "\x00", "²",
     "/var/lib/dkms/", "imports = [", '"Runtimes": {}', "-c /x.toml", "containerd",
     "blacklist nouveau"]
)  # fmt: skip
GARBAGE = st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=30).map("".join))
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(data=st.data())
def test_any_answer_gives_a_diagnosis(data: st.DataObject):
    case = read(TESTS / "doctor" / "hgx.yml")
    names = data.draw(st.lists(st.sampled_from(sorted(case["commands"])), max_size=6))
    for name in names:
        rc = data.draw(st.sampled_from([0, 0, 1, 127, None]))
        case["commands"][name] = {"rc": rc, "out": data.draw(GARBAGE), "err": data.draw(GARBAGE)}
    for path in data.draw(st.lists(st.sampled_from(sorted(case["files"])), max_size=4)):
        case["files"][path] = data.draw(st.one_of(st.none(), GARBAGE))
    for path in data.draw(st.lists(st.sampled_from(sorted(case["folders"])), max_size=4)):
        case["folders"][path] = data.draw(st.lists(GARBAGE, max_size=3))
    holds(found(case))


@pytest.mark.parametrize("rc", [None, 1, 127])
def test_where_nothing_works_nothing_is_right(rc: int | None):
    """All commands fail, all files are unreadable: whatever could not be looked at is said."""
    case = read(TESTS / "doctor" / "hgx.yml")
    case["commands"] = {name: {"rc": rc} for name in questions(facts_of(case))["commands"]}
    case["files"] = {}
    diagnosis = found(case)
    holds(diagnosis)
    assert diagnosis.unseen
    for title in ("the kernel log and its Xids", "services of the driver"):
        assert title not in diagnosis.looked_at


NONSENSE: list[dict[str, Any]] = [
    {},
    {"commands": {"id": 3}, "files": {}, "folders": {}, "links": {}},
    {"commands": [], "files": 1, "folders": 1, "links": 1},
]


@pytest.mark.parametrize("answer", NONSENSE)
def test_no_answer_is_an_error_that_names_the_host(answer: Mapping[str, Any]):
    facts = facts_of(read(TESTS / "doctor" / "plain.yml"))
    with pytest.raises(SurveyError, match="makes no sense") as refused:
        examine(facts, lambda _request: answer, TODAY)
    assert refused.value.host == facts.name


def test_evidence_tells_no_password_and_moves_no_cursor():
    case = read(TESTS / "doctor" / "hgx.yml")
    path = "/etc/docker/daemon.json"
    case["files"][path] = '{"proxies": "http://me:hunter2@proxy:3128" \x1b[2J\r'
    shown = "\n".join(line for item in found(case).findings for line in item.evidence)
    assert "http://me:***@proxy:3128" in shown
    assert "hunter2" not in shown and "\x1b" not in shown


# ---------------------------------------------------------------- as it is shown


def diagnosis_text(host: str, diagnosis: Diagnosis, *, verbose: bool = False) -> str:
    return click.unstyle(report.diagnosis_text(host, diagnosis, verbose=verbose))


def test_text_has_problems_first_and_remedies_last():
    text = diagnosis_text("gpu01", found(read(TESTS / "doctor" / "narrow_link.yml")))
    assert [line for line in text.splitlines() if not line.startswith("      ")] == [
        "gpu01  1 problem, 1 note",
        "  problem  the PCIe link of 1 GPU is narrower than the GPU can",
        next(line for line in text.splitlines() if "remedy: is the slot that wide" in line),
        "  note  the PCIe link of 1 GPU is slower than the GPU can",
        next(line for line in text.splitlines() if "remedy: idle GPUs" in line),
    ]


def test_text_of_a_healthy_host_says_what_was_looked_at():
    diagnosis = found(read(TESTS / "doctor" / "hgx.yml"))
    lines = diagnosis_text("gpu01", diagnosis).splitlines()
    assert lines[0] == "gpu01  nothing is wrong"
    assert lines[1:] == [f"  looked at: {title}" for title in diagnosis.looked_at]


def test_text_never_calls_right_what_was_not_looked_at():
    diagnosis = found(read(TESTS / "doctor" / "log_not_readable.yml"))
    text = diagnosis_text("gpu01", diagnosis)
    assert "nothing is wrong" not in text
    assert text.startswith("gpu01  3 not looked at\n")
    assert "  not looked at  Docker: " in text


def test_much_evidence_is_cut_unless_all_is_asked_for():
    case = read(TESTS / "doctor" / "hgx.yml")
    lines = [
        f"GPU 00000000:{number:02x}:00.0\n    Remapped Rows\n        Pending       : Yes\n"
        for number in range(1, 9)
    ]
    case["commands"]["smi"] = "".join(lines)
    assert "… 2 more with -v" in diagnosis_text("gpu01", found(case))
    whole = diagnosis_text("gpu01", found(case), verbose=True)
    assert "more with -v" not in whole
    assert whole.count("Remapped Rows / Pending: Yes") == 8


GONE = UnreachableError("gone", "no route to host", hint="is it up?")
REFUSED = BecomeError("refused", "sudo wants a password", hint="give -K")


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (["hgx"], 0),
        (["hgx", "end_of_life"], 0),
        (["hgx", "narrow_link"], 3),
        (["hgx", GONE], 4),
        (["narrow_link", GONE], 3),
        (["narrow_link", GONE, REFUSED], 1),
    ],
)
def test_the_exit_code_is_of_the_worst(
    answers: list[str | HostError], code: int, monkeypatch: pytest.MonkeyPatch
):
    said: dict[str, Diagnosis | HostError] = {
        item.host if isinstance(item, HostError) else item: item
        if isinstance(item, HostError)
        else found(read(TESTS / "doctor" / f"{item}.yml"))
        for item in answers
    }
    monkeypatch.setattr(app, "doctor", lambda _request, _names: iter(said.items()))
    shown = CliRunner().invoke(doctor, ["--json"], standalone_mode=False)
    assert shown.return_value == code
    document = json.loads(shown.stdout)
    assert (document["format_version"], document["verb"]) == ("1.0", "doctor")
    assert sorted(document["hosts"]) == sorted(said)
    for name, host in document["hosts"].items():
        assert host["status"] == {
            "hgx": "ok", "end_of_life": "ok", "narrow_link": "problems", "gone": "unreachable",
            "refused": "failed",
        }[name]  # fmt: skip
        assert (host["error"] is None) == ("findings" in host)


# ---------------------------------------------------------------- Xids


def test_every_documented_xid_has_a_row():
    assert sorted(xids.xids()) == list(range(1, 173))
    for row in xids.xids().values():
        assert row.source and row.date and row.meaning and row.text


@pytest.mark.parametrize(
    ("code", "severity", "action"),
    [(13, "warning", "RESTART_APP"), (31, "warning", "RESTART_APP"), (43, "note", "IGNORE"),
     (48, "problem", "WORKFLOW_XID_48"), (63, "note", "IGNORE"), (64, "problem", "RESET_GPU"),
     (74, "problem", "WORKFLOW_NVLINK_ERR"), (79, "problem", "RESTART_BM"),
     (92, "warning", "IGNORE"), (94, "warning", "RESTART_APP"), (95, "problem", "RESET_GPU"),
     (119, "problem", "RESET_GPU"), (154, "problem", "XID_154")],
)  # fmt: skip
def test_an_xid_has_nvidias_action(code: int, severity: str, action: str):
    row = xids.xid(code)
    assert row is not None
    assert (row.severity, row.action) == (severity, action)


def test_an_undocumented_xid_has_none():
    assert xids.xid(999) is None
