"""One worker more for a Kubernetes cluster: what that costs when the cluster is large."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import yaml

from aiprov.lab import HostSpec
from tests.bench.measure import BenchError, Command, Figures, Sample, once, side_by_side
from tests.bench.parts import Sizes
from tests.bench.stage import AIPROV, ROOT, Stage
from tests.bench.table import Result, Table, Target

FEW, MANY = 3, 500
NEW = "worker-new"
SETTINGS: dict[str, Any] = {
    "aiprov_roles": ["kubernetes"],
    "kubernetes_network": "bridge",
    "kubernetes_gpus": None,
}
NOWHERE = ipaddress.ip_network("198.18.0.0/15")  # for benchmarks (RFC 2544): nobody is there


def further(stage: Stage, sizes: Sizes) -> Result:
    """The plan of a new worker; all other nodes exist in the inventory alone."""
    stage.lab.up([HostSpec(name=NEW, kubernetes=["worker"])])
    try:
        commands = [_plan(stage, count) for count in (FEW, MANY)]
        few, many = side_by_side(commands, runs=sizes.runs, say=stage.say)
    finally:
        stage.lab.remove(NEW)
    table = Table(
        title="One worker more, planned on the real host; the others cannot be reached",
        head=("nodes", "wall, s", "from - to", "controller CPU, s", "peak memory, MiB"),
        rows=[_row(count, found) for count, found in ((FEW, few), (MANY, many))],
    )
    name = f"one worker more, {MANY} nodes against {FEW}"
    return Result(tables=[table], targets=[Target(name, many.wall / few.wall, "x", at_most=2)])


def _row(nodes: int, found: Figures) -> tuple[str, ...]:
    low, high = found.spread
    spread = f"{low:.2f} - {high:.2f}"
    return (str(nodes), f"{found.wall:.2f}", spread, f"{found.cpu:.2f}", f"{found.memory:.0f}")


def _plan(stage: Stage, nodes: int) -> Command:
    folder = _inventory(stage, nodes)
    password = folder / "vault-password"
    password.write_text("bench", encoding="ascii")
    given = ("-i", str(folder), "-i", str(stage.lab.inventory))
    vault = ("--vault-password-file", str(password))
    made = once([*AIPROV, "cluster", "secrets", *given, *vault], cwd=ROOT, env=stage.env)
    if made.exit_code != 0:
        raise BenchError(f"no secrets:\n{made.output}")

    def valid(sample: Sample) -> str | None:
        planned = sample.exit_code == 2 and "1 host in" in sample.output
        return None if planned else f"exit status {sample.exit_code}, or not one host planned"

    argv = (*AIPROV, "plan", *given, *vault, "--limit", NEW)
    return Command(name=f"{nodes} nodes", argv=argv, cwd=ROOT, env=stage.env, valid=valid)


def _inventory(stage: Stage, nodes: int) -> Path:
    """A cluster of so many nodes: the new one, a control plane, and workers, nowhere."""
    folder = stage.files / f"cluster{nodes}"
    folder.mkdir()
    workers = {
        f"worker-{number}": {"ansible_host": str(NOWHERE[number + 2])}
        for number in range(nodes - 2)
    }
    planes = {"plane": {"ansible_host": str(NOWHERE[1])}}
    groups = {"kube_control_plane": {"hosts": planes}, "kube_worker": {"hosts": workers}}
    variables = {**SETTINGS, "kubernetes_version": "1.20.2"}
    document = {"all": {"vars": variables, "children": groups}}
    text = yaml.safe_dump(document, sort_keys=False)
    (folder / "hosts.yml").write_text(text, encoding="utf-8")
    return folder
