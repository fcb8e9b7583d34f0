"""``aiprov lab``: the lab's verbs and flags."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import click

from aiprov import FORMAT_VERSION
from aiprov.cli.output import print_json

if TYPE_CHECKING:
    from aiprov.lab.handle import Lab
    from aiprov.lab.vendor import Kind

_DIRECTORY = click.option(
    "--directory", type=click.Path(file_okay=False), metavar="PATH",
    help="The lab's folder (default: $AIPROV_LAB_DIR, else .lab here).",
)  # fmt: skip


@click.group()
def lab() -> None:
    """Throwaway real hosts on this machine (systemd-nspawn). Needs root."""


@lab.command()
@click.argument("hosts", nargs=-1, metavar="[NAME[:SUITE[:PART,][GPUS]]]...")
@click.option("-n", "--number", type=click.IntRange(1, 240), help="So many hosts: lab1, lab2 …")
@click.option("--suite", type=click.Choice(["bookworm", "trixie"]), default="bookworm",
              show_default=True, help="Debian 12 or 13, where a host does not say.")  # fmt: skip
@click.option(
    "--gpus",
    metavar="MODELxN[+...][,FAULT...]",
    default="",
    help="Simulated GPUs, where a host does not say: h200x8, h100x4+l40sx2,xid=79@0.",
)
@click.option("--group", "groups", multiple=True, help="Put the hosts into this inventory group.")
@click.option("--vendor", multiple=True, type=click.Choice(["apt", "dnf", "docker"]),
              help="Stand-in vendor repositories for the hosts; with GPUs there is apt's always.",
              )  # fmt: skip
@click.option("--kubernetes", multiple=True, metavar="VERSION",
              help="Have this version too: 1.20.3, 1.21.0. They are 1.20.2 under another number.",
              )  # fmt: skip
@_DIRECTORY
def up(
    hosts: tuple[str, ...],
    number: int | None,
    suite: str,
    gpus: str,
    groups: tuple[str, ...],
    vendor: tuple[Kind, ...],
    kubernetes: tuple[str, ...],
    directory: str | None,
) -> None:
    """Bring hosts up, and write an inventory for them.

    GPUS are simulated: MODEL is a short name of the catalog (h200, a100-80gb) or a PCI id; faults
    are missing=N, narrow=GPU, xid=CODE@GPU and nouveau; nics=N adds InfiniBand adapters. So
    gpu1:trixie:h200x8 is one host.

    PART in a Kubernetes cluster: control-plane, worker, or node for a host that joins later. So
    cp1::control-plane w1::worker,h200x2 are a cluster's hosts.
    """
    from aiprov.lab.build import HostSpec

    count = number if hosts or number else 1
    names = [*hosts, *(f"lab{one + 1}" for one in range(count or 0))]
    specs = [HostSpec.named(word, suite=suite, hardware=gpus, groups=groups) for word in names]
    _lab(directory).up(
        specs, vendor=vendor, kubernetes=kubernetes, say=lambda text: click.echo(text, err=True)
    )


@lab.command()
@_DIRECTORY
def down(directory: str | None) -> None:
    """Remove every host of the lab, and all that it made on this machine."""
    _lab(directory).down()


@lab.command()
@_DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(directory: str | None, as_json: bool) -> None:
    """Show the lab's hosts and whether they run."""
    from aiprov.lab.access import is_running

    there = _lab(directory)
    hosts = [
        {
            "name": host.name,
            "address": host.address,
            "suite": host.suite,
            "running": is_running(there.folder, host),
        }
        for host in there.hosts.values()
    ]
    if as_json:
        document = {
            "format_version": FORMAT_VERSION,
            "inventory": str(there.inventory),
            "hosts": hosts,
        }
        print_json(document)
        return
    for host in hosts:
        state = "running" if host["running"] else "off"
        click.echo(f"{host['name']:<16} {host['address']:<16} {host['suite']:<10} {state}")
    click.echo(f"inventory: {there.inventory}" if hosts else "no hosts", err=True)


@lab.command()
@click.argument("host")
@click.option("--engine", type=click.Choice(["docker", "containerd"]), default="docker",
              show_default=True, help="Whose image store.")  # fmt: skip
@_DIRECTORY
def image(host: str, engine: Literal["docker", "containerd"], directory: str | None) -> None:
    """Give a host's container engine a small image (busybox), and print its name."""
    click.echo(_lab(directory).import_image(host, engine))


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("-u", "--user", default="root", show_default=True, help="Log in as this user.")
@_DIRECTORY
def ssh(host: str, command: tuple[str, ...], user: str, directory: str | None) -> None:
    """Log in to one of the lab's hosts, or run a command there."""
    from aiprov.errors import LabError

    there = _lab(directory)
    if host not in there.hosts:
        names = ", ".join(there.hosts)
        raise LabError(
            f"the lab has no host {host!r}",
            hint=f"it has {names}" if names else "`aiprov lab up` brings hosts up",
        )
    argv = [*there.ssh_argv(host, user), *command]
    os.execvp(argv[0], argv)  # noqa: S606  an interactive program takes this one's place


def _lab(directory: str | None) -> Lab:
    from pathlib import Path

    from aiprov.lab.handle import Lab
    from aiprov.lab.state import default_directory

    return Lab(Path(directory) if directory else default_directory())
