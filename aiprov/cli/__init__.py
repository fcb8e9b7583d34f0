"""Verbs and flags only. What a verb does is one function in ``app``, loaded on demand."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aiprov import __version__
from aiprov.cli.lab import lab
from aiprov.errors import AiprovError

if TYPE_CHECKING:
    from types import FrameType

    from aiprov.app import Request, Run

OK, ERROR, PENDING, NOT_VERIFIED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130

F = TypeVar("F", bound=Callable[..., Any])


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
        sys.exit(INTERRUPTED)
    except ExceptionGroup as group:
        for problem in group.exceptions:
            _show_error(problem)
        sys.exit(ERROR)
    except AiprovError as error:
        _show_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (``| head``) has gone; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
    sys.exit(code if isinstance(code, int) else OK)


def _start_fast() -> None:
    """Leave out what costs a tenth of a run that changes nothing, and gives it nothing."""
    # Imports make a hundred thousand objects that stay: looking for garbage there finds none.
    gc.set_threshold(20_000, 50, 100)
    # pydantic would read the metadata of every installed distribution, to look for its plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show_error(error: BaseException) -> None:
    if not isinstance(error, AiprovError):
        raise error
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)


# ---------------------------------------------------------------- flags that verbs share

_INVENTORY = [
    click.option(
        "-i", "--inventory", "sources", multiple=True, metavar="PATH",
        help="Inventory file, directory or host list, as for Ansible. May be given several times.",
    ),
    click.option("-l", "--limit", metavar="PATTERN", help="Only these hosts (Ansible pattern)."),
    click.option(
        "--vault-password-file", "vault_password_files", multiple=True, metavar="PATH",
        help="File (or script) with the password of vaulted values.",
    ),
    click.option("--ask-vault-pass", is_flag=True, help="Ask for the vault password."),
]  # fmt: skip

_HOSTS = [
    click.option("-u", "--user", help="Log in as this user."),
    click.option("--private-key", metavar="PATH", help="Log in with this key."),
    click.option("-b", "--become", is_flag=True, help="Become root by sudo (or su)."),
    click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the become password."),
    click.option(
        "-f", "--forks", default=32, show_default=True, type=click.IntRange(1, 1000),
        help="How many hosts are worked on at once.",
    ),
    click.option(
        "-T", "--timeout", type=click.FloatRange(1, 600), metavar="SECONDS",
        help="How long to wait for a connection (default: the inventory's, else 10).",
    ),
]  # fmt: skip

_ROLES = [
    click.option(
        "--role", "roles", multiple=True, metavar="ROLE",
        help="Only this role (and those it requires) instead of the inventory's aiprov_roles.",
    ),
]  # fmt: skip

_OUTPUT = [
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    click.option("-v", "--verbose", count=True, help="Show more; twice for more still."),
]


def _with(*groups: list[Callable[[F], F]]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return add


def _request(**flags: Any) -> Request:
    from aiprov.app import Request
    from aiprov.inventory import Options
    from aiprov.resources import Secret

    password = None
    if flags.get("ask_become_pass"):
        password = Secret(click.prompt("BECOME password", hide_input=True, err=True))
    options = Options(
        user=flags.get("user"),
        private_key_file=flags.get("private_key"),
        become=flags.get("become", False),
        become_password=password,
        timeout_s=flags.get("timeout"),
    )
    return Request(
        sources=flags["sources"],
        limit=flags["limit"],
        roles=flags.get("roles", ()),
        forks=flags.get("forks", 32),
        options=options,
        vault_password_files=flags["vault_password_files"],
        ask_vault_password=flags["ask_vault_pass"],
        bootstrap=flags.get("bootstrap", False),
    )


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))


# ---------------------------------------------------------------- the verbs


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done or nothing to do, 1 error, 2 changes pending (plan, drift), "
    "3 verification failed, 4 some hosts unreachable.",
)
@click.version_option(__version__, prog_name="aiprov")
def root() -> None:
    """From an Ansible inventory to converged and proven GPU hosts."""


@root.command()
@_with(_INVENTORY, _HOSTS, _ROLES, _OUTPUT)
@click.option("--diff/--no-diff", default=True, help="Show what changes inside files.")
def plan(as_json: bool, verbose: int, diff: bool, **flags: Any) -> int:
    """Show what would change on each host, and why. Touches nothing."""
    return _show_plan("plan", _request(**flags), as_json, verbose, diff)


@root.command()
@_with(_INVENTORY, _HOSTS, _ROLES, _OUTPUT)
def drift(as_json: bool, verbose: int, **flags: Any) -> int:
    """Report hosts that are no longer as the inventory wants them. For cron and CI."""
    return _show_plan("drift", _request(**flags), as_json, verbose, diff=verbose > 0)


@root.command()
@_with(_INVENTORY, _HOSTS, _ROLES, _OUTPUT)
def verify(as_json: bool, verbose: int, **flags: Any) -> int:
    """Check that each host is as the inventory wants it; exit 3 when one is not."""
    code = _show_plan("verify", _request(**flags), as_json, verbose, diff=verbose > 0)
    return NOT_VERIFIED if code == PENDING else code


@root.command()
@_with(_INVENTORY, _HOSTS, _ROLES, _OUTPUT)
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
        _request(**flags), as_json, verbose,
    )  # fmt: skip


@root.command()
@_with(_INVENTORY, _HOSTS, _OUTPUT)
def facts(as_json: bool, verbose: int, **flags: Any) -> int:
    """Show what each host is: OS, kernel, PCI devices, memory, network."""
    from aiprov import app
    from aiprov.errors import HostError
    from aiprov.plan import FORMAT_VERSION
    from aiprov.report.text import facts_text
    from aiprov.survey.facts import as_json as facts_document

    code = OK
    hosts: dict[str, Any] = {}
    for name, found in app.facts(_request(**flags)):
        if isinstance(found, HostError):
            hosts[name] = {"error": found.message, "hint": found.hint}
            code = max(code, found.exit_code) if code != ERROR else ERROR
            _show_error(found)
        else:
            hosts[name] = facts_document(found)
            if not as_json:
                click.echo(facts_text(hosts[name]))
    if as_json:
        _print_json({"format_version": FORMAT_VERSION, "hosts": hosts})
    return code


@root.command()
@click.argument("engine", type=click.Choice(["ansible"]))
@click.argument("role")
@click.option("--host", required=True, help="The inventory host to render for.")
@_with(_INVENTORY, _HOSTS)
def render(engine: str, role: str, host: str, **flags: Any) -> int:
    """Print the plain Ansible tasks that a role's plan comes to on a host."""
    from aiprov import app

    tasks = app.render_ansible(_request(**flags), role, host)
    click.echo(tasks, nl=False)
    if tasks.strip() in {"", "---"}:
        click.echo(f"nothing to do for role {role} on {host}", err=True)
    return OK


