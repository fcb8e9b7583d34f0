"""Verbs and flags only. What a verb does is one function in ``app``, loaded on demand."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from aiprov import FORMAT_VERSION, __version__
from aiprov.cli.cluster import cluster, kubeconfig
from aiprov.cli.codes import ERROR, INTERRUPTED, NOT_VERIFIED, OK, PENDING, worst
from aiprov.cli.doctor import doctor
from aiprov.cli.flags import HOSTS, INVENTORY, OUTPUT, ROLES, request_of, with_flags
from aiprov.cli.history import history
from aiprov.cli.lab import lab
from aiprov.cli.output import print_json, show_error
from aiprov.cli.quarantine import quarantine
from aiprov.cli.ranks import ranks
from aiprov.cli.resolve import resolve
from aiprov.cli.validate import validate
from aiprov.errors import AiprovError

if TYPE_CHECKING:
    from types import FrameType

    from aiprov.app import Request, Run


def main() -> None:
    """The ``aiprov`` command. Exits with the codes that ``aiprov --help`` lists."""
    signal.signal(signal.SIGTERM, _terminated)
    _start_fast()
    try:
        code = root.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(ERROR)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        _leave(INTERRUPTED)
    except AiprovError as error:
        show_error(error)
        sys.exit(error.exit_code)
    _leave(code if isinstance(code, int) else OK)


def _leave(code: int) -> NoReturn:
    """Exit; interrupted twice, without waiting for the hosts that are still under way."""
    waiting = [thread for thread in threading.enumerate() if not thread.daemon]
    if code == INTERRUPTED and len(waiting) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _start_fast() -> None:
    """Leave out what costs a tenth of a run that changes nothing, and gives it nothing."""
    # Imports make a hundred thousand objects that stay: looking for garbage there finds none.
    gc.set_threshold(20_000, 50, 100)
    # pydantic would read the metadata of every installed distribution, to look for its plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# ---------------------------------------------------------------- the verbs


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done or nothing to do, 1 error, 2 changes pending (plan, drift), "
    "3 verification or validation failed, or problems found (doctor, cluster), "
    "4 some hosts unreachable, 130 interrupted.",
)
@click.version_option(__version__, prog_name="aiprov")
def root() -> None:
    """From an Ansible inventory to converged and proven GPU hosts."""


@root.command()
@with_flags(INVENTORY, HOSTS, ROLES, OUTPUT)
@click.option("--diff/--no-diff", default=True, help="Show what changes inside files.")
def plan(as_json: bool, verbose: int, diff: bool, **flags: Any) -> int:
    """Show what would change on each host, and why. Touches nothing."""
    return _show_plan("plan", request_of(**flags), as_json, verbose, diff)


@root.command()
@with_flags(INVENTORY, HOSTS, ROLES, OUTPUT)
def drift(as_json: bool, verbose: int, **flags: Any) -> int:
    """Report hosts that are no longer as the inventory wants them. For cron and CI."""
    return _show_plan("drift", request_of(**flags), as_json, verbose, diff=verbose > 0)


@root.command()
@with_flags(INVENTORY, HOSTS, ROLES, OUTPUT)
def verify(as_json: bool, verbose: int, **flags: Any) -> int:
    """Check that each host is as the inventory wants it; exit 3 when one is not."""
    code = _show_plan("verify", request_of(**flags), as_json, verbose, diff=verbose > 0)
    return NOT_VERIFIED if code == PENDING else code


@root.command()
@with_flags(INVENTORY, HOSTS, ROLES, OUTPUT)
@click.option(
    "--engine", default="pyinfra", show_default=True, type=click.Choice(["pyinfra", "ansible"]),
    help="What makes the changes.",
)  # fmt: skip
@click.option("--bootstrap", is_flag=True, help="Install Python first on hosts that have none.")
def apply(engine: str, as_json: bool, verbose: int, **flags: Any) -> int:
    """Bring each host to what the inventory wants, and verify it by reading it back."""
    from aiprov import app

    return _run(
        lambda request, show: app.apply(request, show, engine),
        request_of(**flags), as_json, verbose,
    )  # fmt: skip


@root.command()
@with_flags(INVENTORY, HOSTS, OUTPUT)
def facts(as_json: bool, verbose: int, **flags: Any) -> int:
    """Show what each host is: OS, kernel, PCI devices, memory, network."""
    from aiprov import app
    from aiprov.errors import HostError
    from aiprov.report.text import facts_text
    from aiprov.survey.facts import as_json as facts_document

    codes: set[int] = set()
    hosts: dict[str, Any] = {}
    for name, found in app.facts(request_of(**flags)):
        if isinstance(found, HostError):
            hosts[name] = {"error": found.message, "hint": found.hint}
            codes.add(found.exit_code)
            show_error(found)
        else:
            hosts[name] = facts_document(found)
            if not as_json:
                click.echo(facts_text(hosts[name]))
    if as_json:
        print_json({"format_version": FORMAT_VERSION, "hosts": hosts})
    return worst(codes)


@root.command()
@click.argument("engine", type=click.Choice(["ansible"]))
@click.argument("role")
@click.option("--host", required=True, help="The inventory host to render for.")
@with_flags(INVENTORY, HOSTS)
def render(engine: str, role: str, host: str, **flags: Any) -> int:
    """Print the plain Ansible tasks that a role's plan comes to on a host."""
    from aiprov import app

    tasks = app.render_ansible(request_of(**flags), role, host)
    click.echo(tasks, nl=False)
    if tasks.strip() in {"", "---"}:
        click.echo(f"nothing to do for role {role} on {host}", err=True)
    return OK


