"""The way of one host: prepare, start the payload, follow its journal until it has ended.

Each step is kept before the next begins, so the way can be gone on with at any point. A host that
is not heard of for a while is given up: its unit goes on, and its journal waits there.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiprov.checks.validation import HostRun, HostStatus
from aiprov.converge import Event
from aiprov.errors import HostError, UnreachableError
from aiprov.payload.journal import JournalError, Record, decoded
from aiprov.validation.folder import HostFolder, cells_of
from aiprov.validation.prepared import NotReadyError, prepare, prepared_from
from aiprov.validation.remote import Remote

POLL_S, SLOWEST_POLL_S, POLLS = 2.0, 30.0, 600
"""How often a journal is read on: of what takes long, less often. Each is a login's work."""
PATIENCE_S = 120.0
"""How long a host that was heard of may be silent before it is given up."""
PREPARE_S = 120.0
"""How long a host may take to say what it is: others wait for it, as all are planned together."""
SPARE_S = 300.0
"""Beyond the limits of all cells: what starting and ending take."""
FIRST, AGAIN = "first", "again"
"""The stages: what is planned, and what is measured again."""
GO_ON = "aiprov validate --resume goes on with it"

Show = Callable[[Event], None]
Plan = Mapping[str, Any]
"""As the payload reads it."""


def most_seconds(plan: Plan) -> float:
    """How long a plan may take: its slowest device with every cell at its limit, and some."""
    spent: dict[str, float] = {}
    for cell in cells_of(plan):
        for device in cell.devices:
            spent[device] = spent.get(device, 0.0) + cell.limit_s
    late_s = float(plan.get("stagger_s", 0.0)) * len(spent)
    return max(spent.values(), default=0.0) + late_s + SPARE_S


@dataclass(kw_only=True)
class Course:
    """One host of a campaign. ``stopping``: is set when it is to be ended there.

    ``begin_after_s``: how long after the campaign's first host its payload starts. ``number``:
    of the stage, for people. Nothing here raises for what is wrong with the host.
    """

    remote: Remote
    folder: HostFolder
    campaign: str
    device: str
    show: Show
    stopping: threading.Event
    begin_after_s: float = 0.0
    number: int = 1

    @property
    def host(self) -> str:
        return self.remote.host

    def prepare(self) -> HostRun | None:
        """Find out what there is to measure, once; ``None``: it is known, and can be measured."""

        def work() -> HostRun | None:
            if self.folder.json("prepared.json") is None:
                ready = prepare(self.remote, self.device)
                self.folder.write("prepared.json", ready.document)
            if self.folder.text("kernel-before.log") is None:
                self._keep_kernel_log("kernel-before.log")
            return None

        self.show(Event(host=self.host, step="survey", text="looking at it"))
        self.remote.until = time.monotonic() + PREPARE_S
        try:
            return self._kept(work)
        finally:
            self.remote.until = None

    def first(self, plan: Plan, limit_s: float) -> HostRun | None:
        """Do what is planned, or the rest of it. ``limit_s``: it is ended after that."""

        def work() -> HostRun:
            try:
                found = self._stage(FIRST, plan, limit_s)
            except (NotReadyError, UnreachableError):
                raise
            except HostError as error:
                found = self._run("failed", error)
            self._keep_kernel_log("kernel-after.log")
            ready = self.folder.json("prepared.json")
            if found.status == "failed" and self.remote.boot() != ready["boot_id"]:
                return HostRun(
                    host=self.host,
                    status="failed",
                    message="the host restarted while it was tested",
                    hint=f"its kernel log of the boot before may say why; {GO_ON}",
                )
            return found

        return self._kept(work)

    def more(self, stage: str, plan: Plan) -> HostRun | None:
        """Do what a later stage plans, or the rest of it."""

        def work() -> HostRun:
            found = self._stage(stage, plan, most_seconds(plan))
            self._keep_kernel_log("kernel-after.log")
            return found

        return self._kept(work)

    def _kept(self, work: Callable[[], HostRun | None]) -> HostRun | None:
        began = time.monotonic()
        try:
            found = work()
        except NotReadyError as error:
            found = self._run("refused", error)
        except UnreachableError as error:
            found = self._run("unreachable", error)
        except HostError as error:
            found = self._run("failed", error)
        except Exception as error:  # noqa: BLE001  one host's oddities end no other's validation
            told = f"{type(error).__name__}: {error}"
            hint = "please report this as a defect"
            found = self._run("failed", HostError(self.host, told, hint=hint))
        finally:
            self.remote.close()
        if found is None:
            return None
        before = self.folder.run
        seconds = time.monotonic() - began + (before.seconds if before else 0.0)
        found = replace(found, seconds=round(seconds, 3))
        self.folder.keep(found)
        said = found.status + (f": {found.message}" if found.message else "")
        self.show(Event(host=self.host, step="end", text=said))
        return found

    def _run(self, status: HostStatus, error: HostError) -> HostRun:
        return HostRun(host=self.host, status=status, message=error.message, hint=error.hint or "")

    def _keep_kernel_log(self, name: str) -> None:
        """A log that cannot be read leaves no file, which is then not measured."""
        log = self.remote.kernel_log()
        if log is None:
            self.folder.remove(name)
        else:
            self.folder.write(name, log)

    # ------------------------------------------------------------ a stage

    def _stage(self, stage: str, wanted: Plan, limit_s: float) -> HostRun:
        name = self.campaign if stage == FIRST else f"{self.campaign}-{stage}"
        plan = self.folder.json(f"{stage}.plan.json")
        if plan is None:
            plan = {**wanted, "campaign": name}
            self.folder.write(f"{stage}.plan.json", plan)
        self.folder.trim(stage)
        follower = _Follower(self, stage, name, plan, limit_s)
        unit = self.remote.unit()
        if unit.active and unit.campaign != name:
            other = f"campaign {unit.campaign}" if unit.campaign else "a validation"
            raise NotReadyError(
                self.host,
                f"{other} runs there",
                hint=f"wait for it, or end it: aiprov validate --stop -l {self.host}",
            )
        if not unit.active:
            follower.fetch()
            if follower.left:
                if self.stopping.wait(self.begin_after_s):
                    return self.interrupted()
                ready = prepared_from(self.folder.json("prepared.json"))
                self.remote.start(
                    name,
                    json.dumps(plan).encode(),
                    most_s=limit_s,
                    telemetry=self.device == "cuda" or bool(ready.gpus),
                )
        return follower.run()

    def interrupted(self) -> HostRun:
        """How it is when it was ended on purpose."""
        return HostRun(host=self.host, status="interrupted", message="interrupted", hint=GO_ON)


