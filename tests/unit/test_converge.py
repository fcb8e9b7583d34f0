"""One host on its way, in memory: stages, verification, putting back, errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from aiprov.converge import UNTOLD_PAUSE_S, UNTOLD_S, Convergence, Event, HostApi, HostResult
from aiprov.engines.simulate import SimulateEngine
from aiprov.errors import UnreachableError
from aiprov.outcome import Outcome
from aiprov.plan import Change, Desired
from aiprov.resources import (
    Command,
    File,
    HostState,
    Merge,
    Package,
    Resource,
    Service,
    State,
    Succeeds,
)
from aiprov.wanted import Wanted
from tests.unit.test_planner import CONFIG, FRESH, RUNNING, SERVICE, file_state

FACTS = None  # the wants of these tests do not look at facts


class Quiet:
    """A session that nobody talks to: state comes from the engine's memory."""

    host = "h"

    def ask(self, request):
        raise AssertionError("not asked")

    def close(self):
        pass


def run(
    resources: Sequence[Resource],
    engine,
    *,
    look=None,
    connect=Quiet,
    plan_only=False,
    stopping=lambda: False,
    **time,
) -> tuple[HostResult, list[Event]]:
    events: list[Event] = []
    api = HostApi(
        connect=connect,
        read_facts=lambda session: FACTS,
        read_state=lambda session, facts, wanted: look() if look else engine.state,
    )
    desired = [Desired(role="r", resource=resource) for resource in resources]
    made = Convergence(
        host="h",
        api=api,
        wants=lambda facts: Wanted(desired=desired),
        engine=None if plan_only else engine,
        listener=events.append,
        stopping=stopping,
        **time,
    )
    return made.run(), events


class Failing(SimulateEngine):
    """Fails the first change of an address, as a daemon that does not come back."""

    def __init__(self, state, address: str) -> None:
        super().__init__(state)
        self.address = address
        self.seen: list[Change] = []

    def apply(self, changes, listener):
        outcomes = []
        for number, change in enumerate(changes):
            listener(change)
            self.seen.append(change)
            if change.address == self.address and change.reason != "with its former files":
                outcomes.append(Outcome(change=change, status="failed", message="it said no"))
                rest = [Outcome(change=one, status="not run") for one in changes[number + 1 :]]
                return [*outcomes, *rest]
            outcomes += super().apply([change], lambda one: None)
        return outcomes


OLD = {"File[/etc/x.conf]": file_state("old\n"), "Service[x.service]": RUNNING}


def test_nothing_to_do():
    state = {"File[/etc/x.conf]": file_state("new\n"), "Service[x.service]": RUNNING}
    result, _ = run([CONFIG, SERVICE], SimulateEngine(state))
    assert result.status == "unchanged"
    assert result.changed == 0


def test_a_plan_makes_nothing():
    engine = SimulateEngine(OLD)
    result, _ = run([CONFIG, SERVICE], engine, plan_only=True)
    assert result.status == "pending"
    assert engine.state == OLD


def test_a_host_is_brought_there_and_events_tell_of_it():
    result, events = run([CONFIG, SERVICE], SimulateEngine(OLD))
    assert result.status == "changed"
    assert result.error is None
    assert [event.text for event in events if event.step == "change"] == [
        "r: File[/etc/x.conf]",
        "r: Service[x.service]",
        "aiprov: Absent[/etc/x.conf.aiprov-previous]",
    ]
    assert events[-1].step == "end"


def test_stages_follow_each_other_until_nothing_is_unknown():
    merge = File(
        path="/etc/d.json", content=Merge(format="json", values={"a": 1}), delivered_by="d"
    )
    state = {**FRESH, "Package[d]": {"version": None, "candidates": ["1"]}}
    result, _ = run([Package(name="d"), merge], SimulateEngine(state))
    assert result.status == "changed"
    assert result.stages == 2


def test_what_was_applied_but_is_not_so_is_a_failure():
    absent = {"File[/etc/x.conf]": {"type": "absent"}}
    result, _ = run([CONFIG], SimulateEngine({}), look=lambda: absent)
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.exit_code == 3
    assert "was applied, but" in result.error.message


# ---------------------------------------------------------------- questions that nobody answers

NO: State = {"done": False, "said": ["node cp1 is not there"]}
UNTOLD: State = {"done": False, "said": ["10.0.0.1:6443: timed out"], "untold": True}
DONE: State = {"done": True}


def asked(
    *answers: State,
    patience_s: float = 60,
    other: State | None = None,
    waits: bool = False,
    survey_s: float = 0,
    **more,
):
    """A command whose question has these answers, one a survey; the last stays.

    How it ended, and how often was waited. ``waits``: the other command comes after it. A survey
    takes ``survey_s``.
    """
    question = Succeeds(argv=("applied",), patience_s=patience_s)
    left = iter(answers)
    now = [NO]
    surveys: list[float] = []

    def look() -> HostState:
        surveys.append(survey_s)
        now[0] = next(left, now[0])
        return {"Command[add-on]": now[0], "Command[else]": other or DONE}

    commands = [
        Command(name="add-on", argv=("x",), unless=question),
        Command(
            name="else",
            argv=("x",),
            unless=question,
            waits_for=("Command[add-on]",) if waits else (),
        ),
    ]
    waited: list[float] = []
    result, _ = run(
        commands,
        Blind({}),
        look=look,
        clock=lambda: sum(waited + surveys),
        pause=waited.append,
        **more,
    )
    return result, len(waited)


