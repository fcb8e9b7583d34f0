"""``aiprov validate``: prove that every GPU does what it should, or say which does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiprov import FORMAT_VERSION
from aiprov.cli.cluster import seconds
from aiprov.cli.codes import INTERRUPTED, NOT_VERIFIED, UNREACHABLE, worst
from aiprov.cli.flags import HOSTS, INVENTORY, OUTPUT, request_of, with_flags
from aiprov.cli.output import print_json, show_error
from aiprov.cli.quarantine import ACTION, context_of, policy_of
from aiprov.errors import HostError, UsageError

if TYPE_CHECKING:
    from aiprov.app import Request
    from aiprov.checks.validation import Validation
    from aiprov.validation.run import Done, Wish

WORK = [
    click.option(
        "--budget", "budget_s", default="20m", show_default=True, metavar="TIME",
        callback=lambda _context, _option, value: seconds(value),
        help="How long each GPU is tested (20m, 2h, 24h); tests are chosen by what they find.",
    ),
    click.option(
        "--device", default="cuda", show_default=True, type=click.Choice(["cuda", "cpu"]),
        help="cpu: processors stand for the GPUs, which proves the way and not the hardware.",
    ),
    click.option(
        "--pairs/--no-pairs", default=True, show_default=True,
        help="Let GPUs of different hosts meet in pairs, with a tenth of the budget on top.",
    ),
    click.option("--seed", type=click.IntRange(0), help="Of operands (default: always another)."),
    click.option(
        "--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
        help="Copy the reports there; they are in .aiprov/validation/ anyway.",
    ),
    click.option(
        "--resume", "instead", flag_value="--resume", multiple=True,
        help="Go on with the newest unfinished one.",
    ),
    click.option(
        "--stop", "instead", flag_value="--stop", multiple=True,
        help="End what runs on the hosts, and exit.",
    ),
    click.option(
        "--self-test", "instead", flag_value="--self-test", multiple=True,
        help="Inject faults into every check, with -i on hosts too, and say how many are seen.",
    ),
]  # fmt: skip


@click.command()
@with_flags(INVENTORY, HOSTS, WORK, ACTION, OUTPUT)
def validate(
    budget_s: int,
    device: str,
    pairs: bool,
    seed: int | None,
    output: Path | None,
    instead: tuple[str, ...],
    as_json: bool,
    verbose: int,
    **flags: Any,
) -> int:
    """Test every GPU and host under load, and give each a verdict with its evidence.

    The hosts need the role gpu_validation. GPUs that somebody uses are left alone.
    """
    from aiprov.actions import acting
    from aiprov.validation.run import Context, Wish, fleet_size

    if len(asked := sorted(set(instead))) > 1:
        raise UsageError(f"{' and '.join(asked)} are given together", hint="give one of them")
    request, policy = request_of(**flags), policy_of(**flags)
    if "--self-test" in instead:
        return _prove(request, device, as_json, verbose)
    if "--stop" in instead:
        return _stop(request, as_json)

    def act(found: Validation, context: Context) -> Validation:
        fleet = fleet_size(context.request) if policy.action != "report" else 0
        where = context_of(context.inventory, fleet=fleet, **flags)
        return replace(found, actions=acting.act(found, policy, where))

    wish = Wish(
        budget_s=budget_s, device=device, seed=seed, output=output, pairs=pairs, after=(act,)
    )
    return _show(_run(request, wish, "--resume" in instead, as_json, verbose), as_json)


def _run(request: Request, wish: Wish, go_on: bool, as_json: bool, verbose: int) -> Done:
    from aiprov.report.progress import progress
    from aiprov.validation import run

    with progress(quiet=as_json and not verbose, verbose=verbose) as shown:
        return (run.resume if go_on else run.validate)(request, wish, shown)


def _show(done: Done, as_json: bool) -> int:
    from aiprov.report.verdicts.text import text

    if as_json:
        print_json(done.validation.document)
    else:
        click.echo(text(done.validation), nl=False)
    for warning in done.warnings:
        click.echo(f"{click.style('warning:', fg='red', bold=True)} {warning}", err=True)
    click.echo(f"all of it: {done.folder}", err=True)
    if done.interrupted:
        click.echo(
            "interrupted: aiprov validate --resume goes on with it; --stop ends what is left there",
            err=True,
        )
        return INTERRUPTED
    return exit_code(done.validation)


def exit_code(validation: Validation) -> int:
    """3 where anything measured is not ok; 4 where that is all well and hosts are unreachable."""
    from aiprov.checks.model import verdict_of

    lost = {host.host for host in validation.hosts if host.status == "unreachable"}
    others = [host for host in validation.hosts if host.host not in lost]
    own = [check for check in validation.checks if check.subject.host not in lost]
    well = all(host.status == "done" for host in others) and (
        verdict_of(own) == "ok" if others else True
    )
    failed = any(check.verdict == "failed" for check in validation.checks)
    codes = {UNREACHABLE} if lost else set()
    return worst(codes if well and not failed else {*codes, NOT_VERIFIED})


def _prove(request: Request, device: str, as_json: bool, verbose: int) -> int:
    from aiprov.report.progress import progress
    from aiprov.report.verdicts import score
    from aiprov.validation import proving

    with progress(quiet=as_json and not verbose, verbose=verbose) as shown:
        made = proving.prove(request, device, shown)
    if as_json:
        print_json({**score.document(made.score), "proven": made.proven})
    else:
        click.echo(score.text(made.score), nl=False)
    for host in made.hosts:
        if host.status != "done":
            click.echo(f"{host.host}: {host.status}: {host.message}", err=True)
    if not made.hosts:
        click.echo("no host was given (-i): faults were injected into what judges alone", err=True)
    if made.interrupted:
        return INTERRUPTED
    codes = {UNREACHABLE} if any(one.status == "unreachable" for one in made.hosts) else set()
    return worst(codes if made.score.proven else {*codes, NOT_VERIFIED})


def _stop(request: Request, as_json: bool) -> int:
    from aiprov.validation import run

    codes: set[int] = set()
    document: dict[str, Any] = {}
    for host, found in sorted(run.stop(request).items()):
        if isinstance(found, HostError):
            show_error(found)
            codes.add(found.exit_code)
            document[host] = {"error": found.message, "hint": found.hint}
            continue
        document[host] = {"stopped": found}
        if not as_json:
            click.echo(f"{host}: {'ended' if found else 'nothing ran'}")
    if as_json:
        print_json({"format_version": FORMAT_VERSION, "hosts": document})
    return worst(codes)
