"""The self-test's score as people and machines read it."""

from __future__ import annotations

import json

from aiprov.checks.self_test import Outcome, Score
from aiprov.report.verdicts import score

GOOD = (
    Outcome(check="products bf16 A", fault="nothing", wanted="ok", verdict="ok"),
    Outcome(check="products bf16 A", fault="bit", wanted="failed", verdict="failed"),
    Outcome(check="worker", fault="crash", wanted="not ok", verdict="not measured"),
)
OPEN = Outcome(check="worker", fault="hang", wanted="not ok", verdict="ok")
ALARM = Outcome(check="worker", fault="nothing", wanted="ok", verdict="failed")


def test_all_red():
    told = score.text(Score(outcomes=GOOD))
    assert "mutation score: 2 of 2 faults red (100 %), 0 fail-open, 0 false alarms" in told
    assert "wrong" not in told


def test_what_failed_open_and_what_was_a_false_alarm_is_named():
    told = score.text(Score(outcomes=(*GOOD, OPEN, ALARM)))
    assert "wrong: worker: hang: ok, must be not ok" in told
    assert "wrong: worker: nothing: failed, must be ok" in told
    assert "2 of 3 faults red (66.7 %), 1 fail-open, 1 false alarms" in told


def test_a_score_that_is_nearly_full_is_not_shown_as_full():
    many = tuple(
        Outcome(check="c", fault=str(number), wanted="failed", verdict="failed")
        for number in range(9999)
    )
    assert "(99.9 %)" in score.summary(Score(outcomes=(*many, OPEN)))


def test_nothing_injected_is_no_score():
    assert "0 of 0 faults red (0.0 %)" in score.summary(Score(outcomes=()))


def test_the_document():
    told = json.loads(json.dumps(score.document(Score(outcomes=(*GOOD, OPEN)))))
    assert (told["proven"], told["injected"], told["red"], told["fail_open"]) == (False, 3, 2, 1)
    assert [one["right"] for one in told["outcomes"]] == [True, True, True, False]
