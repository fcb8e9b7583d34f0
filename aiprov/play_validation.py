"""``aiprov validate`` inside a play: what is behind the action ``aiprov.core.validate``.

It is one task for all hosts of the play: ``aiprov validate`` itself with the play's inventory,
limit, extra variables, passwords and forks, so verdicts and reports are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from aiprov.app import Request
from aiprov.cli.cluster import seconds
from aiprov.cli.codes import OK
from aiprov.cli.validate import exit_code
from aiprov.converge import Event
from aiprov.errors import AiprovError
from aiprov.inventory import Options
from aiprov.report.verdicts.text import text
from aiprov.resources import Secret
from aiprov.validation import run as validation
from aiprov.validation.run import Done, Wish


def run(action: ActionBase, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Validate the hosts, or go on with the last validation. Fails unless all that was asked is ok.

    Under ``--check`` nothing is measured.
    """
    if action._task.check_mode:
        return {"skipped": True, "msg": "a check puts no load on hosts"}
    try:
        wish = Wish(
            budget_s=seconds(str(wanted["budget"])),
            device=str(wanted["device"]),
            output=Path(wanted["output"]) if wanted.get("output") else None,
        )
        begin = validation.resume if wanted.get("resume") else validation.validate
        return _result(begin(_request(action, context.CLIARGS), wish, _show))
    except AiprovError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        return {"failed": True, "msg": f"{error.message}{hint}"}


def _request(action: ActionBase, given: Mapping[str, Any]) -> Request:
    """The play's own way to its hosts. The vault's passwords are those that Ansible has already."""
    password, waits = action._play_context.become_pass, given.get("timeout")
    options = Options(
        user=given.get("remote_user"),
        private_key_file=given.get("private_key_file"),
        become=bool(given.get("become")),
        become_password=Secret(str(password)) if password else None,
        timeout_s=None if waits == constants.DEFAULT_TIMEOUT else waits,
    )
    return Request(
        sources=tuple(map(str, given.get("inventory") or ())),
        limit=given.get("subset"),
        forks=int(given.get("forks") or 1),
        options=options,
    )


def _result(done: Done) -> dict[str, Any]:
    """What the task answers: the verdict, where the reports are, and in words what is wrong."""
    found = done.validation
    folder = done.folder.absolute()
    ok = not done.interrupted and exit_code(found) == OK
    return {
        "changed": False,
        "failed": not ok,
        "verdict": found.verdict,
        "folder": str(folder),
        "reports": [str(path.absolute()) for path in done.files],
        "msg": f"{text(found)}all of it: {folder}",
        "warnings": list(done.warnings),
    }


def _show(event: Event) -> None:
    """Progress, for those who ask for it with ``-v``."""
    show: Callable[[str], None] = Display().v
    show(f"<{event.host}> {event.step} {event.text}".rstrip())
