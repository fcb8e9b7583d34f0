"""Runs that find nothing to do: near, far away, many hosts, many names. And what starts cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.bench.measure import Command, Figures, Sample, side_by_side
from tests.bench.stage import AIPROV, ROOT, Stage
from tests.bench.table import Result, Table, Target, figures_table

RTT_MS = 50
APPLY, SITE = "aiprov apply", "ansible-playbook playbooks/site.yml"
ANSIBLE, PYINFRA = "ordinary Ansible tasks", "plain pyinfra"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything. Peers that take long run ``slow_runs`` times."""

    runs: int
    slow_runs: int
    hosts: int
    many: int
    names: tuple[int, ...]
    fresh: int


FULL = Sizes(runs=7, slow_runs=3, hosts=20, many=20, names=(1, 10, 50, 100), fresh=3)
QUICK = Sizes(runs=3, slow_runs=1, hosts=1, many=4, names=(1, 20), fresh=1)


def noop(stage: Stage, sizes: Sizes) -> Result:
    """One converged host, nothing to do."""
    hosts = stage.converged(1)
    resources, tasks = stage.write_peers(hosts[0])
    found = _compare(stage, stage.commands(stage.inventory("one", 1, hosts), 1), sizes)
    wall = {figures.name: figures.wall for figures in found}
    title = f"Nothing to do, one host ({resources} resources, {tasks} ordinary tasks)"
    return Result(
        tables=[figures_table(title, found)],
        targets=[
            Target("aiprov apply, one host", wall[APPLY], "s", at_most=1.0),
            Target("ordinary Ansible tasks", wall[ANSIBLE] / wall[APPLY], "x", at_least=15),
            Target("plain pyinfra", wall[PYINFRA] / wall[APPLY], "x", at_least=5),
            Target("the roles in ansible-playbook, one host", wall[SITE], "s", at_most=2.0),
            Target(
                "ordinary Ansible tasks against the roles in ansible-playbook",
                wall[ANSIBLE] / wall[SITE],
                "x",
                at_least=10,
            ),
        ],
    )


def rtt(stage: Stage, sizes: Sizes) -> Result:
    """The same, far away."""
    hosts = stage.converged(1)
    stage.write_peers(hosts[0])
    commands = stage.commands(stage.inventory("one", 1, hosts), 1)
    stage.lab.link_delay(RTT_MS)
    try:
        found = _compare(stage, commands, sizes)
    finally:
        stage.lab.link_delay(0)
    title = f"Nothing to do, one host, {RTT_MS} ms round trip"
    name = f"aiprov apply, one host, {RTT_MS} ms round trip"
    return Result(
        tables=[figures_table(title, found)],
        targets=[Target(name, found[0].wall, "s", at_most=1.3)],
    )


def many(stage: Stage, sizes: Sizes) -> Result:
    """Many hosts at once; peers that take minutes run once."""
    hosts = stage.converged(min(sizes.hosts, sizes.many))
    stage.write_peers(hosts[0])
    commands = stage.commands(stage.inventory("many", sizes.many, hosts), sizes.many)
    found = _compare(stage, commands, replace(sizes, slow_runs=1))
    target = Target(f"aiprov apply, {sizes.many} hosts", found[0].wall, "s", at_most=2.2)
    title = f"Nothing to do, {sizes.many} names, {len(hosts)} real hosts on this machine"
    return Result(
        tables=[figures_table(title, found)], targets=[target] if sizes.many == 20 else []
    )


def names(stage: Stage, sizes: Sizes) -> Result:
    """What a host costs the controller."""
    hosts = stage.converged(sizes.hosts)
    found: list[tuple[int, Figures]] = []
    for count in sizes.names:
        command = stage.aiprov("plan", stage.inventory(f"names{count}", count, hosts), count)
        found.append((count, *side_by_side([command], runs=sizes.slow_runs, say=stage.say)))
    rows = [
        (
            str(count),
            f"{figures.wall:.2f}",
            f"{figures.cpu:.2f}",
            f"{1000 * figures.cpu / count:.0f}",
            f"{figures.memory:.0f}",
        )
        for count, figures in found
    ]
    (few, least), (most, last) = found[0], found[-1]
    each = 1000 * (last.cpu - least.cpu) / (most - few)
    table = Table(
        title=f"`aiprov plan` over many names, {len(hosts)} real hosts",
        head=("names", "wall, s", "controller CPU, s", "CPU a name, ms", "peak memory, MiB"),
        rows=rows,
        note=f"Each further name costs {each:.0f} ms of the controller's CPU.",
    )
    targets = [
        Target(f"controller CPU a name at {most}", 1000 * last.cpu / most, "ms", at_most=30),
        Target(f"peak memory, {most} names against {few}", last.memory / least.memory, "x"),
    ]
    return Result(tables=[table], targets=targets if most == 100 else [])


def start(stage: Stage, sizes: Sizes) -> Result:
    """What programs cost before they do anything."""
    inventory = stage.inventory("start", 1, stage.converged(1))

    def command(name: str, *argv: str) -> Command:
        return Command(name=name, argv=argv, cwd=ROOT, env=stage.env, valid=_succeeded)

    commands = [
        command("aiprov --help", *AIPROV, "--help"),
        command("aiprov inventory check", *AIPROV, "inventory", "check", "-i", str(inventory)),
        command("ansible-playbook --version", "ansible-playbook", "--version"),
        command("pyinfra --version", "pyinfra", "--version"),
    ]
    found = side_by_side(commands, runs=sizes.runs, say=stage.say)
    return Result(
        tables=[figures_table("Starts; no host is touched", found, compared=False)],
        targets=[Target("aiprov --help", found[0].wall, "s", at_most=0.3)],
    )


def _compare(stage: Stage, commands: Sequence[Command], sizes: Sizes) -> list[Figures]:
    """The commands side by side, the slow ones less often."""
    slow = (ANSIBLE, PYINFRA)
    limited = [
        replace(command, runs=sizes.slow_runs, warm=False) if command.name in slow else command
        for command in commands
    ]
    return side_by_side(limited, runs=sizes.runs, say=stage.say)


def _succeeded(sample: Sample) -> str | None:
    return f"exit status {sample.exit_code}" if sample.exit_code else None
