"""A validation, in its order: prepare all hosts, plan, measure, measure again, judge, write.

Each host goes its own way: one that is unreachable, refused or hung is said to be so, and the
others are measured. Whatever ends the controller, ``resume`` goes on from the campaign's folder.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aiprov import app, fleet
from aiprov.checks import campaign as planning
from aiprov.checks.campaign import Campaign as Made
from aiprov.checks.validation import HostRun, Validation
from aiprov.connection import Connection
from aiprov.converge import Event
from aiprov.errors import HostError, UsageError
from aiprov.validation import across, judging, keeping, outputs, pairing
from aiprov.validation.course import AGAIN, FIRST, Course, Plan, Show
from aiprov.validation.folder import ROOT, Campaign, Folder, new_name, unfinished
from aiprov.validation.prepared import ROLE, prepared_from
from aiprov.validation.remote import Remote

if TYPE_CHECKING:
    from aiprov.inventory import Inventory

MOST_AT_ONCE = 1000
"""Hosts that are followed at the same time; ``forks`` of them are talked to at once."""
RAMP_FROM, RAMP_S, RAMP_MOST_S = 8, 0.5, 60.0
"""From so many hosts on, payloads start one after the other, so that a room's power rises slowly:
so many seconds each, and all of them within the last."""
MOST_READINGS = 3000
"""Of a host's GPUs, that its journal keeps of a budget: 30 seconds apart in a day."""
ENDING = "interrupted: what runs on hosts is being ended; Ctrl-C again to wait for nothing"
ANSWER_S = 60.0
"""What a host may take to show that it is there, before others are to meet it."""
LEAST_AGAIN_S = 120.0
"""What the second stage may take, however much of the budget is spent."""

Way = Callable[[Connection], Remote]
After = Callable[[Validation, "Context"], Validation]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked for, beyond which hosts. ``seed``: ``None``: one of the campaign's name."""

    budget_s: float = 1200.0
    device: str = "cuda"
    seed: int | None = None
    output: Path | None = None
    root: Path = ROOT
    pairs: bool = True
    after: Sequence[After] = ()


@dataclass(frozen=True, kw_only=True)
class Context:
    """What those who go on with a validation may need: where it is kept, and of which hosts."""

    request: app.Request
    folder: Folder
    inventory: Inventory
    made: Made | None


@dataclass(frozen=True, kw_only=True)
class Done:
    """A validation and the files that say it. ``warnings``: what is to be told beside it.

    ``interrupted``: it can be gone on with.
    """

    validation: Validation
    folder: Path
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False


# ---------------------------------------------------------------- what is asked for


def validate(request: app.Request, wish: Wish, show: Show, way: Way | None = None) -> Done:
    """Validate the hosts that have the role. Raises ``AiprovError`` before any host is touched."""
    inventory = app.inventory(request)
    hosts, others = chosen(inventory)
    now = datetime.now(UTC)
    name = new_name(now)
    left_out = (f"hosts without the role {ROLE}: {', '.join(others)}",) if others else ()
    campaign = Campaign(
        name=name,
        started=now.isoformat(timespec="seconds"),
        budget_s=wish.budget_s,
        device=wish.device,
        seed=int(name[-4:], 16) if wish.seed is None else wish.seed,
        hosts=tuple(hosts),
        sources=tuple(str(Path(one).absolute()) if Path(one).exists() else one
                      for one in request.sources),
        limit=request.limit,
        vault_password_files=request.vault_password_files,
        not_tested=left_out,
        pairs=wish.pairs,
    )  # fmt: skip
    with Folder.begin(campaign, wish.root) as folder:
        return _run(folder, request, wish, show, way, inventory)


def resume(request: app.Request, wish: Wish, show: Show, way: Way | None = None) -> Done:
    """Go on with the newest campaign that was not finished.

    Its inventory is used unless another is given. Raises ``UsageError`` where there is none.
    """
    with unfinished(wish.root) as folder:
        folder.take()
        campaign = folder.campaign
        if not request.sources:
            request = replace(
                request,
                sources=campaign.sources,
                vault_password_files=request.vault_password_files or campaign.vault_password_files,
            )
        request = replace(request, limit=request.limit or campaign.limit)
        return _run(folder, request, wish, show, way, app.inventory(request))


