"""Starts a worker a device, hands out cells, keeps their time limits and writes the journal.

Standard library only: what watches must not hang with what is watched. A worker that does not end
in time is killed with all that it started; one that cannot be killed (a hung driver keeps it in the
kernel) loses its device and holds up no other. A test on several devices has them to itself: on
each device cells are done in the order of the plan, and no other worker is left there.
"""

from __future__ import annotations

import json
import selectors
import signal
import time
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .conditions import ENVIRONMENT, FOREIGN
from .journal import MOST_ATTEMPTS, Journal
from .plan import Cell, Plan, devices_of
from .process import WorkerProcess
from .watches import Watches

KILL_S = 10.0
"""How long a killed worker may take to be gone."""
MOST_CRASHES = 3
"""In a row; then the rest of a device's cells is not begun."""
MOST_LINE = 1 << 20
"""Bytes of an event; a worker that says more in a line does not say events."""
EVENTS = ("sample", "fault", "end")
_OURS = ("n", "at", "event", "cell", "crc", "gpu")
_UNKILLABLE = "its worker cannot be killed: the driver holds it"


@dataclass
class Lane:
    """A device (or several together), its cells that are left, and its worker."""

    device: str
    cells: List[Cell]
    begin_at: float
    ranked: bool = False
    shared: List["Lane"] = field(default_factory=list)
    worker: Optional[WorkerProcess] = None
    cell: Optional[Cell] = None
    deadline: float = 0.0
    buffer: bytes = b""
    crashes: int = 0