@root.command("cloud-init")
@click.option("--host", required=True, help="The inventory host to boot.")
@click.option("--os", "system", required=True, metavar="ID-VERSION",
              help="The image's OS: debian-12, ubuntu-24.04, rocky-9 …")  # fmt: skip
@click.option("--arch", default="x86_64", show_default=True, help="The image's architecture.")
@click.option("--gpu", "gpus", multiple=True, metavar="ID|MODEL",
              help="A GPU that the instance is going to have. Once for each of them.")  # fmt: skip
@click.option("--gzip", "compressed", is_flag=True, help="Compress, for tight user-data limits.")
@click.option("--allow-secrets", is_flag=True, help="Write secret values into the user-data.")
@with_flags(INVENTORY, ROLES)
def cloud_init(
    host: str,
    system: str,
    arch: str,
    gpus: tuple[str, ...],
    compressed: bool,
    allow_secrets: bool,
    **flags: Any,
) -> int:
    """Print user-data that brings an instance to a host's roles at its first boot."""
    from aiprov import app

    image = app.Image(system=system, architecture=arch, gpus=gpus)
    user_data, size = app.cloud_init(
        request_of(**flags), host, image, compressed=compressed, allow_secrets=allow_secrets
    )
    sys.stdout.buffer.write(user_data)
    click.echo(size, err=True)
    return OK


@root.group("inventory")
def inventory_group() -> None:
    """Look at the inventory and check every setting in it. Connects to nothing."""


@inventory_group.command()
@with_flags(INVENTORY, OUTPUT)
def check(as_json: bool, verbose: int, **flags: Any) -> int:
    """Check hosts and settings: unknown names, wrong types, values out of range."""
    return _show_inventory("check", as_json, flags)


@inventory_group.command()
@with_flags(INVENTORY, OUTPUT)
def show(as_json: bool, verbose: int, **flags: Any) -> int:
    """Show every setting of every host and where it comes from."""
    return _show_inventory("show", as_json, flags)


@inventory_group.command()
@with_flags(INVENTORY, OUTPUT)
def graph(as_json: bool, verbose: int, **flags: Any) -> int:
    """Show groups and hosts as a tree."""
    return _show_inventory("graph", as_json, flags)