def stop(request: app.Request, way: Way | None = None) -> Mapping[str, bool | HostError]:
    """End the payload on hosts; by host whether one ran, or why nobody knows."""
    hosts = app.inventory(request).hosts

    def end(remote: Remote) -> tuple[str, bool | HostError]:
        try:
            return remote.host, remote.stop()
        except HostError as error:
            return remote.host, error
        finally:
            remote.close()

    remotes = [(way or Remote)(host.connection) for host in hosts]
    return dict(fleet.each(end, remotes, forks=request.forks))


def fleet_size(request: app.Request) -> int:
    """How many hosts there are to validate at all, whatever the limit."""
    return len(chosen(app.inventory(replace(request, limit=None)))[0])


def chosen(inventory: Inventory) -> tuple[list[str], list[str]]:
    """The hosts that have the role, and those that have not; all settings are checked."""
    from aiprov import settings

    resolved = settings.resolve_all(inventory)
    names = [host.name for host in inventory.hosts]
    found = [name for name in names if ROLE in resolved[name].chosen]
    if not found:
        raise UsageError(
            f"none of the hosts has the role {ROLE}",
            hint=f"add {ROLE} to aiprov_roles in the inventory, then aiprov apply --role {ROLE}",
        )
    return found, [name for name in names if name not in found]


# ---------------------------------------------------------------- the pipeline


def _run(
    folder: Folder,
    request: app.Request,
    wish: Wish,
    show: Show,
    way: Way | None,
    inventory: Inventory,
) -> Done:
    campaign = folder.campaign
    began = datetime.fromisoformat(campaign.started)
    ways = courses(folder, campaign, request, show, way, inventory)
    several = campaign.pairs and len(campaign.hosts) > 1
    wished = pairing.wishes(inventory) if several else {}
    made: list[Made] = []
    show(Event(host="", step="begin", total=len(ways)))
    interrupted = False
    try:
        _measure(folder, campaign, ways, made, show)
        _across(folder, campaign, ways, wished, show)
    except KeyboardInterrupt:
        fleet.stopping.set()
        interrupted = True
    plan = made[0] if made else None
    seconds = (datetime.now(UTC) - began).total_seconds()
    told = judging.told_of_all(folder)
    past, warnings = keeping.past(told, campaign.name)
    found = judging.validation(folder, told, plan, seconds, past)
    context = Context(request=request, folder=folder, inventory=inventory, made=plan)
    for go_on in () if interrupted else wish.after:
        found = go_on(found, context)
    files = outputs.write(found, folder)
    if not interrupted and not any(_lost(folder, host) for host in found.hosts):
        folder.end()
    if not interrupted:
        warnings += keeping.kept(found, keeping.software(told))
    if wish.output is not None:
        files = outputs.copied(files, wish.output)
    return Done(
        validation=found, folder=folder.path, files=files, warnings=warnings,
        interrupted=interrupted,
    )  # fmt: skip


def _lost(folder: Folder, run: HostRun) -> bool:
    """Whether a host's payload may still be at work, or was ended before its time."""
    begun = folder.host(run.host).json(f"{FIRST}.plan.json") is not None
    return begun and run.status in ("unreachable", "interrupted")


def courses(
    folder: Folder,
    campaign: Campaign,
    request: app.Request,
    show: Show,
    way: Way | None,
    inventory: Inventory,
) -> list[Course]:
    """A way for each host of the campaign that is not done."""
    gate = threading.Semaphore(request.forks)
    known = {host.name: host for host in inventory.hosts}
    step_s = min(RAMP_S, RAMP_MOST_S / max(1, len(campaign.hosts)))
    step_s = step_s if len(campaign.hosts) >= RAMP_FROM else 0.0
    found = []
    for number, name in enumerate(campaign.hosts):
        own = folder.host(name)
        if name not in known:
            gone = "the inventory, as it is limited now, does not have it any more"
            own.keep(HostRun(host=name, status="unreachable", message=gone))
            continue
        connection = known[name].connection  # templated here: Ansible's templar has no threads
        remote = way(connection) if way else Remote(connection, gate=gate)
        found.append(
            Course(
                remote=remote, folder=own, campaign=campaign.name, device=campaign.device,
                show=show, stopping=fleet.stopping, begin_after_s=number * step_s,
            )
        )  # fmt: skip
    return found


