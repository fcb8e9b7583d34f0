"""Python for a host that has none: the one thing that is installed before anything is planned."""

from __future__ import annotations

import re
import threading
import time
from shlex import quote

from aiprov.connection import Connection
from aiprov.errors import ApplyError
from aiprov.survey.become import run_as
from aiprov.survey.transport import Completed, OnLine, Transport

LOCK_WAIT_S = 600.0
TIMEOUT_S = 1200.0

_NO_MANAGER = 87
_RETRY_S = 3.0
_LOCKED = re.compile(r"Could not get lock (\S+?)[.:]?\s(?:.*held by process (\d+) \(([^)]*)\))?")

# Lists are fetched only when the package cannot be had without: a fresh image has none.
_SCRIPT = """
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
if command -v apt-get >/dev/null 2>&1; then
  i="apt-get -y -q -o DPkg::Lock::Timeout=$1 --no-install-recommends install python3"
  $i || { apt-get -q update && $i; }
elif command -v dnf >/dev/null 2>&1; then dnf -y -q install python3
elif command -v yum >/dev/null 2>&1; then yum -y -q install python3
elif command -v zypper >/dev/null 2>&1; then zypper --non-interactive --quiet install python3
else exit 87
fi
"""


def bootstrap(
    connection: Connection,
    transport: Transport,
    *,
    on_line: OnLine | None = None,
    lock_wait_s: float = LOCK_WAIT_S,
) -> None:
    """Install the system's own python3 with the host's package manager, as the become user.

    Waits while another package manager holds apt's lock. Raises ``ApplyError`` when it cannot be
    installed, ``BecomeError`` and ``UnreachableError`` as any command.
    """
    end = time.monotonic() + lock_wait_s
    while True:
        done = run_as(
            transport,
            connection,
            f"/bin/sh -c {quote(_SCRIPT)} sh {int(lock_wait_s)}",
            timeout_s=TIMEOUT_S,
            on_line=on_line,
        )
        if done.rc == 0:
            return
        locked = _LOCKED.search(_text(done))
        if locked is None:
            raise _failed(connection, done)
        if time.monotonic() >= end:
            raise _held(connection, locked, lock_wait_s)
        # apt does not wait for the lock of its lists, and nothing tells when it is free.
        threading.Event().wait(_RETRY_S)


def _held(connection: Connection, locked: re.Match[str], waited_s: float) -> ApplyError:
    holder = f"process {locked[2]} ({locked[3]})" if locked[2] else "another process"
    return ApplyError(
        connection.name,
        f"python3 could not be installed: {holder} has held {locked[1]} for {waited_s:g} s",
        hint="let it finish (unattended-upgrades?), then run again",
    )


def _failed(connection: Connection, done: Completed) -> ApplyError:
    if done.rc == _NO_MANAGER:
        return ApplyError(
            connection.name,
            "python3 could not be installed: the host has no apt-get, dnf, yum or zypper",
            hint="install Python 3.6 or later there by hand",
        )
    lines = [line.strip() for line in _text(done).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "Error:"))]
    said = (errors or lines or [f"exit status {done.rc}"])[-1]
    return ApplyError(
        connection.name,
        f"python3 could not be installed: {said}",
        hint="are the host's repositories reachable from it, and is it root that installs? "
        "(ansible_become)",
    )


def _text(done: Completed) -> str:
    return (done.stdout + done.stderr).decode("utf-8", "replace")
