"""What a validation does on a host: reads files, lays a plan, runs the payload as a transient unit.

The unit goes on without the controller: whoever comes back asks systemd for it and reads on in the
journal where it stopped reading.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from aiprov.connection import Connection
from aiprov.errors import HostError, UnreachableError
from aiprov.resources import Argv
from aiprov.roles.gpu_validation import layout
from aiprov.survey.commands import run_argv
from aiprov.survey.facts import Facts
from aiprov.survey.session import ANSWER_S, open_session, survey_facts
from aiprov.survey.transport import Completed, Transport, transport_for

ASK_S = 60.0
SMI_S = 60
PIECE = 4 << 20
"""Bytes of a journal that are asked for at once."""
STOP_S = 45
"""Seconds that the payload has to end its workers; each may take 10 to be killed."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"
_JOURNAL = (
    "journalctl", "-b", "--no-pager", "--quiet", "-o", "short-iso-precise",
    # In a container they come by way of syslog.
    "_TRANSPORT=kernel", "+", "SYSLOG_IDENTIFIER=kernel",
)  # fmt: skip
_NO_PROGRAM = (126, 127)
_TITLE = "aiprov validate "


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things lie on a host; the role ``gpu_validation`` has them there."""

    launcher: str = layout.LAUNCHER
    version: str = layout.VERSION
    contract: str = layout.EXPECTATIONS
    state: str = layout.STATE
    unit: str = layout.UNIT


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The transient unit as it is now. ``campaign``: whose it is; empty where there is none."""

    active: bool
    campaign: str = ""


