"""``aiprov cluster`` and ``aiprov kubeconfig``: a Kubernetes cluster over its life."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiprov import FORMAT_VERSION
from aiprov.cli.codes import NOT_VERIFIED, OK, UNREACHABLE, worst
from aiprov.cli.flags import HOSTS, INVENTORY, OUTPUT, request_of, with_flags
from aiprov.cli.output import print_json, show_error
from aiprov.errors import AiprovError, UsageError

if TYPE_CHECKING:
    from aiprov.app import Request
    from aiprov.cluster.members import Members
    from aiprov.cluster.plane import Hosts

YES = [click.option("-y", "--yes", is_flag=True, help="Do not ask.")]
DRAIN = [
    click.option(
        "--drain-timeout", "drain_s", default="10m", show_default=True, metavar="TIME",
        callback=lambda _context, _option, value: seconds(value),
        help="How long pods may take to leave a node (90s, 10m, 2h).",
    ),
    click.option("--bare-pods", is_flag=True, help="Delete pods that nothing makes again, too."),
]  # fmt: skip


def seconds(text: str) -> int:
    """A time as people write it. Raises ``UsageError`` for anything else."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    if not number.isdigit() or int(number) < 1:
        raise UsageError(f"{text!r} is no time", hint="write 90s, 10m or 2h")
    return int(number) * units[unit]


def _say(host: str, line: str) -> None:
    click.echo(f"[{host}] {line}", err=True)


@contextmanager
def _reached(request: Request, *, limited: bool = False) -> Iterator[tuple[Members, Hosts]]:
    """The cluster's members by the inventory, and a way to their hosts.

    ``limited``: whether the verb has a use for --limit. A cluster is otherwise meant as a whole.
    """
    from aiprov import app
    from aiprov.cluster.members import members
    from aiprov.cluster.plane import Hosts

    if not limited:
        _refuse_limit(request)
    found = members(app.inventory(request))
    hosts = Hosts()
    try:
        yield found, hosts
    finally:
        hosts.close()


def _refuse_limit(request: Request) -> None:
    if request.limit:
        raise UsageError(
            "--limit is not for this: it is about the whole cluster",
            hint="leave it out; reset and upgrade go to chosen hosts",
        )