@root.command("cloud-init")
@click.option("--host", required=True, help="The inventory host to boot.")
@click.option("--os", "system", required=True, metavar="ID-VERSION",
              help="The image's OS: debian-12, ubuntu-24.04, rocky-9 …")  # fmt: skip
@click.option("--arch", default="x86_64", show_default=True, help="The image's architecture.")
@click.option("--gzip", "compressed", is_flag=True, help="Compress, for tight user-data limits.")
@click.option("--allow-secrets", is_flag=True, help="Write secret values into the user-data.")
@_with(_INVENTORY, _ROLES)
def cloud_init(
    host: str, system: str, arch: str, compressed: bool, allow_secrets: bool, **flags: Any
) -> int:
    """Print user-data that brings an instance to a host's roles at its first boot."""
    from aiprov import app

    user_data, size = app.cloud_init(
        _request(**flags), host, system, arch, compressed=compressed, allow_secrets=allow_secrets
    )
    sys.stdout.buffer.write(user_data)
    click.echo(size, err=True)
    return OK


@root.group("inventory")
def inventory_group() -> None:
    """Look at the inventory and check every setting in it. Connects to nothing."""


@inventory_group.command()
@_with(_INVENTORY, _OUTPUT)
def check(as_json: bool, verbose: int, **flags: Any) -> int:
    """Check hosts and settings: unknown names, wrong types, values out of range."""
    return _show_inventory("check", as_json, flags)


@inventory_group.command()
@_with(_INVENTORY, _OUTPUT)
def show(as_json: bool, verbose: int, **flags: Any) -> int:
    """Show every setting of every host and where it comes from."""
    return _show_inventory("show", as_json, flags)


@inventory_group.command()
@_with(_INVENTORY, _OUTPUT)
def graph(as_json: bool, verbose: int, **flags: Any) -> int:
    """Show groups and hosts as a tree."""
    return _show_inventory("graph", as_json, flags)


@root.command()
@click.option("--run", "number", type=int, help="A run's number (default: the newest).")
@click.option("--list", "listed", is_flag=True, help="List the recorded runs.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False), help="Write a web page.")
@click.option("--junit", "junit_file", type=click.Path(dir_okay=False), help="Write JUnit XML.")
@_with(_OUTPUT)
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
        for run, started, verb in history.runs():
            click.echo(f"{run:5}  {started}  {verb}")
        return OK
    document = history.load(number)
    for written in app.write_reports(document, html_file=html_file, junit_file=junit_file):
        click.echo(f"wrote {written}", err=True)
    if as_json:
        _print_json(document)
    elif not (html_file or junit_file):
        click.echo(summary_text(document, whole=verbose > 0))
    return OK


root.add_command(lab)


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
    history.record(document)
    if as_json:
        _print_json(document)
    else:
        before_summary(run)
        click.echo(summary_text(document, whole=verbose > 0))
    if run.interrupted:
        left = run.hosts - len(run.results)
        click.echo(f"interrupted: {left} of {run.hosts} hosts were not begun", err=True)
    return exit_code(run)


def exit_code(run: Run) -> int:
    """The run's exit code: the worst thing that happened, by the design's order."""
    if run.interrupted:
        return INTERRUPTED
    errors = [result.error for result in run.results if result.error is not None]
    codes = {error.exit_code for error in errors}
    for code in (ERROR, NOT_VERIFIED, UNREACHABLE):
        if code in codes:
            return code
    return PENDING if any(result.status == "pending" for result in run.results) else OK


def _show_inventory(what: str, as_json: bool, flags: dict[str, Any]) -> int:
    from aiprov import app

    document, text, ok = app.inventory_view(what, _request(**flags))
    if as_json:
        _print_json(document)
    else:
        click.echo(text)
    return OK if ok else ERROR