@root.command()
@click.option("--run", "number", type=int, help="A run's number (default: the newest).")
@click.option("--list", "listed", is_flag=True, help="List the recorded runs.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False), help="Write a web page.")
@click.option("--junit", "junit_file", type=click.Path(dir_okay=False), help="Write JUnit XML.")
@with_flags(OUTPUT)
def report(
    number: int | None,
    listed: bool,
    html_file: str | None,
    junit_file: str | None,
    as_json: bool,
    verbose: int,
) -> int:
    """Show a recorded run again: as text, web page, JUnit or JSON."""
    from aiprov import app, history
    from aiprov.report.text import summary_text

    if listed:
        runs = [
            {"run": run, "started": started, "verb": verb} for run, started, verb in history.runs()
        ]
        if as_json:
            print_json({"format_version": FORMAT_VERSION, "runs": runs})
        for run in () if as_json else runs:
            click.echo(f"{run['run']:5}  {run['started']}  {run['verb']}")
        return OK
    document = history.load(number)
    for written in app.write_reports(document, html_file=html_file, junit_file=junit_file):
        click.echo(f"wrote {written}", err=True)
    if as_json:
        print_json(document)
    elif not (html_file or junit_file):
        click.echo(summary_text(document, whole=verbose > 0))
    return OK


root.add_command(lab)
root.add_command(resolve)
root.add_command(doctor)
root.add_command(validate)
root.add_command(ranks)
root.add_command(history)
root.add_command(cluster)
root.add_command(kubeconfig)
root.add_command(quarantine)


# ---------------------------------------------------------------- running and showing


def _show_plan(verb: str, request: Request, as_json: bool, verbose: int, diff: bool) -> int:
    from aiprov import app
    from aiprov.report.text import plan_text

    def show_hosts(run: Run) -> None:
        for result in sorted(run.results, key=lambda result: result.host):
            if result.status == "pending":
                click.echo(plan_text(result, diff=diff) + "\n")

    return _run(
        lambda request, show: app.plan(request, show, verb),
        request, as_json, verbose, before_summary=show_hosts,
    )  # fmt: skip


def _run(
    verb_function: Callable[..., Run],
    request: Request,
    as_json: bool,
    verbose: int,
    before_summary: Callable[[Run], None] = lambda _run: None,
) -> int:
    from aiprov import history
    from aiprov.report.progress import progress
    from aiprov.report.text import summary_text

    with progress(quiet=as_json and not verbose, verbose=verbose) as shown:
        run = verb_function(request, shown)
    document = run.document
    if as_json:
        print_json(document)
    else:
        before_summary(run)
        click.echo(summary_text(document, whole=verbose > 0))
    try:
        history.record(document)
    except AiprovError as error:  # the hosts are as they are: the run's own result stands
        show_error(error, "warning")
    if run.interrupted:
        _show_interrupted(run)
    return exit_code(run)


def _show_interrupted(run: Run) -> None:
    not_begun = run.hosts - len(run.results) - len(run.under_way)
    click.echo(f"interrupted: {not_begun} of {run.hosts} hosts were not begun", err=True)
    if run.under_way:
        click.echo(f"left under way, run again to go on: {', '.join(run.under_way)}", err=True)


def exit_code(run: Run) -> int:
    """The run's exit code: the worst thing that happened, by the design's order."""
    if run.interrupted:
        return INTERRUPTED
    errors = [result.error for result in run.results if result.error is not None]
    pending = any(result.status == "pending" for result in run.results)
    return worst({error.exit_code for error in errors}) or (PENDING if pending else OK)


def _show_inventory(what: str, as_json: bool, flags: dict[str, Any]) -> int:
    from aiprov import app

    document, text, ok = app.inventory_view(what, request_of(**flags))
    if as_json:
        print_json(document)
    else:
        click.echo(text)
    return OK if ok else ERROR