class Blind(SimulateEngine):
    """Says that all is done, and remembers nothing."""

    def apply(self, changes, listener):
        return [Outcome(change=change, status="done") for change in changes]


def test_whoever_is_away_for_a_moment_is_asked_again():
    result, waited = asked(NO, UNTOLD, UNTOLD, DONE)
    assert (result.status, waited) == ("changed", 2)
    assert result.changed == 1


def test_whoever_stays_away_is_told():
    result, waited = asked(NO, UNTOLD, patience_s=60)
    assert result.status == "failed"
    assert waited == 60 / UNTOLD_PAUSE_S
    assert result.error is not None
    assert result.error.exit_code == 3
    assert "there is no telling whether it is so:\n10.0.0.1:6443: timed out" in str(result.error)


def test_who_interrupts_does_not_wait():
    asked_to_stop = iter([False, True])
    result, waited = asked(NO, UNTOLD, stopping=lambda: next(asked_to_stop))
    assert (result.status, waited) == ("failed", 0)


def test_what_could_not_be_told_is_no_change_when_it_is():
    result, waited = asked(UNTOLD, UNTOLD, DONE)
    assert (result.status, waited) == ("unchanged", 2)


def test_what_comes_after_what_could_not_be_told_is_no_change_either():
    result, waited = asked(UNTOLD, UNTOLD, DONE, waits=True)
    assert (result.status, waited) == ("unchanged", 2)


def test_what_a_slow_survey_could_not_tell_is_asked_again():
    result, waited = asked(UNTOLD, DONE, survey_s=UNTOLD_S)
    assert (result.status, waited) == ("unchanged", 1)


def test_what_cannot_be_told_for_long_is_made_so():
    result, waited = asked(*[UNTOLD] * (1 + int(UNTOLD_S / UNTOLD_PAUSE_S)), DONE)
    assert (result.status, result.changed) == ("changed", 1)
    assert waited == UNTOLD_S / UNTOLD_PAUSE_S


def test_a_plain_no_is_not_waited_for():
    result, waited = asked(NO)
    assert (result.status, waited) == ("failed", 0)
    assert "still says:\nnode cp1 is not there" in str(result.error)


def test_what_is_certain_is_told_at_once():
    result, waited = asked(NO, UNTOLD, other=NO)
    assert (result.status, waited) == ("failed", 0)
    assert "Command[else] was applied, but the host still says" in str(result.error)


def test_resources_that_undo_each_other_come_to_an_end():
    flips = iter(range(100))

    def restless():
        text = "new\n" if next(flips) % 2 else "old\n"
        digest = sha256(text.encode()).hexdigest()
        return {"File[/etc/x.conf]": {**file_state(text), "sha256": digest}}

    other = File(path="/etc/y", content="y")
    result, _ = run([CONFIG, other], Blind({}), look=restless)
    assert result.status == "failed"


def test_a_service_that_does_not_come_back_gets_its_former_file():
    engine = Failing(OLD, "Service[x.service]")
    result, events = run([CONFIG, SERVICE], engine)
    assert result.status == "failed"
    assert result.error is not None
    assert "/etc/x.conf was put back as it was, and x.service runs with it" in result.error.message
    assert [change.address for change in engine.seen[2:]] == [
        "Command[put back /etc/x.conf]",
        "Service[x.service]",
    ]
    assert any(event.step == "rollback" for event in events)


def test_a_host_that_is_lost_while_its_file_is_put_back_tells_both():
    class Lost(Failing):
        def apply(self, changes, listener):
            if any(change.undo for change in changes):
                raise UnreachableError("h", "no route")
            return super().apply(changes, listener)

    result, _ = run([CONFIG, SERVICE], Lost(OLD, "Service[x.service]"))
    assert result.status == "failed"
    assert result.error is not None
    assert "Service[x.service]: it said no" in result.error.message
    assert "putting back /etc/x.conf failed too: no route" in result.error.message


def test_a_failure_without_a_service_is_not_rolled_back():
    other = File(path="/etc/other", content="x")
    result, _ = run([CONFIG, other], Failing({}, "File[/etc/other]"))
    assert result.status == "failed"
    assert result.rolled_back == ()
    assert [outcome.status for outcome in result.outcomes] == ["done", "failed"]


