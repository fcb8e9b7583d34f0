"""The validator's proof of itself on hosts: faults go in where real ones would, and must be seen.

Those that need no host are injected here; those of products, memory, copies, models and workers by
the payload, on the first device of each host, and those of ranks on the first two together. Nothing
of it says anything of the hardware, so it is not kept in the history and no action follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiprov import app, fleet
from aiprov.checks import mutations, self_test
from aiprov.checks.burn_in import Device
from aiprov.checks.campaign import Target
from aiprov.checks.self_test import Injection, Score
from aiprov.checks.sizes import Hardware
from aiprov.checks.validation import HostRun
from aiprov.converge import Event
from aiprov.payload.plan import FORMAT_VERSION, Cell
from aiprov.report.verdicts import score as report
from aiprov.validation import course, run
from aiprov.validation.course import FIRST, Course, Show
from aiprov.validation.folder import ROOT, Campaign, Folder, HostFolder, cells_of, new_name
from aiprov.validation.prepared import prepared_from

CPU_SIDE, GPU_SIDE = 96, 512
"""Sides of the products: large enough for tiles and bursts."""
CPU_TYPES = ("fp64", "fp32", "bf16", "int8")
TYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8")
HERE = "here"
"""Among the scores: of faults that need no host."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What became of all faults, by host: ``here`` are those that need none. ``hosts``: their runs.

    A host that could not be tried has no score, and then nothing is proven.
    """

    scores: Mapping[str, Score]
    hosts: tuple[HostRun, ...] = ()
    folder: Path | None = None
    interrupted: bool = False

    @property
    def score(self) -> Score:
        """All of them together."""
        return Score(
            outcomes=tuple(one for score in self.scores.values() for one in score.outcomes)
        )

    @property
    def proven(self) -> bool:
        """Every fault was seen everywhere."""
        return all(host.status == "done" for host in self.hosts) and self.score.proven


def prove(
    request: app.Request, device: str, show: Show, way: run.Way | None = None, root: Path = ROOT
) -> Proof:
    """Inject every fault, on hosts too where there is an inventory. Raises ``AiprovError``."""
    scores = {HERE: Score(outcomes=mutations.here())}
    if not request.sources:
        return Proof(scores=scores)
    inventory = app.inventory(request)
    chosen, _ = run.chosen(inventory)
    now = datetime.now(UTC)
    campaign = Campaign(
        name=f"{new_name(now)}-self-test", started=now.isoformat(timespec="seconds"),
        budget_s=0.0, device=device, seed=0, hosts=tuple(chosen),
    )  # fmt: skip
    with Folder.begin(campaign, root) as folder:
        try:
            courses = run.courses(folder, campaign, request, show, way, inventory)
            show(Event(host="", step="begin", total=len(courses)))
            interrupted = _inject(campaign, courses)
            for host in chosen:
                scores |= _scored(host, folder.host(host))
            made = Proof(
                scores=scores, hosts=tuple(_run(host, folder.host(host)) for host in chosen),
                folder=folder.path, interrupted=interrupted,
            )  # fmt: skip
            folder.write("self-test.json", report.document(made.score))
            return made
        finally:
            folder.end()


def _inject(campaign: Campaign, courses: Sequence[Course]) -> bool:
    """Have all hosts do their cells. Whether it was interrupted."""
    try:
        for one, stopped in run.each(lambda one: one.prepare(), courses):
            if stopped is None:
                told = prepared_from(one.folder.json("prepared.json"))
                one.folder.write("injections.json", _plan(campaign.name, told.targets))
        ready = [one for one in courses if one.folder.json("injections.json")]
        run.each(_do, ready)
    except KeyboardInterrupt:
        fleet.stopping.set()
        return True
    return False


def _do(one: Course) -> HostRun | None:
    plan = one.folder.json("injections.json")
    return one.first(plan, course.most_seconds(plan))


def _injections(targets: Sequence[Target]) -> tuple[Injection, ...]:
    """For the first device of a host, and for the first two together."""
    if len(targets) < 2:
        return _alone(targets[0])
    kind, _, number = targets[0].device.partition(":")
    pair = f"{kind}:{number},{targets[1].device.partition(':')[2]}"
    return (*_alone(targets[0]), *self_test.injections_together(pair))


def _alone(target: Target) -> tuple[Injection, ...]:
    if not target.pci_id:
        return self_test.injections(target.device, CPU_TYPES, CPU_SIDE)
    hardware = Hardware(pci_id=target.pci_id, memory_bytes=target.memory_bytes)
    dtypes = [name for name in TYPES if hardware.has(name)]
    return self_test.injections(target.device, dtypes or CPU_TYPES, GPU_SIDE)


def _plan(name: str, targets: Sequence[Target]) -> dict[str, object]:
    cells = [Cell(**one.cell).document for one in _injections(targets)]
    return {
        "format_version": FORMAT_VERSION, "campaign": name, "stagger_s": 0.0, "self_test": True,
        "cells": cells,
    }  # fmt: skip


def _scored(host: str, folder: HostFolder) -> dict[str, Score]:
    """The score of a host; none where nothing could be injected there."""
    told, plan = folder.json("prepared.json"), folder.json("injections.json")
    if told is None or plan is None:
        return {}
    targets = prepared_from(told).targets
    planned = {"event": "plan", "self_test": True, "cells": _with_ids(plan)}
    records = [planned, *folder.journal(FIRST).records]
    # Without its model: sizes are small, so no floor of throughput can hold.
    device = Device(subject=targets[0].subject)
    return {host: Score(outcomes=self_test.outcomes(_injections(targets), records, device))}


def _with_ids(plan: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"id": cell.id, **cell.document} for cell in cells_of(plan)]


def _run(host: str, folder: HostFolder) -> HostRun:
    return folder.run or HostRun(host=host, status="interrupted", message="it was not begun")