def _agreed(yes: bool, question: str) -> None:
    """Ask a person; where there is none to ask, --yes has to be given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask", hint="--yes goes on without asking")
    click.confirm(question, abort=True, err=True)


@click.group()
def cluster() -> None:
    """Look after a Kubernetes cluster: status, upgrade, removal, backup, certificates."""


@cluster.command()
@click.option("--show", is_flag=True, help="Show dates and the CA's hash of those that are there.")
@with_flags(INVENTORY, OUTPUT)
def secrets(show: bool, as_json: bool, verbose: int, **flags: Any) -> int:
    """Make the cluster's secrets, once: CAs and keys, vaulted beside the inventory.

    Whoever has the file and its vault password has the cluster. Without it no node can join: put
    it under version control or into a backup.
    """
    from aiprov.cluster import access

    request, now = request_of(**flags), datetime.now(UTC)
    _refuse_limit(request)
    made = None if show else access.make_secrets(request, now)
    document = access.shown(request, now)
    if as_json:
        print_json(document)
    else:
        click.echo(access.secrets_text(document))
    if made is not None:
        click.echo(f"made. Now commit it: git add {made}", err=True)
    return OK


@cluster.command()
@with_flags(INVENTORY, HOSTS, OUTPUT)
def status(as_json: bool, verbose: int, **flags: Any) -> int:
    """Show nodes, API, etcd and certificates; exit 3 when something is not well."""
    from aiprov.cluster import status as found

    with _reached(request_of(**flags)) as (members, hosts):
        document = found.status(hosts, members)
    if as_json:
        print_json(document)
    else:
        click.echo(found.status_text(document))
    return OK if document["healthy"] else NOT_VERIFIED


@cluster.command()
@click.option("--wave", default="1", show_default=True, metavar="N|N%",
              help="How many workers at once.")  # fmt: skip
@click.option(
    "--engine", default="pyinfra", show_default=True, type=click.Choice(["pyinfra", "ansible"]),
    help="What makes the changes.",
)  # fmt: skip
@with_flags(INVENTORY, HOSTS, DRAIN, YES)
def upgrade(wave: str, engine: str, drain_s: int, bare_pods: bool, yes: bool, **flags: Any) -> int:
    """Bring the cluster to the inventory's kubernetes_version, node after node.

    Control planes one by one, then workers in waves: drain, upgrade, see that it is well, uncordon.
    Stops at the first failure. Run again it goes on.
    """
    from aiprov import app, history
    from aiprov.cluster import steps
    from aiprov.cluster.converging import Converging
    from aiprov.cluster.plane import Drain
    from aiprov.cluster.upgrade import Upgrading, outcome_text

    steps.wave_size(wave, 1)  # refused before any host is asked
    request = request_of(**flags)
    converge = Converging(request=request, engine=engine)
    only = {host.name for host in app.inventory(request).hosts} if flags["limit"] else None
    with _reached(request, limited=True) as (members, hosts):
        drain = Drain(seconds=drain_s, bare_pods=bare_pods)
        run = Upgrading(hosts=hosts, members=members, converge=converge, say=_say, drain=drain)
        plan = run.plan(wave, only)
        click.echo(steps.upgrade_text(plan))
        if not plan.steps:
            return OK
        _agreed(yes, f"upgrade {len(plan.steps)} nodes?")
        done = run.run(plan)
    click.echo(outcome_text(plan, done))
    try:
        history.record(converge.record.document)
    except AiprovError as error:  # the cluster is as it is: what was done stands
        show_error(error)
    return worst({outcome.error.exit_code for outcome in done if outcome.error is not None})


@cluster.command()
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@click.option("--unreachable-ok", is_flag=True, help="Its host may be gone for good.")
@with_flags(INVENTORY, HOSTS, DRAIN, YES)
def remove(
    nodes: tuple[str, ...],
    unreachable_ok: bool,
    drain_s: int,
    bare_pods: bool,
    yes: bool,
    **flags: Any,
) -> int:
    """Take nodes out of the cluster: drain, delete, out of etcd, and clean their hosts.

    Afterwards take them out of the inventory: `aiprov apply` would let them join again.
    """
    from aiprov.cluster import removal
    from aiprov.cluster.plane import Drain

    drain = Drain(seconds=drain_s, bare_pods=bare_pods)
    with _reached(request_of(**flags)) as (members, hosts):
        plan = removal.plan_removal(hosts, members, nodes, unreachable_ok=unreachable_ok)
        click.echo(removal.removal_text(plan), err=True)
        _agreed(yes, f"remove {', '.join(nodes)}?")
        removal.remove(hosts, plan, drain, _say)
    known = [one.member.host.name for one in plan.leaving if one.member is not None]
    if known:
        click.echo(f"now take out of the inventory: {', '.join(known)}", err=True)
    return OK


@cluster.command()
@with_flags(INVENTORY, HOSTS, YES)
def reset(yes: bool, **flags: Any) -> int:
    """Take Kubernetes off hosts (-l HOSTS), so that they are as before and may join again.

    Their Node objects and etcd members stay known to the cluster: `aiprov cluster remove` is for
    nodes of one that lives on.
    """
    from aiprov import app
    from aiprov.cluster import removal

    if not flags["limit"]:
        raise UsageError("reset which hosts?", hint="name them: -l HOST,HOST")
    request = request_of(**flags)
    named = [host.name for host in app.inventory(request).hosts]
    with _reached(request, limited=True) as (members, hosts):
        chosen = members.having(lambda member: member.host.name in named)
        names = ",".join(member.host.name for member in chosen)
        if not chosen:
            raise UsageError(
                f"{', '.join(named)}: no node of the cluster",
                hint="nodes are in kube_control_plane and kube_worker",
            )
        click.echo(removal.reset_text(members, chosen), err=True)
        _named(yes, names)
        failed = removal.reset(hosts, chosen, _say)
    for error in failed:
        show_error(error)
    return worst({error.exit_code for error in failed})


def _named(yes: bool, names: str) -> None:
    """Have a person write what is going to be lost."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"nobody is there to ask about {names}", hint="give --yes")
    if click.prompt("write their names to go on", err=True).replace(" ", "") != names:
        raise UsageError("that is not what it says above", hint=f"write {names}")


