"""``aiprov quarantine``: hosts that validations took out of service; and the flags of actions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiprov import FORMAT_VERSION
from aiprov.cli.codes import ERROR, OK
from aiprov.cli.flags import HOSTS, INVENTORY, OUTPUT, F, request_of, with_flags
from aiprov.cli.output import print_json
from aiprov.errors import UsageError

if TYPE_CHECKING:
    from aiprov.actions.acting import Context
    from aiprov.actions.model import Held, Policy
    from aiprov.checks.validation import Action
    from aiprov.inventory import Inventory

_FILE = click.Path(dir_okay=False, path_type=Path)

WAY: list[Callable[[F], F]] = [
    click.option(
        "--quarantine-file", type=_FILE, metavar="FILE",
        help="Where the group quarantine is kept (default: quarantine.yml in the inventory).",
    ),
    click.option(
        "--kubeconfig", type=_FILE, metavar="FILE",
        help="Ask this cluster's API (default: by way of the inventory's control planes).",
    ),
    click.option(
        "--slurm-host", metavar="HOST",
        help="The host of the inventory to run scontrol on (default: this machine).",
    ),
]  # fmt: skip

POLICY: list[Callable[[F], F]] = [
    click.option(
        "--action-limit", default="10%", show_default=True, metavar="N|N%",
        help="Never have more hosts out of service: beyond it, nothing is done to any.",
    ),
    click.option(
        "--act-on-not-measured", is_flag=True,
        help="Act on hosts that could not be judged like on those that failed.",
    ),
]  # fmt: skip

ACTION: list[Callable[[F], F]] = [
    click.option(
        "--action", default="report", show_default=True,
        type=click.Choice(["report", "quarantine", "kubernetes", "slurm"]),
        help="What follows for a host that failed: nothing but the report, a group of the "
        "inventory, a cordon and taint of its node, a drain.",
    ),
    *POLICY,
    *WAY,
]  # fmt: skip
"""The flags of ``aiprov validate`` that ``policy_of`` and ``context_of`` read."""

_WHICH: list[Callable[[F], F]] = [
    click.option(
        "--action", default="quarantine", show_default=True,
        type=click.Choice(["quarantine", "kubernetes", "slurm"]),
        help="How the hosts are taken out of service.",
    ),
]  # fmt: skip


def policy_of(**flags: Any) -> Policy:
    """What is to follow from verdicts, by these flags. Raises ``UsageError``."""
    from aiprov.actions.model import Limit, Policy

    return Policy(
        action=flags["action"],
        on_not_measured=flags["act_on_not_measured"],
        limit=Limit.of(flags["action_limit"]),
    )


def context_of(inventory: Inventory, *, fleet: int = 0, **flags: Any) -> Context:
    """Where actions are done, by these flags. ``fleet``: hosts to validate, whatever the limit."""
    from aiprov.actions.acting import Context

    return Context(
        inventory=inventory,
        fleet=fleet,
        quarantine_file=flags.get("quarantine_file"),
        kubeconfig=flags.get("kubeconfig"),
        slurm_host=flags.get("slurm_host"),
    )


# ---------------------------------------------------------------- the verbs


@click.group()
def quarantine() -> None:
    """Show hosts that validations took out of service, and give them back."""


@quarantine.command("list")
@with_flags(_WHICH, WAY, INVENTORY, HOSTS, OUTPUT)
def list_held(action: Any, as_json: bool, verbose: int, **flags: Any) -> int:
    """Show the hosts that aiprov took out of service, since when and why."""
    from aiprov import app
    from aiprov.actions import acting

    inventory = app.inventory(request_of(**flags))
    found = _limited(acting.held(action, context_of(inventory, **flags)), inventory, flags)
    if as_json:
        held = [asdict(found[name]) for name in sorted(found)]
        print_json({**_head("list"), "action": action, "held": held})
    else:
        click.echo(_held_text(found))
    return OK


@quarantine.command()
@click.argument("names", nargs=-1, metavar="[HOST]...")
@click.option("--all", "everyone", is_flag=True, help="All that aiprov took out of service.")
@with_flags(_WHICH, WAY, INVENTORY, HOSTS, OUTPUT)
def release(
    names: tuple[str, ...], everyone: bool, action: Any, as_json: bool, verbose: int, **flags: Any
) -> int:
    """Give hosts back: undo what aiprov did to them, and only that.

    What was found stays: a node that somebody else had cordoned before, or a drain with another
    reason.
    """
    from aiprov import app
    from aiprov.actions import acting

    if bool(names) == everyone:
        raise UsageError(
            "release which hosts?" if not names else "HOST and --all are two answers",
            hint="name them, or all of them with --all; aiprov quarantine list shows them",
        )
    inventory = app.inventory(request_of(**flags))
    context = context_of(inventory, **flags)
    chosen: Sequence[str] | None = names or None
    if chosen is None and flags["limit"]:
        chosen = sorted(_limited(acting.held(action, context), inventory, flags))
    return _told("release", acting.release(action, chosen, context), as_json)


@quarantine.command()
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_flags(_WHICH, POLICY, WAY, INVENTORY, HOSTS, OUTPUT)
def apply(report: Path, as_json: bool, verbose: int, **flags: Any) -> int:
    """Do to hosts what follows from REPORT, the JSON of an earlier aiprov validate."""
    from aiprov import app
    from aiprov.actions import acting
    from aiprov.checks.validation import from_document

    hint = "give what aiprov validate --json printed"
    try:
        validation = from_document(json.loads(report.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"{report}: {error.strerror}", hint=hint) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{report} is no report of a validation", hint=hint) from error
    context = context_of(app.inventory(request_of(**flags)), **flags)
    return _told("apply", acting.act(validation, policy_of(**flags), context), as_json)


def _limited(
    found: Mapping[str, Held], inventory: Inventory, flags: Mapping[str, Any]
) -> dict[str, Held]:
    names = {host.name for host in inventory.hosts} if flags["limit"] else set(found)
    return {name: one for name, one in found.items() if name in names}


def _held_text(found: Mapping[str, Held]) -> str:
    if not found:
        return "no host is out of service by aiprov"
    lines = []
    for name, one in sorted(found.items()):
        about = ", ".join(text for text in (f"since {one.since}" if one.since else "", one.note)
                          if text)  # fmt: skip
        lines.append(f"{name}{f'  ({about})' if about else ''}")
        lines += [f"    {one.reason}"] if one.reason else []
    return "\n".join(lines)


def _told(verb: str, done: Sequence[Action], as_json: bool) -> int:
    if as_json:
        print_json({**_head(verb), "actions": [asdict(one) for one in done]})
    else:
        for one in done:
            click.echo(f"{one.host}  {one.kind if one.done else 'NOT DONE'}: {one.message}")
        if not done:
            click.echo("nothing to do")
    return OK if all(one.done for one in done) else ERROR


def _head(verb: str) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, "verb": f"quarantine {verb}"}
