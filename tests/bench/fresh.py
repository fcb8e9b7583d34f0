"""Runs that do all the work: a first converge, and whether peers end where aiprov does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from aiprov.resources import Package, Resource, Service
from tests.bench.measure import Command, Figures, Sample
from tests.bench.parts import Sizes
from tests.bench.stage import Stage
from tests.bench.table import Result, Table, Target, figures_table


def first(stage: Stage, sizes: Sizes) -> Result:
    """A fresh host's first converge, beside apt and the daemons alone on an equal host."""
    wanted = stage.resources(stage.converged(1)[0])
    ways: dict[str, Callable[[str], Sample]] = {
        "aiprov apply": lambda host: stage.converge([host]),
        "apt-get and systemctl alone": lambda host: _alone(stage, host, wanted),
    }
    samples: dict[str, list[Sample]] = {way: [] for way in ways}
    for number in range(sizes.fresh):
        turn = list(ways.items())
        for way, bring in turn if number % 2 == 0 else reversed(turn):
            with stage.fresh(f"fresh{number}", lists=False) as host:
                sample = bring(host)
            samples[way].append(sample)
            stage.say(f"{way}: {sample.wall:.1f} s")
    found = [Figures(name=name, samples=several) for name, several in samples.items()]
    ratio = found[0].wall / found[1].wall
    return Result(
        tables=[figures_table("First converge of a fresh host, package cache warm", found)],
        targets=[Target("first converge / apt and daemons alone", ratio, "x", at_most=1.25)],
    )


def _alone(stage: Stage, host: str, wanted: Sequence[Resource]) -> Sample:
    """The least that anybody has to wait for: lists, packages in one go, daemons restarted."""
    packages = [item.name for item in wanted if isinstance(item, Package) and not item.absent]
    services = [item.name for item in wanted if isinstance(item, Service) and item.restart_on]
    install = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "install")
    began = time.monotonic()
    for argv in (
        ("apt-get", "update"),
        (*install, *packages),
        ("systemctl", "restart", *services),
    ):
        stage.lab.run(host, argv, timeout=600)
    wall = time.monotonic() - began
    return Sample(wall=wall, cpu=0.0, memory=0.0, output="", exit_code=0)


def same(stage: Stage, sizes: Sizes) -> Result:
    """Fresh hosts brought there by each peer: aiprov has to find nothing to do on any of them."""
    stage.write_peers(stage.converged(1)[0])
    rows = []
    for number, peer in enumerate((_ordinary, _plain)):
        with stage.fresh(f"peer{number}", lists=True) as host:
            command = replace(peer(stage, host), valid=_succeeded)
            sample = command.run()
            stage.say(f"{command.name}: {sample.wall:.1f} s")
            stage.aiprov("verify", stage.inventory(host, 1, [host]), 1).run()
        rows.append((command.name, f"{sample.wall:.1f}"))
    table = Table(
        title="The peers bring a fresh host to the same end state",
        head=("peer", "first run, s"),
        rows=rows,
        note="`aiprov verify` then found nothing to change on either host.",
    )
    return Result(tables=[table])


def _ordinary(stage: Stage, host: str) -> Command:
    inventory = stage.inventory(host, 1, [host])
    return stage.ansible("ordinary Ansible tasks", stage.files / "ordinary.yml", inventory, 1)


def _plain(stage: Stage, host: str) -> Command:
    return stage.pyinfra(stage.inventory(host, 1, [host]), 1)


def _succeeded(sample: Sample) -> str | None:
    return f"exit status {sample.exit_code}" if sample.exit_code else None
