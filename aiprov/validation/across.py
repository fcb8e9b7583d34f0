"""GPUs of different hosts in pairs: who meets whom, and what came of it.

Hosts meet in rounds (the circle method), all GPUs at a time; parts that are suspected then meet
others, until the blame lies with one. What was planned is kept in the campaign's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import zip_longest
from typing import Any

from aiprov.checks import choices, pair_tests, pair_verdicts
from aiprov.checks.detection import detection_probability
from aiprov.checks.model import Check, Subject
from aiprov.checks.pair_tests import Pair, Place, Rounds, Settings
from aiprov.checks.pair_verdicts import Tried
from aiprov.checks.pairs import Endpoint
from aiprov.payload.plan import FORMAT_VERSION
from aiprov.validation.folder import Campaign, Folder, cells_of
from aiprov.validation.pairing import WHAT, Known
from aiprov.validation.prepared import prepared_from

FILE = "pairs.json"
SHARE = 0.1
"""Of the budget, that pairs may take besides it."""
ROUND_S = {"cuda": 30.0, "cpu": 10.0}
"""What a round takes: starting PyTorch and the group, and the work."""
WAIT_S = 60.0
"""What a side waits for the other in any case."""
STAGES = 3
"""Rounds of suspicion: all meet, suspects meet others, and once more."""
SEEN = {choices.NETWORK_LINK: 0.9, choices.NETWORK_ADAPTER: 0.9}
"""By fault the chance that a pair shows it while it is there; assumed."""


Rows = Callable[[Sequence[Place], Settings], Rounds]


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """A stage of pairs. ``stage``: by which the hosts' journals of it are named."""

    stage: str
    rounds: Rounds

    @property
    def hosts(self) -> set[str]:
        """Who is in it."""
        return {host for one in self.rounds for pair in one for host in pair.cells}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What was planned so far. ``least_gbs``: by model, what a pair must reach."""

    meetings: tuple[Meeting, ...] = ()
    least_gbs: Mapping[str, float | None] = field(default_factory=dict)
    not_tested: tuple[str, ...] = ()

    def but(self, *why: str, **changes: Any) -> Kept:
        """With something else, and more that is not tested."""
        told = tuple(dict.fromkeys((*self.not_tested, *why)))
        return replace(self, not_tested=told, **changes)


def settings(device: str, seed: int, rows: int = 1) -> Settings:
    """What a pair does: processors over a virtual network are no reason to wait.

    ``rows``: how many rounds there are. Nobody keeps them in step, so a side waits for one that is
    still at work with others: half of the limit is for that.
    """
    limit_s = 2 * (WAIT_S + rows * ROUND_S[device])
    if device == "cpu":
        return Settings(size=1 << 20, seconds=1.0, limit_s=limit_s, seed=seed)
    return Settings(limit_s=limit_s, seed=seed)


def rounds_in(device: str, budget_s: float) -> int:
    """How many rounds of a stage a budget has time for."""
    return int(SHARE * budget_s / ROUND_S[device])


# ---------------------------------------------------------------- who meets whom


def first(known: Known, device: str, budget_s: float, seed: int) -> tuple[Rounds, tuple[str, ...]]:
    """Who meets whom at first, and what is left out of it for want of time."""
    most = rounds_in(device, budget_s)
    if not known.places or most < 1:
        none = f"{WHAT}: the budget of {budget_s:g} s has no time for them"
        return (), ((none,) if known.places else ())

    def made(own: Settings) -> Rounds:
        return _together(own, partial(pair_tests.pair_cells, most=most), known)

    rounds = made(settings(device, seed))
    pairs = sum(len(row) for row in rounds)
    all_pairs = sum(_all_pairs(places) for places in known.places.values())
    why = (
        f"{all_pairs - pairs} of {all_pairs} {WHAT}: the budget has time for {most} rounds of them"
    )
    return made(settings(device, seed, len(rounds))), ((why,) if pairs < all_pairs else ())


def stage(
    known: Known, told: Kept, seen: Sequence[Tried], campaign: Campaign
) -> tuple[Rounds, tuple[str, ...]]:
    """The rounds of the stage that is next, and what is left out of it; ``seen``: so far."""
    device, seed, budget_s = campaign.device, campaign.seed, campaign.budget_s
    if not told.meetings:
        return first(known, device, budget_s, seed)
    return suspects(known, seen, device, budget_s, seed, len(told.meetings) + 1)


def _all_pairs(places: Sequence[Place]) -> int:
    """How many pairs it takes until each host has met each other with all its GPUs."""
    counts: dict[str, int] = {}
    for place in places:
        counts[place.endpoint.host] = counts.get(place.endpoint.host, 0) + 1
    # In order of their numbers: each host is the larger one for all those before it.
    return sum(place * count for place, count in enumerate(sorted(counts.values())))


def suspects(
    known: Known, seen: Sequence[Tried], device: str, budget_s: float, seed: int, stage: int
) -> tuple[Rounds, tuple[str, ...]]:
    """Who meets whom next, and what is left out; nobody where nobody is suspected."""

    def more(places: Sequence[Place], own: Settings) -> Rounds:
        ends = {(place.endpoint.host, place.endpoint.gpu) for place in places}
        least = known.least_gbs[_model(known, places)]
        own_seen = [one for one in seen if _ends(one) <= ends]
        return pair_tests.again(places, own_seen, own, least_gbs=least, stage=stage)

    most = rounds_in(device, budget_s)
    count = len(_together(settings(device, seed), more, known))
    rounds = _together(settings(device, seed, min(count, most)), more, known)[:most]
    why = f"{count - most} rounds of suspects of {WHAT}: the budget has time for {most}"
    return rounds, ((why,) if count > most else ())


def _model(known: Known, places: Sequence[Place]) -> str:
    return next(model for model, one in known.places.items() if one == places)


def _ends(one: Tried) -> set[tuple[str, str]]:
    return {(end.host, end.gpu) for end in (one.trial.first, one.trial.second)}


def _together(own: Settings, plan: Rows, known: Known) -> Rounds:
    """The rounds of all models side by side; no two pairs have the same name and port."""
    found, start = [], own.start
    for places in known.places.values():
        rounds = plan(places, replace(own, start=start))
        start += sum(len(row) for row in rounds)
        found.append(rounds)
    return tuple(
        tuple(pair for row in rows for pair in row) for rows in zip_longest(*found, fillvalue=())
    )


def plans(name: str, meeting: Meeting) -> dict[str, dict[str, Any]]:
    """By host its plan of a stage."""
    return {
        host: {
            "format_version": FORMAT_VERSION,
            "campaign": f"{name}-{meeting.stage}",
            "stagger_s": 0.0,
            "self_test": False,
            "cells": [dict(cell) for cell in cells],
        }
        for host, cells in pair_tests.cells_of(meeting.rounds).items()
    }


# ---------------------------------------------------------------- kept


def kept(folder: Folder) -> Kept:
    """What was planned so far."""
    told = folder.json(FILE)
    if told is None:
        return Kept()
    return Kept(
        meetings=tuple(
            Meeting(
                stage=one["stage"], rounds=tuple(tuple(map(_pair, row)) for row in one["rounds"])
            )
            for one in told["meetings"]
        ),
        least_gbs=told["least_gbs"],
        not_tested=tuple(told["not_tested"]),
    )


def keep(folder: Folder, told: Kept) -> None:
    """Keep what is planned before anybody meets."""
    meetings = [
        {
            "stage": meeting.stage,
            "rounds": [
                [
                    {"first": asdict(pair.first), "second": asdict(pair.second),
                     "cells": {host: dict(cell) for host, cell in pair.cells.items()}}
                    for pair in row
                ]
                for row in meeting.rounds
            ],
        }
        for meeting in told.meetings
    ]  # fmt: skip
    folder.write(
        FILE,
        {
            "format_version": FORMAT_VERSION,
            "meetings": meetings,
            "least_gbs": dict(told.least_gbs),
            "not_tested": list(told.not_tested),
        },
    )


def _pair(told: Mapping[str, Any]) -> Pair:
    return Pair(
        first=Endpoint(**told["first"]), second=Endpoint(**told["second"]), cells=told["cells"]
    )


def have_met(folder: Folder, meeting: Meeting) -> bool:
    """Whether a stage came to its end on all its hosts."""
    return all(
        {cell.id for cell in cells_of(plan)} <= set(folder.host(host).journal(meeting.stage).ended)
        for host in meeting.hosts
        if (plan := folder.host(host).json(f"{meeting.stage}.plan.json")) is not None
    )


# ---------------------------------------------------------------- what came of it


def tried(folder: Folder, meetings: Sequence[Meeting]) -> tuple[Tried, ...]:
    """What came of all pairs, in the order in which they met."""
    return tuple(
        one
        for meeting in meetings
        for one in pair_verdicts.tried(
            meeting.rounds,
            {host: folder.host(host).records(meeting.stage) for host in meeting.hosts},
        )
    )


def checks(folder: Folder) -> tuple[Check, ...]:
    """A check for each GPU that was to meet another, and for what else is blamed."""
    told = kept(folder)
    seen = tried(folder, told.meetings)
    ends = {end for one in seen for end in _ends(one)}
    by_model: dict[str, dict[tuple[str, str], Subject]] = {}
    for host in sorted({host for host, _ in ends}):
        for one in prepared_from(folder.host(host).json("prepared.json")).measured:
            if (host, one.device) in ends:
                by_model.setdefault(one.kind, {})[host, one.device] = one.subject
    return tuple(
        check
        for model, subjects in by_model.items()
        for check in pair_verdicts.pair_checks(
            [one for one in seen if _ends(one) <= set(subjects)],
            subjects,
            least_gbs=told.least_gbs.get(model, 0.0),
        )
    )


def by_fault(folder: Folder) -> dict[str, float]:
    """By fault of the network the chance that pairs see it, at the end that had the least of them.

    Empty where nobody met.
    """
    meetings = kept(folder).meetings
    seconds: dict[tuple[str, str], float] = {}
    results = iter(tried(folder, meetings))
    for meeting in meetings:
        for row in meeting.rounds:
            for pair in row:
                (own_s, *_) = (cell["parameters"]["seconds"] for cell in pair.cells.values())
                good = next(results).trial.value is not None
                for end in (pair.first, pair.second):
                    key = (end.host, end.nic)
                    seconds[key] = seconds.get(key, 0.0) + (float(own_s) if good else 0.0)
    least = min(seconds.values(), default=0.0)
    rates = {fault.name: fault.rate_per_hour for fault in choices.FAULTS}
    return {
        name: chance * detection_probability(rates[name], least)
        for name, chance in SEEN.items()
        if seconds
    }
