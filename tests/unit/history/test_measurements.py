"""What was measured on a part is found by its serial number, and only what can be compared."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from aiprov import history
from aiprov.checks.fleet import judged
from aiprov.checks.model import Check, Subject
from aiprov.checks.validation import HostRun
from aiprov.errors import UsageError
from aiprov.history import database, measurements
from aiprov.history.measurements import load, moved, past, remember
from tests.unit.history.validations import (
    CHECK,
    SOFTWARE,
    check,
    gpu,
    software,
    validation,
)

KEY = ("s1", CHECK, "bf16")


def kept(place, made, told=SOFTWARE):
    assert remember(made, software(made, told), place) is None
    return made


def past_of(place, *subjects, told=SOFTWARE, campaign=""):
    found = past(
        subjects, {Subject(host=one.host): told for one in subjects}, campaign=campaign, place=place
    )
    assert not isinstance(found, UsageError), found
    return found


def count(place, table):
    with database.opened(place) as opened:
        return opened.rows(f"SELECT count(*) FROM {table}")[0][0]


def test_a_validation_is_found_again_whole(history_place):
    kept(history_place, validation(0, {gpu(1): 790.0}))
    made = kept(history_place, validation(1, {gpu(1): 791.0, gpu(9): None}))
    # Of what is no number JSON keeps the reason only, so documents are compared.
    assert load(place=history_place).document == made.document
    assert load(1, history_place).campaign == "campaign-0"
    with pytest.raises(UsageError, match="no validation 7 was kept"):
        load(7, history_place)


def test_an_empty_history_has_no_past(history_place):
    assert past_of(history_place, gpu(1)) == {}
    assert moved(validation(0, {gpu(1): 790.0}), history_place) == ()
    with pytest.raises(UsageError, match="no validation was kept"):
        load(place=history_place)


def test_the_past_is_of_the_asked_parts_oldest_first(history_place):
    for day, rate in ((2, 792.0), (0, 790.0), (1, 791.0)):
        kept(history_place, validation(day, {gpu(1): rate, gpu(2): 700.0}))
    found = past_of(history_place, gpu(1))
    assert found[KEY] == [790.0, 791.0, 792.0]
    assert {serial for serial, _, _ in found} == {"s1"}


def test_only_numbers_are_in_the_past(history_place):
    kept(history_place, validation(0, {gpu(1): 790.0}))
    assert {name for _, _, name in past_of(history_place, gpu(1))} == {"bf16", "faults"}


@pytest.mark.parametrize(
    "bad",
    [
        check(gpu(1), 500.0),  # failed
        check(gpu(1), 790.0, faults=3),  # fast and wrong
        check(gpu(1), None),
        replace(check(gpu(1), 790.0), error="the worker was killed"),
    ],
)
def test_what_was_not_ok_is_no_past(history_place, bad):
    kept(history_place, validation(0, {gpu(1): 790.0}))
    kept(history_place, validation(1, {}, bad))
    assert past_of(history_place, gpu(1))[KEY] == [790.0]


def test_a_check_that_failed_when_made_again_is_no_past(history_place):
    again = check(gpu(1), 500.0)
    kept(history_place, validation(0, {gpu(1): 790.0}, again))
    assert past_of(history_place, gpu(1)) == {}
    with database.opened(history_place) as opened:
        assert opened.rows("SELECT value, verdict FROM measured WHERE name = 'bf16'") == [
            (790.0, "failed")
        ]


def test_other_software_splits_the_past(history_place):
    for day in range(3):
        kept(history_place, validation(day, {gpu(1): 790.0 + day}))
    kept(history_place, validation(3, {gpu(1): 820.0}), "driver 590")
    assert past_of(history_place, gpu(1))[KEY] == [790.0, 791.0, 792.0]
    assert past_of(history_place, gpu(1), told="driver 590")[KEY] == [820.0]
    assert past_of(history_place, gpu(1), told="driver 600") == {}


def test_software_may_be_told_by_part(history_place):
    made = validation(0, {gpu(1): 790.0, gpu(2): 780.0})
    told = {**software(made), gpu(2): "another VBIOS"}
    assert remember(made, told, history_place) is None
    assert KEY in past_of(history_place, gpu(1))
    assert past_of(history_place, gpu(2)) == {}
    assert isinstance(past([gpu(1), gpu(2)], told, place=history_place), dict)
    assert {one for one, _, _ in past([gpu(1), gpu(2)], told, place=history_place)} == {"s1", "s2"}


def test_a_host_has_a_past_by_its_name(history_place):
    hosts = [Subject(host=name) for name in ("a", "b")]
    rates = {hosts[0]: 790.0, hosts[1]: 700.0}
    made = validation(0, {}, *(check(host, rate) for host, rate in rates.items()))
    kept(history_place, made)
    found = past_of(history_place, *hosts)
    assert {one: found[one, CHECK, "bf16"] for one in ("a", "b")} == {"a": [790.0], "b": [700.0]}


def test_a_long_past_is_its_beginning_and_its_end(history_place, monkeypatch):
    monkeypatch.setattr(measurements, "MOST_PAST", 8)
    for day in range(12):
        kept(history_place, validation(day, {gpu(1): 700.0 + day}))
    assert past_of(history_place, gpu(1))[KEY] == [700, 701, 702, 703, 704, 709, 710, 711]


def test_many_parts_are_asked_for_in_parts(history_place, monkeypatch):
    monkeypatch.setattr(measurements, "_AT_ONCE", 7)
    fleet = [gpu(number) for number in range(40)]
    kept(history_place, validation(0, {one: 700.0 + int(one.id[1:]) for one in fleet}))
    found = past_of(history_place, *fleet)
    assert [found[one.id, CHECK, "bf16"] for one in fleet] == [[700.0 + n] for n in range(40)]


def test_a_slow_card_is_judged_by_its_own_past(history_place):
    for day in range(6):
        kept(history_place, validation(day, {gpu(1): 790.0 + day % 2, gpu(2): 780.0}))
    known = past_of(history_place, gpu(1), gpu(2))
    result = judged([check(gpu(1), 760.0), check(gpu(2), 780.0)], [], {}, known)
    assert [one.verdict for one in result] == ["failed", "ok"]
    assert "history" in result[0].why[0]


# ---------------------------------------------------------------- campaigns and cards


def test_a_resumed_campaign_is_written_once(history_place):
    kept(history_place, validation(0, {gpu(1): 790.0}))
    kept(history_place, validation(1, {gpu(1): 500.0}))
    rows = {table: count(history_place, table) for table in ("subjects", "measurements")}
    kept(history_place, validation(1, {gpu(1): 791.0}))
    assert count(history_place, "validations") == 2
    assert {table: count(history_place, table) for table in rows} == rows
    assert past_of(history_place, gpu(1))[KEY] == [790.0, 791.0]
    assert load(2, history_place).verdict == "ok"


def test_a_campaign_is_not_its_own_past(history_place):
    kept(history_place, validation(0, {gpu(1): 790.0}))
    kept(history_place, validation(1, {gpu(1): 791.0}))
    assert past_of(history_place, gpu(1), campaign="campaign-1")[KEY] == [790.0]


def test_a_moved_card_is_told_and_keeps_its_past(history_place):
    kept(history_place, validation(0, {gpu(1): 790.0, gpu(2): 790.0}))
    now = validation(1, {gpu(1, "new"): 791.0, gpu(2): 790.0})
    for _ in range(2):  # before it is kept and after
        (one,) = moved(now, history_place)
        assert (one.subject, one.before) == (gpu(1, "new"), "h0")
        assert str(one) == "new GPU 1: H200 s1 was in h0 until 2026-01-01"
        kept(history_place, now)
    kept(history_place, validation(2, {gpu(1, "new"): 792.0}))
    assert moved(validation(3, {gpu(1, "new"): 792.0}), history_place) == ()
    assert past_of(history_place, gpu(1, "new"))[KEY] == [790.0, 791.0, 792.0]


def test_a_card_that_was_put_in_has_no_past(history_place):
    kept(history_place, validation(0, {gpu(1): 790.0}))
    swapped = replace(gpu(1), id="another")
    assert past_of(history_place, swapped) == {}
    assert moved(validation(1, {swapped: 790.0}), history_place) == ()


def test_injected_faults_are_not_kept(history_place):
    kept(history_place, validation(0, {gpu(1): 790.0}, self_test=True))
    assert past_of(history_place, gpu(1)) == {}
    with pytest.raises(UsageError, match="no validation was kept"):
        load(place=history_place)


def test_a_host_that_was_not_reached_is_kept_as_that(history_place):
    made = validation(0, {gpu(1): 790.0})
    lost = HostRun(host="gone", status="unreachable", message="no route")
    kept(history_place, replace(made, hosts=(*made.hosts, lost)))
    with database.opened(history_place) as opened:
        assert opened.rows("SELECT host, verdict FROM subjects WHERE kind = 'host'") == [
            ("gone", "not measured"),
            ("h0", "ok"),
        ]


# ---------------------------------------------------------------- what is kept how long


def test_old_documents_go_before_old_values(history_place, monkeypatch):
    monkeypatch.setattr(measurements, "KEPT_WHOLE", 2)
    monkeypatch.setattr(measurements, "KEPT_DAYS", 10)
    for day in (0, 5, 9, 10):
        kept(history_place, validation(day, {gpu(1): 790.0 + day}))
    assert past_of(history_place, gpu(1))[KEY] == [790.0, 795.0, 799.0, 800.0]
    assert load(3, history_place).campaign == "campaign-9"
    with pytest.raises(UsageError, match="of validation 2 only verdicts and values were kept"):
        load(2, history_place)
    kept(history_place, validation(11, {gpu(1): 801.0}))
    assert past_of(history_place, gpu(1))[KEY] == [795.0, 799.0, 800.0, 801.0]
    assert count(history_place, "subjects") == 2 * 4


def test_a_clock_far_ahead_does_not_empty_the_history(history_place):
    for day in range(3):
        kept(history_place, validation(day, {gpu(1): 790.0 + day}))
    kept(history_place, validation(50_000, {gpu(1): 793.0}))
    assert past_of(history_place, gpu(1))[KEY] == [790.0, 791.0, 792.0, 793.0]


def test_times_are_compared_whatever_their_zone(history_place):
    for at, rate in (
        ("2026-01-01T12:00:00+02:00", 790.0),
        ("2026-01-01T11:00:00Z", 791.0),
        ("2026-01-01T05:00:00-08:00", 792.0),
        ("2026-01-01T14:00:00", 793.0),
    ):
        kept(history_place, validation(0, {gpu(1): rate}, started=at, campaign=at))
    assert past_of(history_place, gpu(1))[KEY] == [790.0, 791.0, 792.0, 793.0]


# ---------------------------------------------------------------- others at the same time


def test_two_controllers_write_at_once(history_place):
    errors: list[object] = []
    both = threading.Barrier(2)

    def controller(first: int) -> None:
        both.wait()
        for day in range(first, first + 12):
            made = validation(day, {gpu(number): 790.0 for number in range(8)})
            errors.append(remember(made, software(made), history_place))
            history.record({"started": made.started, "verb": "plan"}, history_place)

    threads = [threading.Thread(target=controller, args=(first,)) for first in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(errors) == {None}
    assert len(past_of(history_place, gpu(1))[KEY]) == 24
    assert [number for number, _, _ in history.runs(history_place)] == list(range(24, 0, -1))


def test_two_controllers_write_one_campaign(history_place):
    def controller() -> None:
        for _ in range(8):
            kept(history_place, validation(0, {gpu(1): 790.0}))

    threads = [threading.Thread(target=controller) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert past_of(history_place, gpu(1))[KEY] == [790.0]


def test_a_controller_that_is_killed_while_writing_leaves_what_was(history_place):
    kept(history_place, validation(0, {gpu(1): 790.0}))
    killed = (
        "import os, sys; from pathlib import Path\n"
        "from aiprov.history.database import opened\n"
        "place = sys.argv[1] if '://' in sys.argv[1] else Path(sys.argv[1])\n"
        "with opened(place, write=True) as database:\n"
        "    database.rows('DELETE FROM measurements')\n"
        "    insert = 'INSERT INTO runs (id, started, verb, document) VALUES (:n, :t, :t, :t)'\n"
        "    database.each(insert, ({'n': n, 't': 'x' * 5000} for n in range(2000)))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", killed, str(history_place)], check=False)
    assert ended.returncode == -9
    assert past_of(history_place, gpu(1))[KEY] == [790.0]
    assert history.runs(history_place) == []
    kept(history_place, validation(1, {gpu(1): 791.0}))


def test_whatever_a_host_says_can_be_kept(history_place):
    odd = Subject(host="h0", kind="gpu", id="s\x00\udcff", label="GPU \udcff")
    kept(history_place, validation(0, {odd: 790.0, gpu(1): 790.0}))
    assert past_of(history_place, gpu(1))[KEY] == [790.0]
    with database.opened(history_place) as opened:
        assert ("s??",) in opened.rows("SELECT serial FROM subjects")


def test_a_history_that_fails_is_an_answer(tmp_path):
    path = tmp_path / "h.sqlite3"
    path.write_bytes(b"not a database at all " * 500)
    made = validation(0, {gpu(1): 790.0})
    for answer in (
        remember(made, software(made), path),
        past([gpu(1)], {}, place=path),
        moved(made, path),
    ):
        assert isinstance(answer, UsageError)
        assert "move it away" in (answer.hint or "")


def test_a_history_of_another_kind_is_an_answer(monkeypatch):
    monkeypatch.setenv("AIPROV_HISTORY", "mysql://h/d")
    assert isinstance(remember(validation(0, {}, Check(name="x", subject=gpu(1))), {}), UsageError)


def test_what_fails_halfway_leaves_nothing(history_place, monkeypatch):
    kept(history_place, validation(0, {gpu(1): 790.0}))
    monkeypatch.setattr(measurements, "_forget", lambda opened: opened.rows("nonsense"))
    made = validation(0, {gpu(1): 700.0, gpu(2): 700.0})
    assert isinstance(remember(made, software(made), history_place), UsageError)
    assert past_of(history_place, gpu(1), gpu(2)).keys() == {KEY, ("s1", CHECK, "faults")}
