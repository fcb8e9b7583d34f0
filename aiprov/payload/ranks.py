"""A worker that has several devices: for each cell torchrun starts a rank a device.

Standard library only. The ranks of a cell are new processes, so that what went wrong in one has no
part in the next. Their events come through one pipe; the cell is done where every rank of this host
has said so and torchrun agrees. Limits are the supervisor's, which kills this and all below it.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from typing import IO, Any, Callable, Dict, List, Optional

from .launchers import environment, local_ranks, torchrun
from .plan import Cell
from .process import descendants, end_with_parent, kill_group
from .rank_events import GarbageError, Heard, shortened

Say = Callable[..., None]

LINGER_S = 10.0
"""How long torchrun may go on when all its ranks have said their ends: it waits for other hosts."""
MOST_SAID = 1500
SESSION = "AIPROV_PAYLOAD_SESSION"
"""The session that torchrun is in, so that a rank knows whether its parent is still there."""


def work_with_ranks() -> int:
    """Do cells from standard input until it ends. One that fails ends the worker."""
    parent = os.getppid()
    end_with_parent()
    if os.getppid() != parent:
        return 1
    for line in sys.stdin:
        told = json.loads(line)
        cell = Cell(**told)
        try:
            end = carry_out(cell, _say)
        except Exception as error:  # noqa: BLE001 - whatever it is, the journal has to have it
            end = {"status": "error", "error": f"{type(error).__name__}: {error}"[:2000]}
        _say("end", **end)
        if end["status"] == "error":
            return 1
    return 0


def _say(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}, allow_nan=False) + "\n")
    sys.stdout.flush()


def carry_out(cell: Cell, say: Say) -> Dict[str, Any]:
    """Start the ranks of a cell, hear them to their end; the end of the cell."""
    module = __name__.rpartition(".")[0]
    return listen(torchrun(cell, sys.executable, module), cell, say)


def listen(argv: List[str], cell: Cell, say: Say) -> Dict[str, Any]:
    """Run a launcher and hear this host's ranks; the end of the cell."""
    heard, garbage = Heard(local_ranks(cell), say), ""
    with tempfile.TemporaryFile() as said:
        pipe, theirs = os.pipe()
        try:
            launched = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=said,
                env={**os.environ, **environment(cell), SESSION: str(os.getsid(0))},
                preexec_fn=end_with_parent,  # noqa: PLW1509 - this process has one thread
            )
        finally:
            os.close(theirs)
        code = None
        try:
            _hear(pipe, heard)
            code = _ended(launched, LINGER_S)
        except GarbageError as error:
            garbage = str(error)
        finally:
            if code is None:
                code = _ended(launched, 0.0)
            os.close(pipe)
        end = heard.together()
        if garbage or (code and not heard.all_ended):
            why = [garbage] if garbage else [end["error"], f"the launcher ended with {code}"]
            text = f"{'; '.join(word for word in why if word)}: {_tail(said)}"
            return {"status": "error", "error": text, "result": {}}
        return end


def _hear(pipe: int, heard: Heard) -> None:
    """Until all have closed the pipe; or all ranks have ended, and the launcher will not."""
    late: Optional[float] = None
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while late is None or time.monotonic() < late:
            if selector.select(None if late is None else max(0.0, late - time.monotonic())):
                data = os.read(pipe, 1 << 16)
                if not data:
                    return
                heard.hear(data)
            if heard.all_ended and late is None:
                late = time.monotonic() + LINGER_S


def _ended(launched: "subprocess.Popen[bytes]", patience_s: float) -> int:
    """Its exit status; one that goes on is killed with its ranks."""
    try:
        return launched.wait(patience_s)
    except subprocess.TimeoutExpired:
        for pid in descendants(launched.pid):
            kill_group(pid)  # torchrun makes each rank a leader
        launched.kill()
        return launched.wait()


def _tail(said: IO[bytes]) -> str:
    said.seek(0)
    return shortened(said.read().decode("utf-8", "replace").strip(), MOST_SAID)
