"""Validation from a play: what it asks for, and how its end is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiprov import play_validation
from aiprov.app import Request
from aiprov.checks.model import Bound, Check, Measurement, Subject
from aiprov.checks.validation import HostRun, Validation
from aiprov.errors import UsageError
from aiprov.validation import run as validation
from aiprov.validation.run import Done, Wish

WANTED = {"budget": "2h", "device": "cuda", "output": None, "resume": False}
GIVEN = {
    "inventory": ("inventory/prod",),
    "subset": "gpu",
    "forks": 20,
    "remote_user": "ops",
    "become": True,
    "timeout": 10,
}


def action(*, check: bool = False) -> Any:
    return SimpleNamespace(
        _task=SimpleNamespace(check_mode=check), _play_context=SimpleNamespace(become_pass="s3cret")
    )


def ended(value: float, *, interrupted: bool = False) -> Done:
    bound = Bound(relation="at least", value=10.0, basis="prior", reason="so it was")
    measured = Measurement(name="rate", value=value, unit="GB/s", bounds=(bound,))
    check = Check(name="memory", subject=Subject(host="h1"), measurements=(measured,))
    found = Validation(
        campaign="c1",
        started="2026-11-21T10:00:00+00:00",
        seconds=60,
        hosts=(HostRun(host="h1", status="done"),),
        checks=(check,),
    )
    folder = Path(".aiprov/validation/c1")
    return Done(
        validation=found, folder=folder, files=(folder / "report.md",), interrupted=interrupted
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was asked for, and the ``end`` that it comes to."""
    seen: dict[str, Any] = {"end": ended(11.0)}

    def begun(name: str) -> Any:
        def begin(request: Request, wish: Wish, show: Any) -> Done:
            seen.update(verb=name, request=request, wish=wish)
            if isinstance(seen["end"], Exception):
                raise seen["end"]
            return seen["end"]

        return begin

    monkeypatch.setattr(validation, "validate", begun("validate"))
    monkeypatch.setattr(validation, "resume", begun("resume"))
    monkeypatch.setattr(play_validation.context, "CLIARGS", GIVEN)
    return seen


def test_it_asks_with_the_plays_own_inventory_limit_and_password(asked: dict[str, Any]):
    play_validation.run(action(), {**WANTED, "output": "reports"})
    request, wish = asked["request"], asked["wish"]
    assert (request.sources, request.limit, request.forks) == (("inventory/prod",), "gpu", 20)
    assert (request.options.user, request.options.become) == ("ops", True)
    assert request.options.become_password.reveal() == "s3cret"
    assert request.options.timeout_s is None, "the inventory's own, where none was given"
    assert (wish.budget_s, wish.device, wish.output) == (7200, "cuda", Path("reports"))
    assert asked["verb"] == "validate"
    play_validation.run(action(), {**WANTED, "resume": True})
    assert asked["verb"] == "resume"


def test_all_that_is_ok_is_told_with_its_folder(asked: dict[str, Any]):
    said = play_validation.run(action(), WANTED)
    folder = Path.cwd() / ".aiprov/validation/c1"
    assert (said["failed"], said["changed"], said["verdict"]) == (False, False, "ok")
    assert (said["folder"], said["reports"]) == (str(folder), [str(folder / "report.md")])
    assert f"all of it: {folder}" in said["msg"]


@pytest.mark.parametrize("end", [ended(9.0), ended(float("nan")), ended(11.0, interrupted=True)])
def test_anything_else_fails(asked: dict[str, Any], end: Done):
    asked["end"] = end
    said = play_validation.run(action(), WANTED)
    assert said["failed"]
    assert "all of it: " in said["msg"]


def test_errors_and_warnings_are_told(asked: dict[str, Any]):
    asked["end"] = UsageError("none of the hosts has the role", hint="add it")
    said = play_validation.run(action(), WANTED)
    assert (said["failed"], said["msg"]) == (True, "none of the hosts has the role\nhint: add it")
    said = play_validation.run(action(), {**WANTED, "budget": "soon"})
    assert "'soon' is no time" in said["msg"]

    asked["end"] = replace(ended(11.0), warnings=("the disk is full: nothing is kept",))
    said = play_validation.run(action(), WANTED)
    assert not said["failed"]
    assert "the disk is full" in said["warnings"][0]


def test_a_check_puts_no_load_on_hosts(asked: dict[str, Any]):
    assert play_validation.run(action(check=True), WANTED)["skipped"]
    assert "verb" not in asked
