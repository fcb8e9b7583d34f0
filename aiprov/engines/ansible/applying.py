"""The other side of ``process.py``: what the internal play's action does in Ansible's worker."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from itertools import count
from typing import Any

from ansible.plugins.action import ActionBase

from aiprov.engines import Outcome
from aiprov.engines.ansible.inside import InsideEngine
from aiprov.engines.ansible.modules import Modules
from aiprov.engines.ansible.process import CHANGES_FD, RESULTS_FD, Work
from aiprov.errors import HostError
from aiprov.plan import Change
from aiprov.survey.facts import Family


def run(action: ActionBase, task_vars: Mapping[str, Any]) -> dict[str, Any]:
    """Make the changes that the calling process gave, and tell it about each."""
    work = _work()
    _give_passwords(action, work)
    begun, done = count(), count()  # both are told in the order of the changes

    def began(change: Change) -> None:
        _tell(event="begin", change=next(begun))

    def ended(outcome: Outcome) -> None:
        _tell(
            event="outcome",
            change=next(done),
            status=outcome.status,
            message=outcome.message,
            seconds=outcome.seconds,
            lost=outcome.lost,
        )

    host = str(task_vars["inventory_hostname"])
    modules = Modules(action, host, task_vars)
    engine = InsideEngine(
        modules,
        family=lambda: _family(modules),
        local=action._connection.transport == "local",
        told=ended,
    )
    try:
        outcomes = engine.apply(work.changes, began)
    except HostError as error:
        _tell(event="error", type=type(error).__name__, message=error.message, hint=error.hint)
        return {"failed": True, "msg": error.message}
    failed = any(outcome.status == "failed" for outcome in outcomes)
    return {"changed": bool(outcomes), "failed": failed, "msg": "see aiprov's report"}


def _work() -> Work:
    number = int(os.environ[CHANGES_FD])
    data = os.pread(number, os.fstat(number).st_size, 0)
    work: Work = pickle.loads(data)  # noqa: S301  our own, from memory
    return work


def _give_passwords(action: ActionBase, work: Work) -> None:
    """Passwords that somebody typed. Options of Ansible take them from files on disk only."""
    connection = action._connection
    if work.password is not None:
        connection.set_option("password", work.password.reveal())
    if work.become_password is not None and connection.become is not None:
        connection.become.set_option("become_pass", work.become_password.reveal())


def _tell(**event: Any) -> None:
    """One line. Nobody to read it (the caller was killed) ends the work after this change."""
    line = json.dumps(event).encode() + b"\n"
    while line:
        line = line[os.write(int(os.environ[RESULTS_FD]), line) :]


def _family(modules: Modules) -> Family:
    return "debian" if modules.ask("test -x /usr/bin/apt-get")["rc"] == 0 else "redhat"