@cluster.command()
@click.option("--renew", is_flag=True, help="Make new ones, on one control plane after the other.")
@with_flags(INVENTORY, HOSTS, OUTPUT, YES)
def certificates(renew: bool, as_json: bool, verbose: int, yes: bool, **flags: Any) -> int:
    """Show how long the control planes' certificates are good for, or renew them."""
    from aiprov.cluster import backup
    from aiprov.cluster.status import certificates as found
    from aiprov.cluster.status import certificates_text

    with _reached(request_of(**flags)) as (members, hosts):
        if renew:
            planes = ", ".join(member.host.name for member in members.control_planes)
            _agreed(yes, f"restart the control plane of {planes}, one after the other?")
            backup.renew(hosts, members, _say)
        ends = dict(found(hosts, members))
    if as_json:
        print_json({"format_version": FORMAT_VERSION, "certificates": ends})
    else:
        click.echo(certificates_text(ends))
    return _unwell(list(ends.values()))


def _unwell(found: Sequence[dict[str, Any]]) -> int:
    from aiprov.cluster.status import FEW_DAYS

    days = [one["days_left"] for host in found for one in host["all"]]
    codes = {
        UNREACHABLE if host["unreachable"] else NOT_VERIFIED for host in found if host["error"]
    }
    return worst({*codes, NOT_VERIFIED} if any(number < FEW_DAYS for number in days) else codes)


@cluster.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_flags(INVENTORY, HOSTS)
def snapshot(file: Path, **flags: Any) -> int:
    """Bring a copy of etcd into FILE. It holds all of the cluster's secrets: mode 0600."""
    from aiprov.cluster import backup

    with _reached(request_of(**flags)) as (members, hosts):
        host, size = backup.snapshot(hosts, members, file)
    click.echo(f"wrote {file}: {size} bytes of etcd on {host}, whole by its digest", err=True)
    return OK


@cluster.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--host", help="The control plane that begins again (default: the first).")
@click.option("--unreachable-ok", is_flag=True, help="The others may be gone for good.")
@with_flags(INVENTORY, HOSTS, YES)
def restore(file: Path, host: str | None, unreachable_ok: bool, yes: bool, **flags: Any) -> int:
    """Begin again from a snapshot: one control plane, alone, with what FILE knows.

    The other control planes are to be reset before, and join again by `aiprov apply` afterwards.
    """
    from aiprov.cluster import backup

    with _reached(request_of(**flags)) as (members, hosts):
        plane = backup.restoring(members, file, host)
        backup.refuse_others(hosts, members, plane, unreachable_ok=unreachable_ok)
        _agreed(yes, f"{plane.host.name} forgets all that came after {file}. Go on?")
        backup.restore(hosts, plane, file, _say)
    return OK


@click.command()
@click.option("--user", help="Whose (default: the administrator that kubeadm has).")
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="A group of the user's.")
@click.option(
    "--days", default=1, show_default=True, type=click.IntRange(1, 3650),
    help="How long it works. It cannot be taken back: keep it short.",
)  # fmt: skip
@click.option("--emergency", is_flag=True, help="One in system:masters, whom no rule keeps out.")
@click.option("--server", metavar="HOST:PORT", help="Where the API is reached from here.")
@click.option("-o", "--output", "file", type=click.Path(dir_okay=False), help="Write this file.")
@with_flags(INVENTORY)
def kubeconfig(
    user: str | None,
    groups: tuple[str, ...],
    days: int,
    emergency: bool,
    server: str | None,
    file: str | None,
    **flags: Any,
) -> int:
    """Print a kubeconfig for kubectl, made here by the cluster's CA. Asks no host.

    With -o it goes into a file that only you can read; one of another cluster is never replaced.
    """
    from aiprov.cluster import access

    request = request_of(**flags)
    _refuse_limit(request)
    wish = access.Wish(user=user, groups=groups, days=days, emergency=emergency, server=server)
    text = access.kubeconfig(request, wish, datetime.now(UTC))
    if file is None:
        click.echo(text, nl=False)
        return OK
    access.write_kubeconfig(Path(file), text)
    click.echo(f"wrote {file}, good for {days} day{'s' if days > 1 else ''}", err=True)
    return OK
