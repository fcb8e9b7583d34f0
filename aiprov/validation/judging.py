"""What a campaign's folder comes to: checks of each host, of the fleet, and the validation.

It reads the folder and nothing else, so the verdict can be made again from what was kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aiprov.checks import burn_in, coverage, expectations, fleet, health, kernel_log, links
from aiprov.checks.campaign import Campaign as Made
from aiprov.checks.model import Check, Planned, Subject, complete
from aiprov.checks.validation import HostRun, Series, Validation
from aiprov.validation import across
from aiprov.validation.course import AGAIN, FIRST
from aiprov.validation.folder import Campaign, Folder, HostFolder
from aiprov.validation.prepared import Prepared, models, prepared_from

Record = Mapping[str, Any]
STOOD_FOR = "the GPUs themselves: processors stood for them (--device cpu)"
RATES = "rates: processors that stand for GPUs have none to be judged by"
KERNEL_LOG = "kernel log under load"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was kept of one host that could be measured. ``again``: of the second stage.

    ``across``: of pairs with other hosts. ``kernel_log``: what was new in it; ``None``: it could
    not be read.
    """

    ready: Prepared
    first: Sequence[Record]
    again: Sequence[Record]
    across: Sequence[Record]
    kernel_log: str | None

    @property
    def host(self) -> str:
        return self.ready.contract.host

    @property
    def records(self) -> list[Record]:
        """Of all stages, in their order."""
        return [*self.first, *self.again, *self.across]


def told_of(folder: HostFolder, meetings: Sequence[str] = ()) -> Told | None:
    """What was kept of a host; ``None`` where it could not be measured at all."""
    ready = folder.json("prepared.json")
    if ready is None:
        return None
    before, after = folder.text("kernel-before.log"), folder.text("kernel-after.log")
    new = None if before is None or after is None else kernel_log.since(before, after)
    return Told(
        ready=prepared_from(ready),
        first=folder.records(FIRST),
        again=folder.records(AGAIN),
        across=[record for stage in meetings for record in folder.records(stage)],
        kernel_log=new,
    )


# ---------------------------------------------------------------- checks


def first_checks(told: Told) -> tuple[Check, ...]:
    """What the first stage found on a host, each by itself."""
    return burn_in.judge(told.first, told.ready.devices) if told.first else ()


def to_measure_again(all_told: Sequence[Told]) -> tuple[Planned, ...]:
    """The checks of who is outside of its fleet."""
    checks = [check for told in all_told for check in first_checks(told)]
    return fleet.to_measure_again(checks, models([told.ready for told in all_told]))


def _own_checks(told: Told) -> list[Check]:
    """Health, kernel log and contract of a host, over both stages."""
    gpus = told.ready.gpus
    found = list(health.health(told.records, gpus))
    if gpus:
        found += links.links(told.records, told.host, gpus, told.ready.contract)
    host = Subject(host=told.host)
    for subject, addresses in ((host, ()), *((gpus[one], (one,)) for one in gpus)):
        found.append(
            kernel_log.check(subject, told.kernel_log, addresses=addresses, under_load=True)
        )
    found += _contract(told)
    return found


def _contract(told: Told) -> Iterable[Check]:
    known = {subject.label: subject for subject in told.ready.gpus.values()}
    seen = observed(told)
    if seen is None and not told.ready.contract.gpus and not told.ready.contract.gpu_count:
        seen = {"gpus": {}}  # nobody asked, because there is no GPU to ask
    for check in expectations.diff(told.ready.contract, seen, "nvidia-smi told nothing"):
        # A GPU that is lost in the end is known by its place, but is the one that it was.
        yield replace(check, subject=known.get(check.subject.label, check.subject))


def observed(told: Told) -> dict[str, Any] | None:
    """What a host has, by its journal and by the kernel; ``None``: nothing is told."""
    seen = health.observed(told.records)
    if seen is None:
        return None
    numa = told.ready.numa
    gpus = {
        address: {
            **gpu,
            "numa_node": numa.get(address) if gpu.get("numa_node") is None else gpu["numa_node"],
        }
        for address, gpu in seen["gpus"].items()
    }
    return {**seen, "gpus": gpus}