@dataclass
class Supervisor:
    """Carries out a plan. ``worker``: the command that starts one; its argument is the device.

    For cells with ranks ``--ranks`` follows. ``telemetry``, ``links``: see ``Watches``.
    """

    plan: Plan
    journal: Journal
    worker: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    telemetry: Optional[Sequence[str]] = None
    links: Optional[Sequence[str]] = None
    kill_s: float = KILL_S
    stopping: str = ""

    def run(self) -> bool:
        """Do all cells that have not ended. True where all have an end, whatever it is."""
        self._listen = selectors.DefaultSelector()
        previous = {
            number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)
        }
        lanes = self._lanes()
        self.journal.write(
            "plan",
            durable=True,
            campaign=self.plan.campaign,
            self_test=self.plan.self_test,
            cells=[{"id": cell.id, **cell.document} for cell in self.plan.cells],
        )
        self._watches = Watches(self.journal, self.telemetry, self.links, self.plan.keep_s)
        try:
            while not self.stopping and any(lane.cells or lane.cell for lane in lanes):
                self._step(lanes)
                self._watches.turn()
        finally:
            for lane in lanes:
                self._dismiss(lane)
            self._watches.end(at_once=bool(self.stopping))
            self.journal.write("stop", durable=True, reason=self.stopping or "all is done")
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._listen.close()
        return not self.stopping

    def _stop(self, number: int, _frame: Optional[FrameType]) -> None:
        self.stopping = f"signal {number}"

    def _lanes(self) -> List[Lane]:
        """What is left to do. A cell that was begun too often is given an end here."""
        now, lanes = time.monotonic(), []
        ended = self.journal.past.ended
        self._order = {cell.id: number for number, cell in enumerate(self.plan.cells)}
        for number, ((device, ranked), cells) in enumerate(self.plan.by_worker.items()):
            left = []
            for cell in cells:
                if cell.id in ended:
                    continue
                if self.journal.past.attempts(cell.id) >= MOST_ATTEMPTS:
                    self._end(cell, "hung", "it was begun twice and never ended")
                else:
                    left.append(cell)
            begin_at = now + number * self.plan.stagger_s
            lanes.append(Lane(device=device, cells=left, begin_at=begin_at, ranked=ranked))
        used = {id(lane): set(devices_of(lane.device)) for lane in lanes}
        for lane in lanes:
            lane.shared = [
                one for one in lanes if one is not lane and used[id(one)] & used[id(lane)]
            ]
        return lanes

    # ------------------------------------------------------------ one turn

    def _step(self, lanes: Sequence[Lane]) -> None:
        now = time.monotonic()
        for lane in lanes:
            if self._is_next(lane) and now >= lane.begin_at:
                self._begin(lane)
        for key, _ in self._listen.select(timeout=self._patience(lanes)):
            self._hear(key.data)
        for lane in lanes:
            if lane.cell is not None and time.monotonic() >= lane.deadline:
                self._hear(lane)  # it may have ended while another was being killed
            if lane.cell is not None and time.monotonic() >= lane.deadline:
                self._timed_out(lane, lane.cell)

    def _patience(self, lanes: Sequence[Lane]) -> float:
        """Seconds until something has to be done that nobody says. Signals end the wait as well."""
        now = time.monotonic()
        times = [lane.deadline for lane in lanes if lane.cell is not None]
        times += [lane.begin_at for lane in lanes if self._is_next(lane)]
        return min(max(0.0, min(times, default=now) - now), 1.0)

    def _is_next(self, lane: Lane) -> bool:
        """Whether a lane has a cell that is the first of those left on all of its devices."""
        if lane.cell is not None or not lane.cells:
            return False
        own = self._order[lane.cells[0].id]
        return not any(
            other.cell is not None or (other.cells and self._order[other.cells[0].id] < own)
            for other in lane.shared
        )

    def _begin(self, lane: Lane) -> None:
        # Workers that have done their part on these devices would keep their memory.
        if any(self._dismiss(other) is None for other in lane.shared):
            self._give_up(lane, _UNKILLABLE)
            return
        worker = lane.worker or self._start(lane)
        cell = lane.cells.pop(0)
        self.journal.write("begin", durable=True, cell=cell.id, device=lane.device)
        lane.cell, lane.deadline = cell, time.monotonic() + cell.limit_s
        worker.tell(json.dumps(cell.document).encode() + b"\n")

    def _start(self, lane: Lane) -> WorkerProcess:
        more = ["--ranks"] if lane.ranked else []
        environment = {**ENVIRONMENT, **self.environment}
        worker = WorkerProcess([*self.worker, lane.device, *more], environment, FOREIGN)
        self._listen.register(worker.stdout, selectors.EVENT_READ, lane)
        lane.worker, lane.buffer = worker, b""
        return worker

    # ------------------------------------------------------------ what a worker says

    def _hear(self, lane: Lane) -> None:
        data = lane.worker.hear() if lane.worker else None
        if data is None:
            return
        if not data:
            self._broken(lane, "")
            return
        *lines, lane.buffer = (lane.buffer + data).split(b"\n")
        for line in lines:
            if lane.worker is not None:  # a line before it has not cost it its life
                self._event(lane, line)
        if len(lane.buffer) > MOST_LINE:
            self._broken(lane, "it says no lines")

    def _event(self, lane: Lane, line: bytes) -> None:
        try:
            told: Any = json.loads(line)
            event = told.pop("event")
        except (ValueError, AttributeError, KeyError, TypeError):
            event = None
        if event not in EVENTS or lane.cell is None:
            self._broken(lane, f"it said what is no event: {line[:200]!r}")
            return
        if event != "end":
            fields = {key: value for key, value in told.items() if key not in _OURS}
            fields = self._watches.with_gpu(lane.device, fields)
            self.journal.write(event, cell=lane.cell.id, **fields)
            return
        lane.crashes = 0
        cell, lane.cell = lane.cell, None
        status, result = told.get("status"), told.get("result")
        if status in ("done", "not tested") and isinstance(result, dict):
            self._end(cell, status, str(told.get("error", "")), result)
        else:
            self._end(cell, "error", str(told.get("error", "it ended without a result")))
            # What failed once may be in no state to go on.
            if self._dismiss(lane) is None:
                self._give_up(lane, _UNKILLABLE)

    def _broken(self, lane: Lane, why: str) -> None:
        """End a worker that is not to be used any more, or has ended: then that is why."""
        how = self._dismiss(lane)
        lane.crashes += 1
        if lane.cell is not None:
            cell, lane.cell = lane.cell, None
            self._end(cell, "error", why or how or _UNKILLABLE)
        if lane.worker is not None:
            self._give_up(lane, _UNKILLABLE)
        elif lane.crashes >= MOST_CRASHES:
            self._give_up(lane, f"the worker failed {lane.crashes} times in a row")

    def _timed_out(self, lane: Lane, cell: Cell) -> None:
        lane.cell = None
        late = f"it did not end in {cell.limit_s:g} s"
        how = self._dismiss(lane)
        if how is not None:
            self._end(cell, "timed out", f"{late}; {how}")
            return
        self._end(cell, "hung", f"{late}, and {_UNKILLABLE}")
        self._give_up(lane, _UNKILLABLE)

    def _give_up(self, lane: Lane, why: str) -> None:
        for cell in lane.cells:
            self._end(cell, "not run", why)
        lane.cells = []

    def _end(
        self, cell: Cell, status: str, error: str, result: Optional[Dict[str, Any]] = None
    ) -> None:
        self.journal.write(
            "end", durable=True, cell=cell.id, device=cell.device, status=status, error=error,
            result=result or {},
        )  # fmt: skip

    def _dismiss(self, lane: Lane) -> Optional[str]:
        """End a lane's worker, if it has one; how it ended.

        ``None``: it cannot be killed. It stays the lane's, and the device is not to be used.
        """
        if lane.worker is None:
            return ""
        if lane.worker.stdout in self._listen.get_map():
            self._listen.unregister(lane.worker.stdout)
        how = lane.worker.end(self.kill_s)
        if how is not None:
            lane.worker = None
        return how
