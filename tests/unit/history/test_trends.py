"""`aiprov history`: what was validated, how metrics went, and what got worse than its own past."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiprov.checks.fleet import judged
from aiprov.checks.statistics import FEWEST
from aiprov.checks.validation import HostRun
from aiprov.cli import root
from aiprov.errors import UsageError
from aiprov.history import trends
from aiprov.history.measurements import past, remember
from aiprov.history.text import sparkline, trends_text
from aiprov.history.trends import Point
from tests.unit.history.validations import CHECK, SOFTWARE, check, gpu, software, validation


def fill(place, rates, told=SOFTWARE, first=0, host=None):
    """One validation a day of GPU 1 at these rates, beside one that stays as it is."""
    for day, rate in enumerate(rates, first):
        made = validation(day, {gpu(1, host): rate, gpu(2, host): 780.0})
        assert remember(made, software(made, told), place) is None


def rate_of(found):
    (one,) = [trend for trend in found if trend.name == "bf16" and trend.subject.id == "s1"]
    return one


def test_validations_are_listed_newest_first(history_place):
    fill(history_place, [790.0])
    made = validation(1, {gpu(1): 500.0, gpu(2): 780.0})
    lost = HostRun(host="gone", status="unreachable")
    remember(replace(made, hosts=(*made.hosts, lost)), {}, history_place)
    newest, oldest = trends.validations(history_place)
    assert (newest.run, newest.campaign, newest.verdict) == (2, "campaign-1", "failed")
    assert newest.hosts == {"failed": 1, "not measured": 1}
    assert newest.gpus == {"failed": 1, "ok": 1}
    assert (oldest.verdict, oldest.hosts, oldest.gpus) == ("ok", {"ok": 1}, {"ok": 2})


def test_a_trend_tells_first_median_last_and_change(history_place):
    fill(history_place, [700.0, 790.0, 791.0, 792.0, 800.0])
    trend = rate_of(trends.of_gpu("s1", place=history_place))
    assert [point.value for point in trend.points] == [700.0, 790.0, 791.0, 792.0, 800.0]
    assert trend.median == 791.0
    assert trend.change == pytest.approx(800 / 790.5 - 1)
    assert (trend.model, trend.unit, trend.subject) == ("H200", "TFLOPS", gpu(1))


@pytest.mark.parametrize(
    ("rates", "regression"),
    [
        ([790.0] * FEWEST + [760.0], True),
        ([790.0] * FEWEST + [789.0], False),
        ([790.0] * (FEWEST - 1) + [760.0], False),  # too few to say
        ([790.0 * 0.998**nth for nth in range(20)], True),  # by small steps
        ([790.0] * FEWEST + [500.0, 790.0], False),  # one bad run, and well again
    ],
)
def test_a_regression_is_what_the_judgement_calls_one(history_place, rates, regression):
    fill(history_place, rates[:-1])
    known = past([gpu(1), gpu(2)], dict.fromkeys((gpu(1), gpu(2)), SOFTWARE), place=history_place)
    (one,) = judged([check(gpu(1), rates[-1])], [], {}, known)
    (own,) = [item for item in one.measurements if item.name == "bf16"]
    assert any(bound.basis == "history" for bound in own.broken) == regression
    fill(history_place, rates[-1:], first=len(rates))
    trend = rate_of(trends.of_gpu("s1", place=history_place))
    assert trend.regression == regression
    if regression:
        assert trend.bound in own.bounds


def test_what_is_no_rate_has_no_regression(history_place):
    fill(history_place, [790.0] * 8)
    found = trends.of_gpu("s1", place=history_place)
    assert {trend.name: trend.bound is None for trend in found} == {"bf16": False, "faults": True}


def test_other_software_is_shown_and_not_compared(history_place):
    fill(history_place, [790.0] * 6, "old")
    fill(history_place, [700.0] * 2, "new", first=6)
    trend = rate_of(trends.of_gpu("s1", place=history_place))
    assert len(trend.points) == 8
    assert (trend.comparable[0].value, trend.median, trend.change) == (700.0, 700.0, 0.0)
    assert not trend.regression


def test_a_metric_that_is_measured_no_more_is_not_judged(history_place):
    fill(history_place, [790.0] * 6 + [600.5])
    made = validation(9, {}, check(gpu(1), 100.0, name="another"))
    remember(made, software(made), history_place)
    (former,) = [
        one
        for one in trends.of_gpu("s1", place=history_place)
        if (one.check, one.name) == (CHECK, "bf16")
    ]
    assert former.bound is None


def test_a_host_has_the_trends_of_what_is_in_it_now(history_place):
    fill(history_place, [790.0] * 2)
    made = validation(2, {gpu(1, "new"): 791.0, gpu(2): 780.0})
    remember(made, software(made), history_place)
    assert {one.subject.id for one in trends.of_host("h0", place=history_place)} == {"s2"}
    moved = rate_of(trends.of_host("new", place=history_place))
    assert [point.host for point in moved.points] == ["h0", "h0", "new"]
    assert "it was in h0 before new" in trends_text([moved], sparklines=False)


def test_what_was_never_validated_is_said(history_place):
    with pytest.raises(UsageError, match="no validation was kept"):
        trends.of_gpu("s1", place=history_place)
    fill(history_place, [790.0])
    for ask, message, hint in (
        (lambda: trends.of_gpu("s11", place=history_place), "GPU s11 was never", "s1"),
        (lambda: trends.of_host("h9", place=history_place), "host h9 was never", "h0"),
        (lambda: trends.of_gpu("s1", "copies", history_place), "check copies was never", CHECK),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            ask()
        assert hint in (caught.value.hint or "")


def points(*values, software=""):
    return [
        Point(run=nth, at="", host="h", software=software[nth : nth + 1], value=value, verdict="ok")
        for nth, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (points(1.0, 2.0, 3.0), "▁▅█"),
        (points(5.0, 5.0), "▅▅"),
        (points(1.0, 1.0, 2.0, software="aab"), "▁▁│█"),
        (points(*range(100)), None),
    ],
)
def test_a_sparkline(given, shown):
    found = sparkline(given)
    assert found == shown if shown else len(found) == 30


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_a_sparkline_has_a_bar_for_each_point(values):
    shown = sparkline(points(*values))
    assert len(shown) == len(values)
    assert dict(zip(values, shown, strict=True))[max(values)] == max(shown)


def test_a_terminal_gets_bars(history_place):
    fill(history_place, [790.0] * 6, "old")
    fill(history_place, [700.0, 800.0], "new", first=6)
    found = trends.of_gpu("s1", place=history_place)
    assert "██████│▁█" in trends_text(found, sparklines=True)
    assert "2/8" in trends_text(found, sparklines=False)


# ---------------------------------------------------------------- the verb


def verb(capsys, *arguments):
    """Its exit code and what it printed."""
    code = root.main(["history", *arguments], standalone_mode=False)
    return code, capsys.readouterr().out


@pytest.fixture
def here(history_place, monkeypatch):
    monkeypatch.setenv("AIPROV_HISTORY", str(history_place))
    return history_place


def test_the_verb_lists_validations(here, capsys):
    code, out = verb(capsys)
    assert (code, out) == (0, "no validation was kept here: `aiprov validate` first\n")
    fill(here, [790.0] * 21 + [500.0])
    code, out = verb(capsys)
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 1 + 20 + 1
    assert re.split(r"  +", lines[0]) == ["run", "when (UTC)", "verdict", "hosts", "GPUs",
                                          "campaign"]  # fmt: skip
    assert re.split(r"  +", lines[1].strip()) == [
        "22", "2026-01-22 10:00", "failed", "1 (1 failed)", "2 (1 failed)", "campaign-21",
    ]  # fmt: skip
    assert lines[-1] == "… and 2 older: -v"
    _, out = verb(capsys, "-v")
    assert len(out.splitlines()) == 23


def test_the_verb_shows_trends(here, capsys):
    fill(here, [790.0] * 6 + [760.0])
    code, out = verb(capsys, "--gpu", "s1")
    assert code == 0
    head, _, rate, _, told = out.splitlines()
    assert head == f"h0 GPU 1  H200  s1  {SOFTWARE}"
    assert re.split(r"  +", rate.strip()) == [
        CHECK, "bf16", "7", "790", "790", "760", "TFLOPS", "-3.8%", "-7.6", "regression",
    ]  # fmt: skip
    assert told.strip().startswith(f"regression: {CHECK}: bf16: must be at least 771")
    assert "▁" not in out
    assert verb(capsys, "--host", "h0", "--check", CHECK)[1].count("h0 GPU") == 2


def test_the_verb_tells_json(here, capsys):
    fill(here, [790.0] * 6 + [760.0])
    (told,) = [json.loads(verb(capsys, "--json")[1])]
    assert (told["format_version"], told["verb"]) == ("1.0", "history")
    assert told["validations"][0]["gpus"] == {"ok": 2}
    document = json.loads(verb(capsys, "--gpu", "s1", "--json")[1])
    (rate,) = [one for one in document["trends"] if one["name"] == "bf16"]
    assert rate["regression"] is True
    assert rate["bound"]["basis"] == "history"
    assert [point["value"] for point in rate["points"]][-2:] == [790.0, 760.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "s1", "--host", "h"], "exclude each other"),
        (["--check", "x"], "--check needs a part"),
        (["--gpu", "s1"], "no validation was kept"),
    ],
)
def test_the_verb_says_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setenv("AIPROV_HISTORY", str(tmp_path / "h"))
    with pytest.raises(UsageError, match=message) as caught:
        verb(capsys, *arguments)
    assert caught.value.exit_code == 1
    assert caught.value.hint


def test_looking_at_the_history_needs_no_right_to_write(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AIPROV_HISTORY", str(tmp_path / "h"))
    assert verb(capsys)[0] == 0
    assert list(tmp_path.iterdir()) == []