def checks_of(
    all_told: Sequence[Told], planned: Sequence[Planned], past: fleet.Past | None = None
) -> tuple[Check, ...]:
    """All checks of a campaign, and for each that was planned and is missing, one that says so."""
    first = [check for told in all_told for check in first_checks(told)]
    again = [
        check
        for told in all_told
        if told.again
        for check in burn_in.judge(told.again, told.ready.devices)
    ]
    alike = models([told.ready for told in all_told])
    # Rates of processors that stand for GPUs are nobody's to judge.
    found = [*fleet.judged(first, again, alike, past)] if alike else [*first]
    for told in all_told:
        found += _own_checks(told)
    found += burn_in.golden({told.host: (told.first, told.ready.devices) for told in all_told})
    seen = {told.host: one for told in all_told if (one := observed(told)) and one["gpus"]}
    found += expectations.fleet_vbios(seen)
    return complete([*planned, *_always(all_told)], found)


def _always(all_told: Iterable[Told]) -> Iterable[Planned]:
    """What every host gets, whatever its budget."""
    for told in all_told:
        host = Subject(host=told.host)
        yield Planned(name=expectations.NAME, subject=host)
        yield Planned(name=KERNEL_LOG, subject=host)


# ---------------------------------------------------------------- the validation


def told_of_all(folder: Folder) -> tuple[Told, ...]:
    """What was kept of each host that something was planned for, and that did not refuse it."""
    meetings = [one.stage for one in across.kept(folder).meetings]
    hosts = [folder.host(name) for name in folder.campaign.hosts]
    return tuple(
        told
        for own in hosts
        if own.json(f"{FIRST}.plan.json") is not None
        and not _refused(own)
        and (told := told_of(own, meetings)) is not None
    )


def _refused(folder: HostFolder) -> bool:
    """Whether a host did nothing at all because it was in use: that is told, once."""
    run = folder.run
    return run is not None and run.status == "refused" and not folder.length(FIRST)


def validation(
    folder: Folder,
    all_told: Sequence[Told],
    made: Made | None,
    seconds: float,
    past: fleet.Past | None = None,
) -> Validation:
    """The validation that a folder comes to, finished or not.

    ``all_told``: of ``told_of_all``. ``made``: what was planned.
    """
    campaign = folder.campaign
    runs = [folder.host(name).run or _not_ended(name) for name in campaign.hosts]
    refused = {name for name in campaign.hosts if _refused(folder.host(name))}
    planned = [one for one in made.planned if one.subject.host not in refused] if made else []
    return Validation(
        campaign=campaign.name,
        started=campaign.started,
        seconds=seconds,
        hosts=tuple(runs),
        checks=(*checks_of(all_told, planned, past), *across.checks(folder)),
        budget_s=campaign.budget_s,
        gpus=tuple(one.gpu for told in all_told for one in told.ready.measured if one.address),
        series=tuple(one for told in all_told for one in _series(told, campaign.started)),
        coverage=tuple(
            one
            for told in all_told
            for one in coverage.coverage([*told.first, *told.again], told.ready.devices)
        ),
        by_fault={**made.by_fault, **across.by_fault(folder)} if made else {},
        not_tested=(
            *_not_tested(campaign),
            *(made.not_tested if made else ()),
            *across.kept(folder).not_tested,
        ),
    )


def _series(told: Told, started: str) -> tuple[Series, ...]:
    began = datetime.fromisoformat(started).timestamp()
    return coverage.series(told.records, told.ready.devices, told.ready.gpus, began)


def _not_tested(campaign: Campaign) -> tuple[str, ...]:
    stood_for = (STOOD_FOR, RATES) if campaign.device == "cpu" else ()
    return (*campaign.not_tested, *stood_for)


def _not_ended(name: str) -> HostRun:
    return HostRun(
        host=name, status="interrupted", message="interrupted before it had ended",
        hint="aiprov validate --resume goes on with it",
    )  # fmt: skip
