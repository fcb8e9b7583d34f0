"""``aiprov quarantine`` as a user runs it, and the flags of actions that ``validate`` has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from aiprov.actions.acting import act, ready
from aiprov.actions.model import Limit, Policy
from aiprov.checks.validation import from_document
from aiprov.cli import root
from aiprov.cli.flags import INVENTORY, request_of, with_flags
from aiprov.cli.quarantine import ACTION, context_of, policy_of
from aiprov.errors import UsageError
from tests.unit.actions.validations import fleet, validation

GOOD = {f"g{n}": "ok" for n in range(18)}
BAD = validation(a="failed", b="failed", c="unmeasured", **GOOD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "prod"
    made.mkdir()
    (made / "hosts").write_text("a\nb\nc\n" + "".join(f"{name}\n" for name in GOOD))
    (tmp_path / "report.json").write_text(json.dumps(BAD.document))
    return made


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(
        root, ["quarantine", *words, "-i", str(folder)], standalone_mode=False
    )


def document(done: Result) -> dict[str, Any]:
    return json.loads(done.stdout)


def test_a_report_of_before_is_acted_on_and_undone(folder: Path):
    report = str(folder.parent / "report.json")
    done = run(folder, "apply", report)
    assert done.return_value == 0
    assert "a  quarantine: put in the group" in done.stdout
    assert "c  report: GPU 1: products: not measured" in done.stdout
    assert "left in service: not measured is no proof" in done.stdout
    listed = run(folder, "list")
    assert listed.return_value == 0
    assert "GPU 1: products: 3" in listed.stdout
    held = document(run(folder, "list", "--json"))
    assert [one["host"] for one in held["held"]] == ["a", "b"]
    assert held["format_version"] == "1.0"
    given = run(folder, "release", "a", "--json")
    assert given.return_value == 0
    assert [(one["host"], one["done"]) for one in document(given)["actions"]] == [("a", True)]
    assert run(folder, "release", "--all").return_value == 0
    assert "no host is out of service" in run(folder, "list").stdout
    assert "nothing to do" in run(folder, "release", "--all").stdout


def test_a_limit_chooses_among_those_that_are_held(folder: Path):
    run(folder, "apply", str(folder.parent / "report.json"))
    assert [one["host"] for one in document(run(folder, "list", "--json", "-l", "b"))["held"]] == [
        "b"
    ]
    assert run(folder, "release", "--all", "-l", "b").return_value == 0
    assert [one["host"] for one in document(run(folder, "list", "--json"))["held"]] == ["a"]


def test_too_many_are_refused_unless_it_is_said(folder: Path):
    found = validation(a="failed", b="failed", c="failed", **GOOD)
    report = folder.parent / "many.json"
    report.write_text(json.dumps(found.document))
    refused = run(folder, "apply", str(report))
    assert refused.return_value == 1
    assert "3 of 21 hosts would be taken out of service" in refused.stdout
    assert "--action-limit 3" in refused.stdout
    assert not (folder / "quarantine.yml").exists()
    assert run(folder, "apply", str(report), "--action-limit", "3").return_value == 0


@pytest.mark.parametrize("words", [("release",), ("release", "a", "--all")])
def test_release_wants_one_answer(folder: Path, words: tuple[str, ...]):
    done = run(folder, *words)
    assert isinstance(done.exception, UsageError)
    assert done.exception.hint


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format_version": "9.0"}'])
def test_a_file_that_is_no_report(folder: Path, text: str):
    path = folder.parent / "other.json"
    path.write_text(text)
    done = run(folder, "apply", str(path))
    assert isinstance(done.exception, UsageError), done.exception
    assert not (folder / "quarantine.yml").exists()


# ---------------------------------------------------------------- what validate is given


@click.command()
@with_flags(ACTION, INVENTORY)
def stand_in(**flags: Any) -> Any:
    """As a verb reads them."""
    from aiprov import app

    return policy_of(**flags), context_of(app.inventory(request_of(**flags)), fleet=7, **flags)


def test_the_flags_come_to_a_policy_and_a_context(folder: Path):
    given = ["-i", str(folder)]
    policy, context = CliRunner().invoke(stand_in, given, standalone_mode=False).return_value
    assert policy == Policy()
    assert (context.fleet, len(context.inventory.everyone)) == (7, 21)
    given += ["--action", "slurm", "--action-limit", "5%", "--act-on-not-measured"]
    given += ["--slurm-host", "a", "--kubeconfig", "k"]
    policy, context = CliRunner().invoke(stand_in, given, standalone_mode=False).return_value
    assert policy == Policy(action="slurm", limit=Limit(share=0.05), on_not_measured=True)
    assert (context.slurm_host, context.kubeconfig) == ("a", Path("k"))


def test_actions_are_part_of_the_validation_and_change_no_verdict(folder: Path):
    given = ["-i", str(folder), "--action", "slurm", "--slurm-host", "nobody"]
    policy, context = CliRunner().invoke(stand_in, given, standalone_mode=False).return_value
    found = fleet(1, 3)
    told = replace(found, actions=act(found, policy, context))
    assert [one.done for one in told.actions] == [False]
    assert told.verdict == "failed"
    again = from_document(json.loads(json.dumps(told.document)))
    assert again.actions == told.actions


@pytest.mark.parametrize(
    "words",
    [("kubernetes",), ("slurm", "--slurm-host", "nobody")],
)
def test_what_could_not_be_done_is_told_before_hours_are_spent(folder: Path, words: Any):
    given = ["-i", str(folder), "--action", *words]
    policy, context = CliRunner().invoke(stand_in, given, standalone_mode=False).return_value
    with pytest.raises(UsageError) as caught:
        ready(policy, context)
    assert caught.value.hint
    ready(Policy(), context)