class _Follower:
    """Reads a journal on as it grows, and knows what it says so far."""

    def __init__(self, course: Course, stage: str, name: str, plan: Plan, limit_s: float) -> None:
        self._course = course
        self._remote = course.remote
        self._stage = stage
        self._name = name
        self._cells = {cell.id: cell for cell in cells_of(plan)}
        self._most_s = limit_s
        self._poll_s = max(POLL_S, min(SLOWEST_POLL_S, limit_s / POLLS))
        self._count = self._faults = 0
        self._ends: set[str] = set()
        self._last = self._stop = ""
        for record in course.folder.journal(stage).records:
            self._note(record)

    @property
    def left(self) -> set[str]:
        """The cells that have no end yet."""
        return set(self._cells) - self._ends

    def run(self) -> HostRun:
        """Follow until the payload has ended, and say how."""
        course = self._course
        heard = time.monotonic()
        give_up = heard + self._most_s + PATIENCE_S
        while True:
            try:
                active = self._remote.unit().active  # before the journal, which is then all of it
                self.fetch()
                heard = time.monotonic()
                if not active:
                    return self._ended()
            except UnreachableError:
                if time.monotonic() - heard >= PATIENCE_S:
                    raise
            if time.monotonic() >= give_up:
                raise HostError(
                    course.host,
                    "its payload did not end in time",
                    hint=f"aiprov validate --stop -l {course.host} ends it",
                )
            if course.stopping.wait(self._poll_s):
                self._remote.stop()
                self.fetch()
                return course.interrupted()

    def fetch(self) -> None:
        """Bring what is new. A last line without its end stays for the next time."""
        folder = self._course.folder
        while piece := self._remote.journal(self._name, folder.length(self._stage)):
            whole = piece[: piece.rfind(b"\n") + 1]
            if not whole:
                break
            for line in whole.splitlines(keepends=True):
                self._note(self._record(line))
            folder.append(self._stage, whole)
            self._tell()

    def _record(self, line: bytes) -> Record:
        try:
            record = decoded(line)
            if record["n"] != self._count:
                raise JournalError(f"line {self._count + 1} has number {record['n']}")
        except (JournalError, KeyError) as error:
            raise HostError(
                self._course.host,
                f"its journal is damaged: {error}",
                hint="its disk or memory may be ill; validate it anew",
            ) from error
        return record

    def _note(self, record: Record) -> None:
        self._count += 1
        event = record["event"]
        if event == "begin":
            self._last = record["cell"]
        elif event == "end":
            self._ends.add(record["cell"])
        elif event == "stop":
            self._stop = str(record.get("reason"))
        self._faults += event == "fault"

    def _tell(self) -> None:
        cell = self._cells.get(self._last)
        now = f"{cell.kind} {cell.parameters.get('dtype', '')} on {cell.device}" if cell else ""
        total = len(self._cells)
        self._course.show(
            Event(
                host=self._course.host,
                step="change",
                number=min(total - len(self.left) + 1, total),
                total=total,
                stage=self._course.number,
                text=" ".join(now.split()) + (f", {self._faults} faults" if self._faults else ""),
            )
        )

    def _ended(self) -> HostRun:
        host = self._course.host
        if not self.left:
            return HostRun(host=host, status="done")
        said = self._remote.said(self._name).splitlines()
        last = said[-1].removeprefix("aiprov_payload: ") if said else ""
        if last.startswith(("GPUs are in use", "nvidia-smi")):
            raise NotReadyError(
                host, last, hint="a validation takes whole GPUs: let their work end first"
            )
        stopped = f"it was stopped ({self._stop})" if self._stop else "it ended"
        raise HostError(
            host,
            f"the payload did not do all: {last or stopped}; {len(self.left)} of "
            f"{len(self._cells)} tests have no end",
            hint=f"journalctl -u {self._remote.places.unit} on the host may say more; {GO_ON}",
        )
