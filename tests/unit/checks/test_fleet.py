"""Two stages over a whole fleet of checks: the slow are failed, the unlucky are acquitted."""

from __future__ import annotations

import random

import pytest

from aiprov.checks.fleet import judged, to_measure_again
from aiprov.checks.model import Bound, Check, Measurement, Planned, Subject, verdict_of

NONE = Bound(relation="at most", value=0, basis="exact")
FLOOR = Bound(relation="at least", value=600.0, basis="physics")


def gpu(number: int) -> Subject:
    return Subject(host=f"h{number // 8}", kind="gpu", id=f"s{number}", label=f"GPU {number % 8}")


def check(subject: Subject, rate: float | None, faults: int = 0) -> Check:
    return Check(
        name="products bf16 A",
        subject=subject,
        measurements=(
            Measurement(name="faults", value=faults, bounds=(NONE,)),
            Measurement(name="bf16", value=rate, unit="TFLOPS", bounds=(FLOOR,)),
        ),
    )


def fleet(count: int, seed: int = 1, **rates: float) -> tuple[list[Check], dict[Subject, str]]:
    rng = random.Random(seed)
    checks = [
        check(gpu(number), rates.get(f"g{number}", rng.gauss(790, 3))) for number in range(count)
    ]
    return checks, {gpu(number): "H200" for number in range(count)}


def failed(checks: tuple[Check, ...]) -> set[Subject]:
    return {item.subject for item in checks if item.verdict == "failed"}


def test_a_slow_gpu_is_measured_again_and_fails():
    checks, models = fleet(64, g9=750.0)
    again = to_measure_again(checks, models)
    assert Planned(name="products bf16 A", subject=gpu(9)) in again
    assert len(again) <= 2
    second = [check(item.subject, 751.0 if item.subject == gpu(9) else 790.0) for item in again] * 3
    assert failed(judged(checks, second, models)) == {gpu(9)}


def test_one_that_was_slow_once_is_acquitted():
    checks, models = fleet(64, g9=750.0)
    second = [check(gpu(9), rate) for rate in (789.0, 752.0, 791.0)]
    result = judged(checks, second, models)
    assert verdict_of(result) == "ok"
    (own,) = [item for item in result if item.subject == gpu(9)]
    assert own.measurements[1].value == 789.0


@pytest.mark.parametrize("turns", [(750.0, 790.0, 790.0), (790.0, 790.0, 750.0)])
def test_of_several_turns_any_is_measured_again_and_none_stands_for_the_others(
    turns: tuple[float, ...],
):
    checks, models = fleet(64)
    own = [check(gpu(9), rate) for rate in turns]
    every = [*(one for one in checks if one.subject != gpu(9)), *own]
    assert Planned(name="products bf16 A", subject=gpu(9)) in to_measure_again(every, models)
    good = [check(gpu(9), rate) for rate in (789.0, 752.0, 791.0)]
    assert verdict_of(judged(every, good, models)) == "ok"
    bad = [check(gpu(9), rate) for rate in (751.0, 752.0, 791.0)]
    assert failed(judged(every, bad, models)) == {gpu(9)}


def test_what_fails_by_physics_is_not_excused_by_being_faster_later():
    checks, models = fleet(64, g9=500.0)
    assert failed(judged(checks, [check(gpu(9), 790.0)] * 3, models)) == {gpu(9)}


def test_a_fault_of_the_second_stage_stays_found():
    checks, models = fleet(64, g9=750.0)
    second = [check(gpu(9), 790.0, faults=1)]
    assert failed(judged(checks, second, models)) == {gpu(9)}


def test_the_fleet_takes_no_other_bound_away():
    checks, models = fleet(64)
    slow = [check(item.subject, 500.0) for item in checks]
    assert len(failed(judged(slow, [], models))) == 64  # equally slow, and slower than physics


def test_models_are_compared_among_themselves():
    checks, models = fleet(24)
    a100 = [check(gpu(number), random.Random(number).gauss(640, 2)) for number in range(24, 48)]
    models |= {item.subject: "A100" for item in a100}
    assert not [one for one in to_measure_again([*checks, *a100], models) if one.subject == gpu(30)]
    assert verdict_of(judged([*checks, *a100], [], models)) == "ok"


def test_too_few_gpus_are_said_to_be_too_few():
    checks, models = fleet(3)
    (first, *_) = judged(checks, [], models)
    assert first.verdict == "ok"
    assert first.not_tested == ("bf16 against the fleet: fewer than 5 of the model have a value",)


def test_what_was_not_measured_stays_so():
    checks, models = fleet(64)
    checks[5] = check(gpu(5), None)
    result = judged(checks, [], models)
    assert result[5].verdict == "not measured"
    assert verdict_of(result) == "not measured"


def test_a_gpu_that_got_worse_fails_by_its_own_past():
    checks, models = fleet(3, g1=760.0)
    rng = random.Random(4)
    past = {
        (f"s{number}", "products bf16 A", "bf16"): [rng.gauss(790, 2) for _ in range(8)]
        for number in range(3)
    }
    result = judged(checks, [], models, past)
    assert failed(result) == {gpu(1)}
    assert "history" in result[1].why[0]
