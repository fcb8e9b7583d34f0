"""``aiprov ranks``: collectives and training that Slurm or Kubernetes starts, and their verdict."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiprov.cli.cluster import seconds
from aiprov.cli.codes import NOT_VERIFIED, OK
from aiprov.cli.flags import with_flags
from aiprov.cli.output import print_json
from aiprov.errors import UsageError

if TYPE_CHECKING:
    from aiprov.checks.launched import Launched
    from aiprov.payload.plan import Cell

TESTS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv", "ddp", "fsdp")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")
"""A DNS label that leaves room for the number of a pod."""
_OF_COLLECTIVES = (("--size", "sizes"), ("--budget", "budget_s"))
_OF_TRAINING = (("--model", "model"), ("--steps", "steps"))


def _time(_context: object, _option: object, value: str | None) -> int | None:
    return None if value is None else seconds(value)


TEST = [
    click.argument("test", type=click.Choice(TESTS)),
    click.option("--nodes", default=1, show_default=True, type=click.IntRange(1, 10000),
                 help="How many hosts take part."),
    click.option("--gpus", default=8, show_default=True, type=click.IntRange(1, 64),
                 help="How many GPUs of each host: a rank a GPU."),
    click.option("--size", "sizes", multiple=True, metavar="SIZE",
                 help="Of a collective: 256MiB, 8GiB. May be repeated (default: 256MiB, 1GiB and "
                      "8GiB)."),
    click.option("--budget", "budget_s", metavar="TIME", callback=_time,
                 help="How long a collective is repeated, all sizes together (default: 60s)."),
    click.option("--model", help="Of ddp and fsdp: 1b (default), bert-large, resnet50, unet."),
    click.option("--steps", type=click.IntRange(1), help="Of ddp and fsdp (default: 20)."),
    click.option("--device", default="cuda", show_default=True, type=click.Choice(["cuda", "cpu"]),
                 help="cpu: processors stand for the GPUs, which proves the way only."),
    click.option("--seed", default=1, show_default=True, type=click.IntRange(0),
                 help="Of operands and weights."),
    click.option("--port", default=29500, show_default=True, type=click.IntRange(1024, 65535),
                 help="Where ranks meet, on the first host."),
    click.option("--interface", default="", metavar="NAME",
                 help="The network interface between hosts (default: NCCL chooses)."),
    click.option("--time-limit", "limit_s", metavar="TIME", callback=_time,
                 help="After which the ranks are ended, loading of images included (default: ten "
                      "minutes and four times the budget; half an hour for training)."),
]  # fmt: skip


@click.group()
def ranks() -> None:
    """Let GPUs of a Slurm or Kubernetes cluster work together, and judge what they did.

    srun and job print what starts the test; judge reads what its ranks printed.
    """


@ranks.command()
@with_flags(TEST)
@click.option("--partition", default="", help="Slurm's partition (default: Slurm's own).")
@click.option("--nodelist", "hosts", default="", metavar="NODE,…",
              help="These nodes, instead of --nodes of Slurm's choice.")  # fmt: skip
@click.option("--payload", default="/opt/aiprov/validation/payload", show_default=True,
              metavar="COMMAND", help="What starts the payload on the nodes.")  # fmt: skip
def srun(partition: str, hosts: str, payload: str, nodes: int, **test: Any) -> int:
    """Print the srun command of a test, one task a GPU. Starts nothing.

    The nodes need the role gpu_validation, or another payload. Keep what is printed for judge.
    """
    from aiprov.checks.launched import told
    from aiprov.payload import launchers

    names = [name.strip() for name in hosts.split(",") if name.strip()]
    if any(set(name) & set("[] ") for name in names) or len(set(names)) != len(names):
        raise UsageError(
            f"--nodelist {hosts}: each node is named once, and in full",
            hint=f"scontrol show hostnames {shlex.quote(hosts)} tells them",
        )
    if names and nodes not in (1, len(names)):
        raise UsageError(
            f"--nodes {nodes}, and --nodelist names {len(names)}", hint="leave out --nodes"
        )
    cell = _cell(nodes=len(names) or nodes, address=names[0] if names else "slurm", **test)
    command = launchers.srun(cell, names, _words("--payload", payload), partition=partition)
    click.echo(f"# {told(cell)}\n{shlex.join(command)}")
    return OK


@ranks.command()
@with_flags(TEST)
@click.option("--image", required=True, help="A container image with Python and PyTorch.")
@click.option("--name", help="Of the Job (default: aiprov- and the test).")
@click.option("--namespace", "-n", default="default", show_default=True, help="Of the Job.")
@click.option("--resource", default="nvidia.com/gpu", show_default=True,
              help="What the cluster calls GPUs.")  # fmt: skip
@click.option("--runtime-class", default="", metavar="NAME",
              help="Where pods with GPUs need one: nvidia.")  # fmt: skip
@click.option("--python", default="python3", show_default=True, metavar="COMMAND",
              help="What starts Python in the image.")  # fmt: skip
def job(
    image: str,
    name: str | None,
    namespace: str,
    resource: str,
    runtime_class: str,
    python: str,
    nodes: int,
    **test: Any,
) -> int:
    """Print the manifests of a test: a Job with a pod a host, and torchrun in it. Starts nothing.

    A ConfigMap brings the payload into the image. Keep what is printed for judge.
    """
    import yaml

    from aiprov import payload_files
    from aiprov.checks.launched import told
    from aiprov.payload import launchers

    called = name or f"aiprov-{test['test'].replace('_', '-')}"
    for option, word in (("--name", called), ("--namespace", namespace)):
        if not _NAME.fullmatch(word):
            raise UsageError(
                f"{option} {word} is no name in Kubernetes",
                hint="up to 50 small letters, digits and dashes, a letter first",
            )
    cell = _cell(nodes=nodes, address=f"{called}-0.{called}", **test)
    made = launchers.job(
        cell, called, image, _words("--python", python), namespace=namespace, resource=resource,
        runtime_class=runtime_class, archive=payload_files.archive(),
    )  # fmt: skip
    written = yaml.dump_all(made, Dumper=_plain(), sort_keys=False, width=10**6)
    click.echo(f"# {told(cell)}\n{written}", nl=False)
    return OK


@ranks.command()
@click.argument("rendered", type=click.Path(path_type=Path))
@click.argument("output", default="-", type=click.Path(allow_dash=True, path_type=Path))
@click.option("--gpu", metavar="ID|MODEL",
              help="What the GPUs are (H100 SXM5 80GB or 10de:2330): within a host, rates are then "
                   "held against its links.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def judge(rendered: Path, output: Path, gpu: str | None, as_json: bool) -> int:
    """Judge what the ranks of a test printed; exit 3 where that is not all well.

    RENDERED is what srun or job printed, OUTPUT what its ranks printed: the standard output of
    srun, or the logs of all pods (default: standard input).
    """
    from aiprov.catalog import models
    from aiprov.checks.document import document
    from aiprov.checks.launched import cell_in, judge
    from aiprov.checks.model import verdict_of

    cell, logged = cell_in(_read(rendered).decode("utf-8", "replace"))
    if gpu and not cell.device.startswith("cuda"):
        raise UsageError(f"--gpu {gpu}, and the test is of processors", hint="leave it out")
    found = judge(
        cell, _read(output), logged=logged, pci_id=models.pci_id(gpu) if gpu else ""
    )  # fmt: skip
    verdict = verdict_of(found.checks)
    if as_json:
        print_json({**document(found.checks), "passed_over": found.passed_over})
    else:
        click.echo(_text(cell, found, verdict))
    return OK if verdict == "ok" else NOT_VERIFIED


# ---------------------------------------------------------------- the test that flags ask for


def _cell(
    test: str, device: str, *, gpus: int, nodes: int, address: str, port: int, interface: str,
    **own: Any,
) -> Cell:  # fmt: skip
    """The test. ``own``: the flags that are of one kind of tests, and those of all."""
    from aiprov.checks import launched

    trains = test in launched.STRATEGIES
    for flag, name in _OF_COLLECTIVES if trains else _OF_TRAINING:
        if own[name]:
            raise UsageError(f"{flag} says nothing of {test}", hint="leave it out")
    devices = f"{device}:{','.join(map(str, range(gpus)))}"
    if trains:
        model = own["model"] or ("1b" if device == "cuda" else "tiny")
        if model not in launched.MODELS:
            raise UsageError(
                f"there is no model {model}", hint=f"there are {', '.join(launched.MODELS)}"
            )
        cell = launched.training_cell(
            test, devices, model=model, steps=own["steps"] or launched.STEPS,
            limit_s=own["limit_s"] or launched.TRAINING_S, seed=own["seed"],
        )  # fmt: skip
    else:
        long = own["budget_s"] or launched.SECONDS
        cell = launched.collective_cell(
            test, devices, seconds=long, limit_s=own["limit_s"] or launched.MEET_S + 4 * long,
            bytes_=[launched.size_of(size) for size in own["sizes"]] or launched.BYTES[device],
            seed=own["seed"],
        )  # fmt: skip
    return launched.over_nodes(cell, nodes, address=address, port=port, interface=interface)


def _words(option: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{option} {command}: {error}", hint="close the quotes") from error
    if not words:
        raise UsageError(f"{option} is empty", hint="name a program")
    return words


def _plain() -> Any:
    """YAML without references from one part to another: manifests are read by people."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Plain


# ---------------------------------------------------------------- the verdict


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="name a file, or - for standard input"
        ) from error


def _text(cell: Cell, found: Launched, verdict: str) -> str:
    from aiprov.checks.launched import rates, told

    lines = [f"{verdict}: {told(cell)}"]
    for check in found.checks:
        lines.append(f"\n{check.subject}: {check.verdict}")
        lines += [f"  {why}" for why in check.why]
        lines += [f"  {one.name}: {one.value:.4g} {one.unit}" for one in rates(check)]
    if found.passed_over:
        lines.append(f"\n{found.passed_over} lines of the logs are no events, and were passed over")
    return "\n".join(lines)
