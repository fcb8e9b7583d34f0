"""The pyinfra engine: changes as pyinfra operations, over the connection that the survey uses too.

pyinfra itself is imported when the first change is made, never before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from aiprov.connection import Connection
from aiprov.engines import Listener, Outcome, Status
from aiprov.errors import ApplyError, BecomeError, UnreachableError
from aiprov.plan import Change
from aiprov.resources import Group, Resource, Service

if TYPE_CHECKING:
    from aiprov.engines.pyinfra.session import Session
    from aiprov.engines.pyinfra.shell import Shell

LOCK_WAIT_S = 300.0
"""How long another package manager may keep us waiting: unattended upgrades take minutes."""


class PyinfraEngine:
    """Realises changes on one host. One instance a host; instances work in threads at once."""

    name = "pyinfra"

    def __init__(
        self,
        connection: Connection,
        *,
        lock_wait_s: float = LOCK_WAIT_S,
        shell: Callable[[Connection], Shell] | None = None,
    ) -> None:
        self._connection = connection
        self._lock_wait_s = lock_wait_s
        self._shell = shell

    def unsupported(self, resource: Resource) -> str | None:
        """Why pyinfra cannot express the resource; ``None`` when it can."""
        match resource:
            case Service(name=name) if "." not in name:
                return f"{name} is not a full unit name, such as {name}.service"
            case Group(gid=0):
                return "pyinfra cannot give out the group id 0"
            case _:
                return None

    def apply(self, changes: Sequence[Change], listener: Listener) -> Sequence[Outcome]:
        """Make the changes, in order, and stop at the first that fails.

        Neighbouring packages, and neighbouring apt repositories, are made together: they are done
        or have failed as one. A connection that is lost on the way is a failed change, since what
        was done before it has to be told. Raises ``UnreachableError`` or ``BecomeError`` when the
        host cannot be worked on at all.
        """
        if not changes:
            return []
        from aiprov.engines.pyinfra.failures import hidden_words
        from aiprov.engines.pyinfra.realise import batches
        from aiprov.engines.pyinfra.session import Session
        from aiprov.engines.pyinfra.shell import root_shell

        outcomes: list[Outcome] = []
        failed = False
        hidden = hidden_words(changes)
        with closing((self._shell or root_shell)(self._connection)) as shell:
            session = Session(self._connection.name, shell)
            session.begin()
            for batch in batches(changes):
                if failed:
                    outcomes += [Outcome(change=change, status="not run") for change in batch]
                    continue
                done = self._apply_batch(session, batch, listener, hidden)
                failed = done[0].status == "failed"
                outcomes += done
        return outcomes

    def _apply_batch(
        self,
        session: Session,
        batch: Sequence[Change],
        listener: Listener,
        hidden: frozenset[str],
    ) -> list[Outcome]:
        from aiprov.engines.pyinfra.failures import message_of
        from aiprov.engines.pyinfra.realise import realise

        first, *others = batch
        for change in batch:
            listener(change)
        began = time.monotonic()
        message, lost = "", False
        try:
            realise(session, batch, lock_wait_s=self._lock_wait_s)
        except (ApplyError, UnreachableError, BecomeError) as error:
            message, lost = message_of(error, hidden), isinstance(error, UnreachableError)
        seconds = (time.monotonic() - began) / len(batch)
        status: Status = "failed" if message else "done"
        same = f"made together with {first.address}, and failed with it" if message else ""
        return [
            Outcome(change=first, status=status, message=message, seconds=seconds, lost=lost),
            *(Outcome(change=c, status=status, message=same, seconds=seconds) for c in others),
        ]
