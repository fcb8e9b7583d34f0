"""One host from what it is to what it should be: survey, plan, apply, survey again, stage by stage.

The same function serves ``aiprov apply`` and the Ansible action plugin. Success is re-read from the
host, never taken from an exit code.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from aiprov.diff import holds
from aiprov.errors import ApplyError, HostError, UnreachableError, VerificationError
from aiprov.outcome import HINT, Engine, Outcome
from aiprov.plan import Change, HostPlan
from aiprov.planner import plan as make_plan
from aiprov.resources import Command, HostState, Reboot, Resource, State, Succeeds
from aiprov.shown import without_passwords
from aiprov.survey import Session
from aiprov.survey.facts import Facts
from aiprov.undo import came_back, undoing, undoing_before
from aiprov.wanted import Wanted

MAX_STAGES = 16
"""More stages than this means that a role's resources never come to rest."""

UNTOLD_S = 30.0
"""For how long a host is surveyed again of which nothing differs but what could not be told."""

UNTOLD_PAUSE_S = 3.0
"""Between two such surveys."""

Step = Literal[
    "begin", "interrupted", "connect", "survey", "plan", "change", "rollback", "verify", "end"
]

HostStatus = Literal["unchanged", "pending", "changed", "failed", "unreachable"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """What is going on with a host, for whoever shows progress. ``number`` of ``total`` changes.

    ``begin`` (of ``total`` hosts) and ``interrupted`` are of the whole run, not of a host.
    """

    host: str
    step: Step
    stage: int = 1
    number: int = 0
    total: int = 0
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class HostResult:
    """What became of one host. ``plan`` is the first one made, ``outcomes`` all that was done."""

    host: str
    status: HostStatus
    plan: HostPlan | None = None
    facts: Facts | None = None
    outcomes: tuple[Outcome, ...] = ()
    rolled_back: tuple[str, ...] = ()
    stages: int = 0
    error: HostError | VerificationError | None = None
    seconds: float = 0.0

    @property
    def changed(self) -> int:
        """How many changes were made."""
        return sum(outcome.status == "done" for outcome in self.outcomes)


class HostApi:
    """What ``converge`` needs of a host: a way to survey it, before and after a reboot too."""

    def __init__(
        self,
        connect: Callable[[], Session],
        read_facts: Callable[[Session], Facts],
        read_state: Callable[[Session, Facts, Sequence[Resource]], HostState],
    ) -> None:
        self._connect = connect
        self._read_facts = read_facts
        self._read_state = read_state
        self._session: Session | None = None

    def facts(self) -> Facts:
        """What the host is."""
        return self._read_facts(self._opened())

    def state(self, facts: Facts, resources: Sequence[Resource]) -> HostState:
        """What is on the host, of what the resources speak of."""
        return self._read_state(self._opened(), facts, resources)

    def _opened(self) -> Session:
        if self._session is None:
            self._session = self._connect()
        return self._session

    def close(self) -> None:
        """End the session; the next question opens a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None


@dataclass(kw_only=True)
class Convergence:
    """One host on its way. ``engine`` is ``None`` where only the plan is asked for.

    ``stopping`` is asked before each stage, and while nobody can tell whether the last one was a
    success: once it says yes, the host is left as it is. ``clock`` and ``pause`` are time's.
    """

    host: str
    api: HostApi
    wants: Callable[[Facts], Wanted]
    engine: Engine | None
    listener: Callable[[Event], None]
    stopping: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    facts: Facts | None = None
    first_plan: HostPlan | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    rolled_back: list[str] = field(default_factory=list)
    stage: int = 0

    def run(self) -> HostResult:
        """Plan the host and, with an engine, bring it there. Never raises ``HostError``."""
        began = time.monotonic()
        error: HostError | VerificationError | None = None
        try:
            status = self._run()
        except UnreachableError as problem:
            status, error = "unreachable", problem
        except (HostError, VerificationError) as problem:
            status, error = "failed", problem
        except Exception as defect:  # noqa: BLE001  a defect met on one host must not end the others
            status, error = "failed", _defect(self.host, defect)
        finally:
            self.api.close()
        self._tell("end", text=status)
        return HostResult(
            host=self.host,
            status=status,
            plan=self.first_plan,
            facts=self.facts,
            outcomes=tuple(self.outcomes),
            rolled_back=tuple(self.rolled_back),
            stages=self.stage,
            error=error,
            seconds=time.monotonic() - began,
        )

    def _run(self) -> HostStatus:
        self._tell("connect")
        plan = self._told_plan()
        self.first_plan = plan
        if plan.empty:
            return "unchanged"
        if self.engine is None:
            return "pending"
        while not plan.empty:
            if self.stopping():
                done = f"after stage {self.stage}" if self.stage else "before anything was changed"
                raise HostError(self.host, f"interrupted {done}", hint="run it again to go on")
            self.stage += 1
            if self.stage > MAX_STAGES:
                raise self._never_rests(plan)
            self._apply(self.engine, plan)
            plan = self._verified(plan)
        return "changed"

    # ------------------------------------------------------------ survey and plan

    def _told_plan(self) -> HostPlan:
        """The plan. Where all of it is what nobody could tell, that is asked again for a while.

        What is unknown because of that, as what comes after it, is found out with it.
        """
        plan, _ = self._plan()
        end = self.clock() + UNTOLD_S  # from here on: a survey that is slow is looked at again, too
        while _all_untold(plan) and self.clock() < end and not self.stopping():
            self.pause(UNTOLD_PAUSE_S)
            plan, _ = self._plan()
        return plan

    def _plan(self) -> tuple[HostPlan, HostState]:
        self._tell("survey")
        if self.facts is None:
            self.facts = self.api.facts()
        wanted = self.wants(self.facts)
        state = self.api.state(self.facts, [item.resource for item in wanted.desired])
        plan = make_plan(
            self.host,
            wanted.desired,
            state,
            skipped=wanted.skipped,
            notes=wanted.notes,
            requires=wanted.requires,
        )
        if self.engine is not None:
            self._refuse_unsupported(self.engine, plan)
        self._tell("plan", total=len(plan.changes))
        return plan, state

    def _refuse_unsupported(self, engine: Engine, plan: HostPlan) -> None:
        for change in plan.changes:
            if why := engine.unsupported(change.resource):
                raise HostError(self.host, f"{change.address}: {why}", hint="use another --engine")

    def _verified(self, applied: HostPlan) -> HostPlan:
        """The plan that is left. What was applied must be so, as read from the host."""
        if any(isinstance(change.resource, Reboot) for change in applied.changes):
            self.api.close()
            self.facts = None
        self._tell("verify")
        began = self.clock()
        while True:
            plan, state = self._plan()
            waited = self.clock() - began
            wrong = list(_not_so(applied.changes, state))
            if not wrong:
                return plan
            for change, now in wrong:
                if not now.get("untold") or waited >= _patience_s(change) or self.stopping():
                    raise self._not_as_planned(change, now)
            self.pause(UNTOLD_PAUSE_S)

    def _not_as_planned(self, change: Change, now: State) -> VerificationError:
        if now.get("said"):  # by a command's own question
            said = "\n".join(map(str, now["said"]))
            if now.get("untold"):
                return VerificationError(
                    f"{self.host}: {change.address} was applied, and there is no telling whether "
                    f"it is so:\n{said}",
                    hint="see why whoever is asked does not answer, and run it again",
                )
            return VerificationError(
                f"{self.host}: {change.address} was applied, but the host still says:\n{said}",
                hint="the command ended well and its question does not agree: see what it says",
            )
        parts = [
            f"{key} is {now.get(key)!r}, planned {value!r}"
            for key, value in change.after.items()
            if now.get(key) != value and key not in {"restart", "sha256", "files"}
        ]
        detail = "; ".join(parts) or "its content is another one"
        return VerificationError(
            f"{self.host}: {change.address} was applied, but {detail}",
            hint="something else on the host undoes it; `aiprov plan` shows what is left",
        )

    def _never_rests(self, plan: HostPlan) -> VerificationError:
        left = ", ".join(change.address for change in plan.changes[:5])
        return VerificationError(
            f"{self.host}: still changing after {MAX_STAGES} stages: {left}",
            hint="two resources undo each other",
        )

    # ------------------------------------------------------------ apply

    def _apply(self, engine: Engine, plan: HostPlan) -> None:
        outcomes = self._make(engine, plan.changes, "change")
        failed = next((item for item in outcomes if item.status == "failed"), None)
        if failed is None:
            return
        message, _, hint = failed.message.partition(HINT)
        if failed.lost:
            raise UnreachableError(
                self.host,
                f"{failed.change.address}: {message}",
                hint=hint or "run again: what was done is read from the host, not remembered",
            )
        put_back = self._roll_back(engine, failed.change, outcomes)
        raise ApplyError(
            self.host,
            f"{failed.change.address}: {message}{put_back}",
            hint=hint
            or "see the message of the host; what was done before this is in the report, "
            "and the run can be repeated",
        )

    def _make(
        self, engine: Engine, changes: Sequence[Change], step: Literal["change", "rollback"]
    ) -> Sequence[Outcome]:
        count = 0

        def began(change: Change) -> None:
            nonlocal count
            count += 1
            text = f"{change.role}: {change.address}"
            self._tell(step, number=count, total=len(changes), text=text)

        outcomes = [
            replace(outcome, message=without_passwords(outcome.message))
            for outcome in engine.apply(changes, began)
        ]
        self.outcomes += outcomes
        return outcomes

    def _roll_back(self, engine: Engine, failed: Change, done: Sequence[Outcome]) -> str:
        """Bring back what ran before the failed change. Says what came of it."""
        undo, what = undoing(failed, done)
        if not undo:
            return ""
        try:
            if first := undoing_before(failed, self.outcomes):
                # It may be in place and yet count as failed, because the package manager then
                # tried, in vain, to finish what had failed before. Whether it is, the next
                # transaction shows.
                self._make(engine, first, "rollback")
            outcomes = self._make(engine, undo, "rollback")
        except HostError as lost:  # it must not hide what failed, and that it was not put back
            return f"\nputting back {what} failed too: {without_passwords(lost.message)}"
        self.rolled_back += [item.change.address for item in outcomes if item.status == "done"]
        if all(item.status == "done" for item in outcomes):
            return f"\n{came_back(failed, what)}"
        worst = next(item for item in outcomes if item.status != "done")
        return f"\nputting back {what} failed too: {worst.message}"

    def _tell(
        self,
        step: Step,
        *,
        number: int = 0,
        total: int = 0,
        text: str = "",
    ) -> None:
        self.listener(
            Event(
                host=self.host,
                step=step,
                stage=max(self.stage, 1),
                number=number,
                total=total,
                text=text,
            )
        )


def _not_so(changes: Sequence[Change], state: HostState) -> Iterator[tuple[Change, State]]:
    """Changes that were made and are not so, with what is."""
    for change in changes:
        now = state.get(change.address)
        if now is not None and not holds(change.after, now):
            yield change, now


def _all_untold(plan: HostPlan) -> bool:
    """Whether nothing is certain to differ, and something may."""
    return bool(plan.changes) and all(change.before.get("untold") for change in plan.changes)


def _patience_s(change: Change) -> float:
    """For how long a change's own question may find nobody who answers it."""
    match change.resource:
        case (
            Command(unless=Succeeds(patience_s=seconds))
            | Reboot(unless=Succeeds(patience_s=seconds))
        ):
            return seconds
    return 0


def _defect(host: str, defect: Exception) -> HostError:
    frame = traceback.extract_tb(defect.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    return HostError(
        host,
        f"{type(defect).__name__} at {where}: {defect}",
        hint="this is a defect in aiprov: please report it with the output of `aiprov facts`",
    )