def test_what_a_host_says_has_no_passwords_of_urls():
    class Loud(SimulateEngine):
        def apply(self, changes, listener):
            said = "curl: (7) via http://me:hunter2@proxy:3128"
            return [Outcome(change=change, status="failed", message=said) for change in changes]

    result, _ = run([CONFIG], Loud({}))
    assert result.error is not None
    assert "http://me:***@proxy:3128" in result.error.message
    assert "hunter2" not in repr(result)


def test_an_unreachable_host_is_a_result():
    def connect():
        raise UnreachableError("h", "no route", hint="is it up?")

    result, _ = run([CONFIG], SimulateEngine({}), connect=connect)
    assert result.status == "unreachable"
    assert result.error is not None
    assert result.error.exit_code == 4


def test_a_defect_is_told_and_stays_with_its_host():
    def look():
        raise KeyError("oops")

    result, _ = run([CONFIG], SimulateEngine({}), look=look)
    assert result.status == "failed"
    assert result.error is not None
    assert "KeyError" in result.error.message
    assert "report it" in (result.error.hint or "")


def test_a_stopped_service_is_started_where_it_stands():
    stopped = {**RUNNING, "running": False}
    state = {"File[/etc/x.conf]": file_state("new\n"), "Service[x.service]": stopped}
    service = Service(name="x.service", running=True)
    result, _ = run([CONFIG, service], SimulateEngine(state))
    assert [outcome.change.after.get("restart") for outcome in result.outcomes] == [None]


def test_an_interrupted_host_is_left_between_stages():
    result, _ = run([CONFIG], SimulateEngine({}), stopping=lambda: True)
    assert result.status == "failed"
    assert result.outcomes == ()
    assert result.error is not None
    assert "interrupted before anything was changed" in result.error.message


# ---------------------------------------------------------------- packages that fail as a set


class FailingTransaction(SimulateEngine):
    """Fails every package of a transaction to the versions named, as dkms does in a postinst."""

    def __init__(self, state, bad: str) -> None:
        super().__init__(state)
        self.bad = bad
        self.undone: list[tuple[str, object]] = []

    def apply(self, changes: Sequence[Change], listener):
        if any(self.bad in str(change.after.get("version")) for change in changes):
            first, *others = changes
            return [
                Outcome(change=first, status="failed", message="make: *** Error 2"),
                *(Outcome(change=change, status="failed") for change in others),
            ]
        self.undone += [(c.address, c.after.get("version")) for c in changes if c.undo]
        return super().apply(changes, listener)


def driver(*names: str) -> list[Package]:
    return [Package(name=name, version="595", together="the driver") for name in names]


def installed(*versions: str | None) -> dict:
    offers = ["595.91-1", "580.95-1"]
    return {
        **FRESH,
        **{
            f"Package[{name}]": {"version": version, "hold": False, "candidates": offers}
            for name, version in zip("abcdef", versions, strict=False)
        },
    }


def test_a_set_that_fails_gets_its_former_versions_back():
    engine = FailingTransaction(installed("580.95-1", "580.95-1", None), bad="595")
    result, _ = run(driver("a", "b", "c"), engine)
    assert result.status == "failed"
    assert engine.undone == [
        ("Package[a]", "580.95-1"),
        ("Package[b]", "580.95-1"),
        ("Package[c]", None),
    ]
    assert "the driver was put back at its former versions" in result.error.message
    assert result.rolled_back == ("Package[a]", "Package[b]", "Package[c]")


def test_a_pin_that_decided_about_a_set_is_put_back_before_it():
    names = ("pin-580", "pin-595")
    pins = [Package(name="pin-580", absent=True), Package(name="pin-595")]
    waits_for = tuple(f"Package[{name}]" for name in names)
    members = [replace(item, waits_for=waits_for) for item in driver("a", "b")]
    state = {
        **installed("580.95-1", "580.95-1"),
        "Package[pin-580]": {"version": "580-1", "hold": False, "candidates": ["580-1"]},
        "Package[pin-595]": {"version": None, "hold": False, "candidates": ["595-1"]},
    }
    engine = FailingTransaction(state, bad="595.91")
    result, _ = run([*pins, *members], engine)
    assert result.status == "failed"
    assert engine.undone == [
        ("Package[pin-580]", "580-1"),
        ("Package[pin-595]", None),
        ("Package[a]", "580.95-1"),
        ("Package[b]", "580.95-1"),
    ]
    assert "the driver was put back at its former versions" in result.error.message


def test_a_first_installation_that_fails_is_gone_on_with():
    engine = FailingTransaction(installed(None, None), bad="595")
    result, _ = run(driver("a", "b"), engine)
    assert result.status == "failed"
    assert engine.undone == []
    assert result.rolled_back == ()


def test_what_a_set_had_brought_along_is_put_back_with_it():
    state = installed("580.95-1", "580.95-1")
    state["Package[a]"]["companions"] = {"a": "580.95-1", "lib": "580.95-1"}
    engine = FailingTransaction(state, bad="595")
    run(driver("a", "b"), engine)
    assert ("Package[lib]", "580.95-1") in engine.undone
    assert [name for name, _ in engine.undone].count("Package[a]") == 1