def _measure(
    folder: Folder,
    campaign: Campaign,
    ways: Sequence[Course],
    made: list[Made],
    show: Show,
) -> None:
    """Both stages. What was planned is put into ``made``, as soon as it is."""
    left = [course for course in ways if not _is_done(course)]
    ready = {course.host for course, run in each(lambda one: one.prepare(), left) if run is None}
    targets = [
        target
        for name in campaign.hosts
        if (told := folder.host(name).json("prepared.json")) is not None
        for target in prepared_from(told).targets
    ]
    if not targets:
        return
    try:
        plan = planning.campaign(campaign.name, targets, campaign.budget_s, seed=campaign.seed)
    except UsageError:
        folder.end()  # what was asked for cannot be had: there is nothing to go on with
        raise
    made.append(plan)
    began = time.monotonic()
    todo = [course for course in left if course.host in ready and course.host in plan.plans]
    kept = {"keep_s": campaign.budget_s / MOST_READINGS}
    each(lambda one: one.first({**plan.plans[one.host], **kept}, plan.limits[one.host]), todo)
    wanted = judging.to_measure_again(judging.told_of_all(folder))
    left_s = max(LEAST_AGAIN_S, campaign.budget_s - (time.monotonic() - began))
    _more(ways, AGAIN, 2, planning.again(plan, wanted, targets, left_s), show)


def _more(
    ways: Sequence[Course], stage: str, number: int, plans: Mapping[str, Plan], show: Show
) -> None:
    """A later stage, of hosts that are done with those before."""
    todo = [course for course in ways if course.host in plans and _is_done(course)]
    if todo:
        show(Event(host="", step="begin", total=len(todo)))
    for course in todo:
        course.number, course.begin_after_s = number, 0.0
    each(lambda one: one.more(stage, plans[one.host]), todo)


def _across(
    folder: Folder,
    campaign: Campaign,
    ways: Sequence[Course],
    wished: Mapping[str, pairing.Wishes],
    show: Show,
) -> None:
    """Pairs across hosts. What was cut off is begun anew: pairs need both sides at once."""
    told = across.kept(folder)
    met = tuple(one for one in told.meetings if across.have_met(folder, one))
    told = told.but(*(() if campaign.pairs else (pairing.NOT_ASKED,)), meetings=met)
    while campaign.pairs and len(told.meetings) < across.STAGES:
        known = pairing.known_of(folder, _present(ways), wished)
        seen = across.tried(folder, told.meetings)
        rounds, left_out = across.stage(known, told, seen, campaign)
        least_gbs = {**told.least_gbs, **known.least_gbs}
        told = told.but(*known.not_tested, *left_out, least_gbs=least_gbs)
        if not rounds:
            break
        used = {path.name for path in folder.path.glob("hosts/*/pairs-*.plan.json")}
        meeting = across.Meeting(stage=f"pairs-{len(used)}", rounds=rounds)
        told = told.but(meetings=(*told.meetings, meeting))
        across.keep(folder, told)
        plans = across.plans(campaign.name, meeting)
        _more(ways, meeting.stage, len(told.meetings) + 2, plans, show)
    across.keep(folder, told)


def _present(ways: Sequence[Course]) -> dict[str, str]:
    """The hosts that are done: why one has to be left out, or nothing. Others would wait for it."""
    done = [course for course in ways if _is_done(course)]
    if len(done) < 2:
        return {course.host: "" for course in done}
    return {one.host: run.message if run else "" for one, run in each(_absent, done)}


def _absent(course: Course) -> HostRun | None:
    """``None``: it answers, and did not restart since it was prepared."""
    course.remote.until = time.monotonic() + ANSWER_S
    try:
        if course.remote.boot() == course.folder.json("prepared.json")["boot_id"]:
            return None
        why = "it restarted meanwhile"
    except HostError as error:
        why = f"it does not answer any more: {error.message}"
    finally:
        course.remote.until = None
        course.remote.close()
    return HostRun(host=course.host, status="unreachable", message=why)


def _is_done(course: Course) -> bool:
    run = course.folder.run
    return run is not None and run.status == "done"


def each(
    work: Callable[[Course], HostRun | None], ways: Sequence[Course]
) -> list[tuple[Course, HostRun | None]]:
    """Do this for all hosts at once. A host takes a thread, and its own time."""
    at_once = min(MOST_AT_ONCE, max(1, len(ways)))

    def told() -> None:
        ways[0].show(Event(host="", step="interrupted", text=ENDING))

    pairs = fleet.each(lambda one: (one, work(one)), ways, forks=at_once, interrupted=told)
    return list(pairs)
