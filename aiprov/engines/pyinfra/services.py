"""Operations for systemd units, and whether a unit really came up.

pyinfra's ``systemd.service`` is not used: it reads again what the plan knows, and knows a unit by
its own name only, so it never stops one that was named by an alias.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.operations import systemd

from aiprov.engines.pyinfra.files import Commands, quoted
from aiprov.engines.pyinfra.session import OperationFailed, Session
from aiprov.plan import Change
from aiprov.resources import Service

JOB_S = 300
"""How long systemd may take for one job: to start or stop a unit, with all that it needs."""

_COME_UP_S = 60.0
_SETTLE_S = 1.0
_RESTARTS = 3
_POLL_S = 0.2
_TELLS_WHEN_READY = frozenset({"notify", "notify-reload", "dbus", "oneshot"})


class UnitProperties(FactBase[Mapping[str, str]]):
    """What systemd says of a unit, and the host's uptime in seconds."""

    def command(self, unit: str) -> StringCommand:
        names = (
            "Type,ActiveState,SubState,Result,NRestarts,NeedDaemonReload,"
            "ActiveEnterTimestampMonotonic"
        )
        show = quoted(("systemctl", "show", f"--property={names}", "--", unit))
        # Time is read first: a unit that ends between the two was not up for longer than it says.
        return StringCommand("printf", "Uptime=", "&&", "cat", "/proc/uptime", "&&", show)

    def process(self, output: list[str]) -> Mapping[str, str]:
        return dict(line.partition("=")[::2] for line in output if "=" in line)

    @staticmethod
    def default() -> Mapping[str, str]:
        return {}


@operation(is_idempotent=False)
def systemctl(verb: str, unit: str) -> Commands:
    """One verb on one unit."""
    yield quoted(("systemctl", verb, "--", unit))


@operation(is_idempotent=False)
def restart(unit: str) -> Commands:
    """Start the unit anew, also when systemd has given it up for failing too often just now."""
    yield StringCommand(
        *("systemctl", "reset-failed", "--", QuoteString(unit), "2>/dev/null", ";"),
        *("systemctl", "restart", "--", QuoteString(unit)),
    )


def realise_service(session: Session, service: Service, change: Change) -> None:
    """The steps that the change needs, in their order. Raises ``ApplyError``."""
    before, after, unit = change.before, change.after, service.name
    differs = {key for key, value in after.items() if before.get(key) != value}
    properties = session.fact(UnitProperties, unit=unit)
    if before.get("reload_needed") or properties.get("NeedDaemonReload") == "yes":
        session.run(systemd.daemon_reload)
    if "masked" in differs and not after["masked"]:
        session.run(systemctl, "unmask", unit)
    if "enabled" in differs:
        session.run(systemctl, "enable" if after["enabled"] else "disable", unit)
    try:
        if after.get("running") is False:
            if "running" in differs:
                session.run(systemctl, "stop", unit, timeout_s=JOB_S)
        elif after.get("restart") or "running" in differs:
            anew = after.get("restart") or properties.get("ActiveState") == "failed"
            _start(session, unit, anew=bool(anew))
    except OperationFailed as failed:
        raise _with_journal(session, unit, failed) from failed
    if "masked" in differs and after["masked"]:
        session.run(systemctl, "mask", unit)


def _start(session: Session, unit: str, *, anew: bool) -> None:
    if anew:
        session.run(restart, unit, timeout_s=JOB_S)
    else:
        session.run(systemctl, "start", unit, timeout_s=JOB_S)
    _await_active(session, unit)


def _await_active(session: Session, unit: str) -> None:
    """Wait until the unit is up.

    A unit whose type does not tell when it is ready counts as up once it has been for a second:
    a daemon that refuses its configuration is gone by then.
    """
    deadline = time.monotonic() + _COME_UP_S
    while True:
        properties = session.fact(UnitProperties, unit=unit)
        state = properties.get("ActiveState", "unknown")
        if state == "active" and _settled(properties):
            return
        given_up = int(properties.get("NRestarts") or 0) >= _RESTARTS
        if state in {"failed", "inactive"} or given_up or time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    detail = "it ends again and again" if given_up else properties.get("Result", "")
    why = f" ({detail})" if detail not in {"", "success"} else ""
    raise OperationFailed(session.host_name, f"{unit} is {state}{why}, wanted active", said=())


def _settled(properties: Mapping[str, str]) -> bool:
    if properties.get("Type") in _TELLS_WHEN_READY or properties.get("SubState") == "exited":
        return True
    since = int(properties.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    return float(properties["Uptime"].split()[0]) - since >= _SETTLE_S


def _with_journal(session: Session, unit: str, failed: OperationFailed) -> OperationFailed:
    """The failure, with what the unit itself had to say."""
    first = failed.message or f"systemctl could not change {unit}"
    with suppress(OperationFailed):  # whatever it said is kept, and is not what failed
        session.run(status, unit)
    return OperationFailed(session.host_name, first, said=tuple(session.said[-1:]))


@operation(is_idempotent=False)
def status(unit: str) -> Commands:
    """What systemd and the journal say of the unit. systemctl's exit status says nothing here."""
    yield StringCommand(
        *("systemctl", "--no-pager", "--full", "--lines=0", "status", "--", QuoteString(unit)),
        *("|", "head", "-n", "8", ";"),
        *("journalctl", "--sync", "2>/dev/null", ";"),  # its last words may still be on their way
        *("journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=20"),
        *("--unit", QuoteString(unit)),
    )
