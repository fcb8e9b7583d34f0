"""Verdicts: nothing is ok by absence, and what is written is what is read."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.checks.document import checks_from, document
from aiprov.checks.model import (
    MOST_CHARACTERS,
    VERDICTS,
    Bound,
    Check,
    Evidence,
    Measurement,
    Planned,
    Subject,
    by_subject,
    complete,
    verdict_of,
    worst,
)
from aiprov.errors import UsageError

GPU = Subject(host="a", kind="gpu", id="1650223001234", label="GPU 0")
FLOOR = Bound(relation="at least", value=700.0, basis="physics", reason="88 % of 794.5")
NONE = Bound(relation="at most", value=0, basis="exact")


def speed(value: float | None, **other: Any) -> Measurement:
    return Measurement(name="bf16", value=value, unit="TFLOPS", bounds=(FLOOR,), **other)


MEASUREMENTS: dict[str, tuple[Measurement, str, float | None]] = {
    "inside": (speed(770.0), "ok", 0.1),
    "on the bound": (speed(700.0), "ok", 0.0),
    "outside": (speed(350.0), "failed", -0.5),
    "no value": (speed(None, reason="nvidia-smi is not there"), "not measured", None),
    "not a number": (speed(math.nan), "not measured", None),
    "endless": (speed(math.inf), "not measured", None),
    "without a bound": (Measurement(name="x", value=1), "not measured", None),
    "only recorded": (Measurement(name="x", value=1, required=False), "ok", None),
    "no faults": (Measurement(name="faults", value=0, bounds=(NONE,)), "ok", 0.0),
    "faults": (Measurement(name="faults", value=3, bounds=(NONE,)), "failed", -3.0),
    "inside one of two": (
        Measurement(name="t", value=90, bounds=(FLOOR, NONE)), "failed", -90.0,
    ),
    "the same text": (
        Measurement(name="driver", value="580.95.05", bounds=(
            Bound(relation="exactly", value="580.95.05", basis="expectation"),)), "ok", None,
    ),
    "another text": (
        Measurement(name="driver", value="570.1", bounds=(
            Bound(relation="exactly", value="580.95.05", basis="expectation"),)), "failed", None,
    ),
    "a text for a number": (
        Measurement(name="faults", value="[N/A]", bounds=(NONE,)), "not measured", None,
    ),
    "a number for a truth": (
        Measurement(name="ecc", value=1, bounds=(
            Bound(relation="exactly", value=True, basis="expectation"),)), "not measured", None,
    ),
    "a text in order": (
        Measurement(name="vbios", value="97", bounds=(
            Bound(relation="at least", value="96", basis="expectation"),)), "not measured", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_is_judged_by_its_bounds(name: str):
    item, verdict, margin = MEASUREMENTS[name]
    assert item.verdict == verdict
    assert item.margin == (pytest.approx(margin) if margin is not None else None)
    assert bool(item.why) == (verdict != "ok")


def test_why_names_value_bound_and_basis():
    assert speed(612.5).why == (
        "bf16: 612.5 TFLOPS, must be at least 700 TFLOPS (physics: 88 % of 794.5)"
    )
    assert speed(None, reason="the worker was killed").why == (
        "bf16: not measured: the worker was killed"
    )


CHECKS: dict[str, tuple[Check, str]] = {
    "good": (Check(name="gemm", subject=GPU, measurements=(speed(770.0),)), "ok"),
    "empty": (Check(name="gemm", subject=GPU), "not measured"),
    "only recorded": (
        Check(name="gemm", subject=GPU,
              measurements=(Measurement(name="x", value=1, required=False),)), "not measured"),
    "crashed after good numbers": (
        Check(name="gemm", subject=GPU, measurements=(speed(770.0),), error="killed by 9"),
        "not measured"),
    "crashed after bad numbers": (
        Check(name="gemm", subject=GPU, measurements=(speed(1.0),), error="killed by 9"),
        "failed"),
    "one is missing": (
        Check(name="gemm", subject=GPU, measurements=(speed(770.0), speed(None))), "not measured"),
    "one failed, one is missing": (
        Check(name="gemm", subject=GPU, measurements=(speed(1.0), speed(None))), "failed"),
    "an optional one is missing": (
        Check(name="gemm", subject=GPU,
              measurements=(speed(770.0),
                            Measurement(name="x", value=None, required=False))), "ok"),
    "an optional one has bounds and is missing": (
        Check(name="gemm", subject=GPU,
              measurements=(speed(770.0), speed(None, required=False))), "not measured"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_is_ok_only_when_all_was_judged(name: str):
    check, verdict = CHECKS[name]
    assert check.verdict == verdict
    assert bool(check.why) == (verdict != "ok")


def test_nothing_is_not_measured():
    assert worst([]) == "not measured"
    assert verdict_of([]) == "not measured"


def test_what_was_planned_and_did_not_come_is_not_measured():
    good = Check(name="gemm", subject=GPU, measurements=(speed(770.0),))
    other = Subject(host="a", kind="gpu", id="2", label="GPU 1")
    planned = [Planned(name="gemm", subject=GPU), Planned(name="gemm", subject=other)]
    assert verdict_of([good]) == "ok"
    checks = complete(planned, [good])
    assert [check.subject for check in checks] == [GPU, other]
    assert verdict_of(checks) == "not measured"
    assert len(complete([*planned, planned[0]], [good])) == 3  # planned twice, made once
    assert complete([], [good]) == (good,)
    assert by_subject(checks) == {
        Subject(host="a"): "not measured", GPU: "ok", other: "not measured",
    }  # fmt: skip


def test_a_host_is_as_bad_as_its_worst_part():
    bad = Check(name="gemm", subject=GPU, measurements=(speed(1.0),))
    host = Check(name="kernel log", subject=Subject(host="a"), error="no right to read it")
    assert by_subject([bad, host])[Subject(host="a")] == "failed"


def test_long_evidence_keeps_its_end_and_the_hash_of_all():
    raw = "x" * MOST_CHARACTERS + "\nthe error \udcff"
    found = Evidence.of("dmesg", raw)
    assert found.text.endswith("the error \udcff")
    assert len(found.text) == MOST_CHARACTERS
    assert found.size == MOST_CHARACTERS + len("\nthe error ") + 1
    assert found.sha256 != Evidence.of("dmesg", found.text).sha256


# ---------------------------------------------------------------- combinations, whatever they are

NUMBERS = st.one_of(
    st.integers(-1000, 1000), st.floats(allow_nan=False, allow_infinity=False, width=32)
)
SCALARS = st.one_of(st.booleans(), NUMBERS, st.text(max_size=5))
BOUNDS = st.builds(
    Bound,
    relation=st.sampled_from(["at least", "at most", "exactly"]),
    value=SCALARS,
    basis=st.sampled_from(["exact", "fleet"]),
    reason=st.text(max_size=5),
)
ITEMS = st.builds(
    Measurement,
    name=st.text(min_size=1, max_size=5),
    value=st.one_of(st.none(), SCALARS),
    bounds=st.lists(BOUNDS, max_size=2).map(tuple),
    required=st.booleans(),
    reason=st.text(max_size=5),
)
SUBJECTS = st.builds(
    Subject, host=st.sampled_from("ab"), kind=st.sampled_from(["gpu", "link"]),
    id=st.sampled_from("12"),
)  # fmt: skip
ANY = st.builds(
    Check,
    name=st.sampled_from(["gemm", "memory"]),
    subject=SUBJECTS,
    measurements=st.lists(ITEMS, max_size=3).map(tuple),
    error=st.sampled_from(["", "killed"]),
    evidence=st.lists(
        st.builds(Evidence.of, st.just("dmesg"), st.text(max_size=5)), max_size=1
    ).map(tuple),
    seconds=st.integers(0, 9).map(float),
)


@settings(deadline=None)
@given(ANY)
def test_ok_means_that_something_was_judged_and_all_of_it_holds(check: Check):
    assert check.verdict in VERDICTS
    if check.verdict == "ok":
        assert not check.error
        judged = [item for item in check.measurements if item.bounds]
        assert judged
        for item in judged:
            assert item.value is not None
            assert all(bound.holds(item.value) for bound in item.bounds)
        assert all(item.value is not None for item in check.measurements if item.required)


@settings(deadline=None)
@given(st.lists(ANY, max_size=4), ANY)
def test_another_check_never_makes_a_verdict_better(checks: list[Check], more: Check):
    if checks:
        before = VERDICTS.index(verdict_of(checks))
        assert VERDICTS.index(verdict_of([*checks, more])) <= before


@settings(deadline=None)
@given(st.lists(ANY, max_size=4))
def test_what_is_written_is_read(checks: list[Check]):
    written = json.loads(json.dumps(document(checks), sort_keys=True))
    read = checks_from({**written, "some_day": "more"})
    assert sorted(map(repr, read)) == sorted(map(repr, checks))


def test_a_number_that_json_has_not_is_told_as_a_reason():
    check = Check(name="gemm", subject=GPU, measurements=(speed(math.nan),))
    (read,) = checks_from(json.loads(json.dumps(document([check]), allow_nan=False)))
    assert read.measurements[0].value is None
    assert read.measurements[0].reason == "nan is no finite number"
    assert read.verdict == "not measured"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.update(format_version="2.0"), "format_version '2.0' cannot be read"),
        (lambda told: told.pop("format_version"), "format_version None cannot be read"),
        (lambda told: told.update(verdict="ok"), "the document says 'ok', its checks 'failed'"),
        (lambda told: told["checks"][0].update(verdict="ok"), "its numbers 'failed'"),
        (lambda told: told["checks"][0].pop("measurements"), "makes no sense"),
        (lambda told: told.update(checks=None), "makes no sense"),
        (lambda told: told.update(checks=[]), "its checks 'not measured'"),
    ],
)  # fmt: skip
def test_a_document_that_is_not_what_its_numbers_say_is_refused(change: Any, message: str):
    told = document([Check(name="gemm", subject=GPU, measurements=(speed(1.0),))])
    change(told)
    with pytest.raises(UsageError, match=message):
        checks_from(told)