class Remote:
    """One host, over one connection that is made when it is needed, and anew where it was lost.

    Everything raises ``UnreachableError`` or ``BecomeError``, and ``HostError`` where the host
    cannot do it. ``gate``: held while something is asked, so that not all hosts are asked at once.
    ``until``: a moment (monotonic) after which the host is given up, whatever it is asked.
    """

    def __init__(
        self,
        connection: Connection,
        way: Callable[[Connection], Transport] = transport_for,
        *,
        places: Places | None = None,
        gate: AbstractContextManager[object] | threading.Semaphore | None = None,
    ) -> None:
        self.host = connection.name
        self.address = connection.address
        self.places = places or Places()
        self._connection = connection
        self._way = way
        self._gate = gate or nullcontext()
        self._transport: Transport | None = None
        self.until: float | None = None

    def run(self, argv: Argv, *, stdin: bytes = b"", timeout_s: float = ASK_S) -> Completed:
        """Run a command to its end, whatever that is."""
        with self._gate:
            try:
                limit_s = self._limit(timeout_s)
                return run_argv(
                    self._open(), self._connection, argv, stdin=(stdin,), timeout_s=limit_s
                )
            except HostError:
                self.close()  # the next try begins with a new connection
                raise

    def must(self, argv: Argv, *, stdin: bytes = b"", timeout_s: float = ASK_S) -> bytes:
        """What a command says; raises ``HostError`` where it fails."""
        done = self.run(argv, stdin=stdin, timeout_s=timeout_s)
        if done.rc:
            raise HostError(
                self.host,
                f"{argv[0]}: {_last(done)}",
                hint="is the host's disk full, or does it lack systemd? aiprov doctor looks",
            )
        return done.stdout

    def facts(self) -> Facts:
        """What the host is."""
        with self._gate:
            limit_s = self._limit(ANSWER_S)
            session = open_session(self._connection, transport=self._open(), timeout_s=limit_s)
            try:
                return survey_facts(session, self.host)
            finally:
                session.close()

    def read(self, path: str) -> str | None:
        """The text of a file; ``None`` where it cannot be read."""
        done = self.run(("cat", path))
        return None if done.rc else done.stdout.decode("utf-8", "replace")

    def boot(self) -> str:
        """Which boot of the host this is."""
        return self.must(("cat", BOOT_ID)).decode().strip()

    def smi(self) -> Completed:
        """What ``nvidia-smi -q -x`` says. 127: there is none, 124: it hangs."""
        limit = ("timeout", "-k", "5", str(SMI_S))
        return self.run((*limit, "nvidia-smi", "-q", "-x"), timeout_s=SMI_S + 30)

    def kernel_log(self) -> str | None:
        """The kernel's log of this boot; ``None`` where nobody lets it be read.

        One that is empty is none: a kernel says something when it boots.
        """
        for argv in (_JOURNAL, ("dmesg",)):
            done = self.run(argv)
            if done.rc == 0 and done.stdout.strip():
                return done.stdout.decode("utf-8", "replace")
        return None

    # ------------------------------------------------------------ the payload

    def start(self, name: str, plan: bytes, *, most_s: float, telemetry: bool) -> None:
        """Lay a plan and start the payload with it; ``name``: of plan, journal and unit.

        Raises ``HostError`` where the unit does not start: also when one is running.
        """
        own = self.places
        self.must(("install", "-d", "-m", "0700", own.state))
        plan_file, staged = self._file(name, "plan.json"), self._file(name, "plan.json.new")
        self.must(("dd", f"of={staged}", "status=none"), stdin=plan)
        self.must(("mv", "-f", staged, plan_file))
        said = self._file(name, "said")
        self.must(("rm", "-f", said))
        self.must(
            (
                "systemd-run", "--quiet", "--collect", f"--unit={own.unit}",
                f"--description={_TITLE}{name}",
                f"--property=RuntimeMaxSec={int(most_s)}",
                "--property=KillMode=mixed",  # workers are ended by who knows what they were at
                f"--property=TimeoutStopSec={STOP_S}",
                f"--property=StandardInput=file:{plan_file}",
                f"--property=StandardError=file:{said}",
                "--setenv=CUDA_DEVICE_ORDER=PCI_BUS_ID",  # cuda:N is then what nvidia-smi calls N
                own.launcher, "run", "--journal", self._file(name, "jsonl"),
                *(() if telemetry else ("--no-telemetry",)),
            )
        )  # fmt: skip

    def unit(self) -> Unit:
        """Whether the payload runs, and for which campaign."""
        shown = self.must(
            ("systemctl", "show", self.places.unit, "--property=ActiveState,Description")
        )
        told = dict(
            line.partition("=")[::2] for line in shown.decode("utf-8", "replace").split("\n")
        )
        active = told.get("ActiveState") in ("active", "activating", "deactivating", "reloading")
        title = told.get("Description", "")
        own = title.startswith(_TITLE)
        return Unit(active=active, campaign=title.removeprefix(_TITLE) if own and active else "")

    def journal(self, name: str, offset: int) -> bytes:
        """What the journal says from this byte on, at most a piece; empty where there is none."""
        done = self.run(
            ("dd", f"if={self._file(name, 'jsonl')}", f"bs={PIECE}", f"skip={offset}",
             f"count={PIECE}", "iflag=skip_bytes,count_bytes", "status=none")
        )  # fmt: skip
        return b"" if done.rc else done.stdout

    def said(self, name: str) -> str:
        """What the payload itself said on standard error, mostly nothing."""
        return (self.read(self._file(name, "said")) or "").strip()

    def stop(self) -> bool:
        """End the payload and all that it started; whether there was one."""
        was = self.unit().active
        if was:
            self.must(("systemctl", "stop", self.places.unit), timeout_s=STOP_S + 30)
        return was

    def close(self) -> None:
        """Let go of the connection."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _limit(self, timeout_s: float) -> float:
        if self.until is None:
            return timeout_s
        left = self.until - time.monotonic()
        if left <= 0:
            raise UnreachableError(
                self.host,
                "it answers too slowly",
                hint="the host may be hung or overloaded: look at its console, then run again",
            )
        return min(timeout_s, left)

    def _open(self) -> Transport:
        if self._transport is None:
            self._transport = self._way(self._connection)
        return self._transport

    def _file(self, name: str, end: str) -> str:
        return f"{self.places.state}/{name}.{end}"


def _last(done: Completed) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.rc in _NO_PROGRAM and not lines:
        return "there is no such program"
    return lines[-1] if lines else f"it ended with status {done.rc}"
