"""The validator's proof of itself, and that a check which fails open is found by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aiprov.checks import health, kernel_log
from aiprov.checks.burn_in import Device
from aiprov.checks.model import Bound, Check, Measurement, Subject
from aiprov.checks.mutations import GPU, here
from aiprov.checks.self_test import Outcome, Score, injections, outcomes
from aiprov.errors import UsageError

HERE = here()


@pytest.mark.parametrize("outcome", HERE, ids=lambda one: f"{one.check}: {one.fault}")
def test_every_mutation_turns_its_check_red(outcome: Outcome):
    assert outcome.right, outcome


def test_the_score_is_full_and_every_check_was_ok_before():
    score = Score(outcomes=HERE)
    assert score.proven
    assert (score.red, score.fail_open) == (score.injected, ())
    assert score.injected >= 70
    checks = {one.check for one in HERE}
    assert {one.check for one in HERE if one.fault == "nothing"} == checks


def test_no_outcome_proves_nothing():
    assert not Score(outcomes=()).proven
    assert not Score(outcomes=tuple(one for one in HERE if one.wanted == "ok")).proven


BOUND = Bound(relation="at least", value=0, basis="exact")
FINE = Check(
    name="x",
    subject=Subject(host="a"),
    measurements=(Measurement(name="x", value=1, bounds=(BOUND,)),),
)


@pytest.mark.parametrize(
    ("module", "name", "check"),
    [(health, "health", health.NAME), (kernel_log, "check", "kernel log under load")],
)
def test_a_check_that_fails_open_is_found(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, check: str
):
    def fails_open(*_: Any, **__: Any) -> Any:
        return FINE if name == "check" else (FINE,)

    monkeypatch.setattr(module, name, fails_open)
    score = Score(outcomes=here())
    assert not score.proven
    assert {one.check for one in score.fail_open} == {check}


def test_a_check_that_is_always_red_proves_nothing(monkeypatch: pytest.MonkeyPatch):
    red = replace(FINE, error="always")
    monkeypatch.setattr(health, "health", lambda *_, **__: (red,))
    assert not Score(outcomes=here()).proven


# ---------------------------------------------------------------- on a host

DEVICE = Device(subject=GPU)


def plan(cells: list[Any], **more: Any) -> dict[str, Any]:
    return {"format_version": "1.0", "campaign": "self-test", "self_test": True, "cells": cells,
            **more}  # fmt: skip


def test_what_was_not_injected_is_not_counted_as_red():
    made = injections("cpu:0", ("fp32",), 96)
    told = [{"event": "plan", **plan([])}]
    score = Score(outcomes=outcomes(made, told, DEVICE))
    assert not score.proven
    assert {one.verdict for one in score.outcomes} == {"not measured"}


def test_a_journal_of_real_work_is_no_self_test():
    with pytest.raises(UsageError, match="of no self-test"):
        outcomes((), [{"event": "plan", "self_test": False, "cells": []}], DEVICE)
