"""Package managers take turns: wait for the lock, and in the end say who has it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.facts import FactBase

from aiprov.engines.pyinfra.session import OperationFailed, Session

_POLL_S = 2.0

_HELD = (
    re.compile(r"Could not get lock (?P<path>\S+?)\.? It is held by process (?P<pid>\d+)"),
    re.compile(
        r"(?P<path>dpkg \w+) (?:\w+ )?lock was locked by another process with pid (?P<pid>\d+)"
    ),
    re.compile(r"Could not get lock (?P<path>/\S+)"),
)


class LockHolders(FactBase[list[str]]):
    """The processes that have a lock file open, or the one that is named: id and command line."""

    def command(self, path: str, pid: str) -> StringCommand:
        return StringCommand(
            *("for pid in", pid or _opened_by(path), ";", "do"),
            "printf '%s ' \"$pid\";",
            "tr '\\0\\n' '  ' <\"/proc/$pid/cmdline\"; echo;",
            "done",
        )

    def process(self, output: list[str]) -> list[str]:
        return [line.strip() for line in output if line.strip()]

    @staticmethod
    def default() -> list[str]:
        return []


def _opened_by(path: str) -> StringCommand:
    """Like fuser, which is in no minimal image."""
    find = StringCommand("find", "/proc/[0-9]*/fd", "-lname", QuoteString(path), "2>/dev/null")
    return StringCommand("$(", find, "| cut -d/ -f3 | sort -u", ")")


def patiently(
    session: Session, lock_wait_s: float, operation: Callable[..., Any], *args: Any, **given: Any
) -> None:
    """Run an operation; while somebody has the lock that it needs, try again.

    Raises ``OperationFailed``: after ``lock_wait_s`` with the holder's process and command line.
    """
    deadline = time.monotonic() + lock_wait_s
    while True:
        try:
            return session.run(operation, *args, **given)
        except OperationFailed as failed:
            lock = held_lock(failed)
            if lock is None:
                raise
            if time.monotonic() >= deadline:
                raise _held_too_long(session, *lock, lock_wait_s) from failed
        time.sleep(_POLL_S)


def held_lock(failed: OperationFailed) -> tuple[str, str] | None:
    """The lock that a package manager did not get, and the id of its holder where it is said."""
    text = "\n".join(said.stderr + said.stdout for said in failed.said[-1:])
    for pattern in _HELD:
        if match := pattern.search(text):
            return match["path"], match.groupdict().get("pid") or ""
    return None


def _held_too_long(session: Session, path: str, pid: str, waited_s: float) -> OperationFailed:
    holders = session.fact(LockHolders, path=path, pid=pid)
    who = "; ".join(f"process {holder}" for holder in holders) or "a process that has just gone"
    return OperationFailed(
        session.host_name,
        f"the package manager's lock {path} was not free within {waited_s:g} s: held by {who}",
        said=(),
        hint="wait until it has finished, or stop it in its own way, then run again",
    )
