"""``aiprov doctor``: what is wrong with the GPU stack of hosts, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aiprov import FORMAT_VERSION
from aiprov.cli.codes import NOT_VERIFIED, UNREACHABLE, worst
from aiprov.cli.flags import HOSTS, INVENTORY, OUTPUT, request_of, with_flags
from aiprov.cli.output import print_json

if TYPE_CHECKING:
    from aiprov.doctor import Diagnosis
    from aiprov.errors import HostError


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@with_flags(INVENTORY, HOSTS, OUTPUT)
def doctor(hosts: tuple[str, ...], as_json: bool, verbose: int, **flags: Any) -> int:
    """Find what is wrong with the GPU stack of hosts, and why. Changes nothing.

    HOST is a name or group of the inventory; --limit takes any Ansible pattern. Each cause comes
    with what the host said and with the way out. Exit codes: 3 problems found, 4 some hosts
    unreachable, 1 error.
    """
    from aiprov import app
    from aiprov.errors import HostError
    from aiprov.report.doctor import diagnosis_text

    found: dict[str, Diagnosis | HostError] = {}
    for name, answer in app.doctor(request_of(**flags), hosts):
        found[name] = answer
        if isinstance(answer, HostError):
            click.echo(f"{click.style('error:', fg='red', bold=True)} {answer}", err=True)
            if answer.hint:
                click.echo(f"  hint: {answer.hint}", err=True)
        elif not as_json:
            click.echo(diagnosis_text(name, answer, verbose=verbose > 0))
    if as_json:
        document = {"format_version": FORMAT_VERSION, "verb": "doctor", "hosts": _hosts(found)}
        print_json(document)
    return _code(found)


def _hosts(found: dict[str, Diagnosis | HostError]) -> dict[str, Any]:
    from aiprov.errors import HostError

    return {
        name: {"status": "unreachable" if answer.exit_code == UNREACHABLE else "failed",
               "error": {"message": answer.message, "hint": answer.hint}}
        if isinstance(answer, HostError)
        else {"status": "problems" if answer.problems else "ok", "error": None, **answer.document()}
        for name, answer in found.items()
    }  # fmt: skip


def _code(found: dict[str, Diagnosis | HostError]) -> int:
    """The worst that happened, in the order that all verbs have."""
    from aiprov.errors import HostError

    answers = found.values()
    codes = {answer.exit_code for answer in answers if isinstance(answer, HostError)}
    if any(answer.problems for answer in answers if not isinstance(answer, HostError)):
        codes.add(NOT_VERIFIED)
    return worst(codes)
