"""What pairs of GPUs across hosts say of GPUs, adapters, hosts and links.

A slow pair is explained by ``pairs.solve``. Wrong results weigh as slow ones do, and no later good
one excuses them; of a pair that was only slow the last trial counts. A pair without a result
accuses nobody of a fault, but nobody on its way is ok.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiprov.checks import collectives, pairs
from aiprov.checks.model import Basis, Bound, Check, Evidence, Measurement, Subject
from aiprov.checks.pairs import Blame, Endpoint, Part, Solution, Trial
from aiprov.checks.statistics import FEWEST, Metric, fleet_bound
from aiprov.errors import UsageError

Record = Mapping[str, Any]

NAME = "pairs across hosts"
WRONG = 0.0
"""The rate of a pair whose results were wrong: slower than any."""
_TINY = 1e-9
_MOST_TOLD = 40


class Planned(Protocol):
    """A pair as ``pair_tests`` plans it."""

    @property
    def first(self) -> Endpoint: ...
    @property
    def second(self) -> Endpoint: ...
    @property
    def cells(self) -> Mapping[str, Mapping[str, Any]]: ...


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A pair and what came of it. ``why``: the reason why it has no rate, or that it was wrong."""

    trial: Trial
    why: str = ""

    def __str__(self) -> str:
        ends = f"{self.trial.first} - {self.trial.second}"
        if self.why or self.trial.value is None:
            return f"{ends}: {self.why or 'no result'}"
        return f"{ends}: {self.trial.value:.5g} GB/s"


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What a pair must reach, in GB/s."""

    gbs: float
    basis: Basis
    reason: str


# ---------------------------------------------------------------- what came of pairs


def tried(
    made: Iterable[Sequence[Planned]],
    journals: Mapping[str, Sequence[Record]],
    *,
    self_test: bool = False,
) -> tuple[Tried, ...]:
    """What came of each planned pair, by the journals of its hosts.

    Raises ``UsageError`` for the journal of a self-test, unless it is one.
    """
    ends = {host: _ends(host, records, self_test) for host, records in journals.items()}
    return tuple(_tried(pair, ends) for one in made for pair in one)


def _ends(host: str, records: Sequence[Record], self_test: bool) -> dict[str, Record]:
    """The end of each cell with a rendezvous, by the name of that."""
    names: dict[str, str] = {}
    for record in records:
        if record["event"] != "plan":
            continue
        if bool(record.get("self_test")) != self_test:
            raise UsageError(
                f"{host}: this journal is of {'no' if self_test else 'a'} self-test",
                hint="give --self-test" if self_test else "validate again without --self-test",
            )
        for cell in record["cells"]:
            meeting = cell["parameters"].get("rendezvous")
            if isinstance(meeting, Mapping):
                names[cell["id"]] = str(meeting.get("name"))
    return {
        names[record["cell"]]: record
        for record in records
        if record["event"] == "end" and record["cell"] in names
    }


def _tried(pair: Planned, ends: Mapping[str, Mapping[str, Record]]) -> Tried:
    rates, wrong, reasons = list[float](), 0.0, list[str]()
    for host, cell in pair.cells.items():
        parameters = cell["parameters"]
        end = ends.get(host, {}).get(str(parameters["rendezvous"]["name"]), {})
        result = end.get("result") or {}
        if end.get("status") != "done":
            told = end.get("error") or "planned, and no result came"
            reasons.append(f"{host}: {end.get('status', 'no end')}: {told}")
            continue
        wrong += collectives.wrong_results(parameters, result, 1) or 0.0
        gbs = collectives.rate(parameters, result, 1, int(parameters["bytes"][0]))
        judged = collectives.collective(parameters, result, 1, "")
        if gbs is None or any(one.verdict == "not measured" for one in judged if one.bounds):
            reasons.append(f"{host}: it did not tell a rate of verified results")
        else:
            rates.append(gbs)
    if wrong:
        reasons, rates = [f"{wrong:g} wrong results", *reasons], [WRONG]
    value = min(rates) if wrong or (rates and not reasons) else None
    trial = Trial(first=pair.first, second=pair.second, value=value)
    return Tried(trial=trial, why="; ".join(reasons)[:2000])


def floor(trials: Sequence[Trial], least_gbs: float | None = 0.0) -> Floor:
    """What a pair must reach: by the others, and at least ``least_gbs``.

    That is for what the network must carry whatever others do, such as 60 % of a port's rate: where
    most pairs are slow the fleet does not tell. Without it, few pairs are only judged by results;
    with ``None`` all are, as of processors that stand for GPUs.
    """
    if least_gbs is None:
        return Floor(gbs=_TINY, basis="exact", reason="right results; rates are not judged")
    values = [trial.value for trial in trials if trial.value]
    metric = Metric(name=NAME, unit="GB/s", better="higher")
    bound = fleet_bound(values, metric, what="pairs")
    of_fleet = float(bound.value) if bound else 0.0
    if bound and of_fleet >= least_gbs:
        return Floor(gbs=of_fleet, basis="fleet", reason=bound.reason)
    if least_gbs > 0:
        return Floor(gbs=least_gbs, basis="physics", reason="what the network must carry")
    return Floor(gbs=_TINY, basis="exact", reason="right results; fewer than "
                 f"{FEWEST} pairs have a rate")  # fmt: skip


def counted(seen: Sequence[Tried]) -> tuple[Tried, ...]:
    """One for each pair: any that was wrong, or the last."""
    found: dict[frozenset[Endpoint], Tried] = {}
    for one in seen:
        key = frozenset((one.trial.first, one.trial.second))
        if key not in found or found[key].trial.value != WRONG:
            found[key] = one
    return tuple(found.values())


def solved(
    seen: Sequence[Tried], least_gbs: float | None = 0.0
) -> tuple[Solution, tuple[Trial, ...]]:
    """Who is to blame, and by which trials."""
    trials = tuple(one.trial for one in counted(seen))
    return pairs.solve(trials, floor(trials, least_gbs).gbs), trials


# ---------------------------------------------------------------- verdicts


def pair_checks(
    seen: Sequence[Tried],
    subjects: Mapping[tuple[str, str], Subject],
    *,
    least_gbs: float | None = 0.0,
) -> tuple[Check, ...]:
    """A check for each GPU that is in ``subjects``, and one for each other part that is blamed.

    ``subjects``: by host and GPU as endpoints name them. One that was in no pair is not measured.
    Blame on one part is that part's fault. Of parts that nothing tells apart each is not measured,
    and what they have in common, their host or the link, has failed.
    """
    solution, trials = solved(seen, least_gbs)
    bound = floor(trials, least_gbs)
    blamed: dict[Subject, list[Measurement]] = {}
    for blame in solution.blames:
        for subject, measurement in _blame(blame, trials, bound, subjects):
            blamed.setdefault(subject, []).append(measurement)
    for trial in solution.unexplained:
        subject = _subject(_link(trial), subjects)
        blamed.setdefault(subject, []).append(_unexplained(trial))
    gpus = {subject: key for key, subject in subjects.items()}
    return tuple(
        _check(subject, gpus.get(subject), blamed.get(subject, ()), seen)
        for subject in dict.fromkeys((*gpus, *blamed))
    )


def _check(
    subject: Subject,
    gpu: tuple[str, str] | None,
    blamed: Sequence[Measurement],
    seen: Sequence[Tried],
) -> Check:
    own = [one for one in seen if gpu is None or gpu in _gpus(one.trial)]
    measurements: tuple[Measurement, ...] = (*blamed,)
    if gpu is not None:
        values = [one.trial.value for one in own if one.trial.value is not None]
        some = Bound(relation="at least", value=1, basis="exact", reason="it has met somebody")
        none = Bound(relation="at most", value=0, basis="exact", reason="nothing slow is its fault")
        clean = Measurement(name="pairs blamed on it", value=0, bounds=(none,))
        measurements = (
            *(blamed or (clean,)),
            Measurement(name="pairs with a result", value=len(values), bounds=(some,))
            if values
            else Measurement(name="pairs with a result", value=None, reason="there is none"),
            Measurement(name="best pair", value=max(values, default=None), unit="GB/s",
                        required=False, reason="there is none"),
        )  # fmt: skip
    lines = [str(one) for one in own][-_MOST_TOLD:]
    evidence = (Evidence.of("pairs", "\n".join(lines)),) if lines else ()
    return Check(name=NAME, subject=subject, measurements=measurements, evidence=evidence)


def _blame(
    blame: Blame,
    trials: Iterable[Trial],
    bound: Floor,
    subjects: Mapping[tuple[str, str], Subject],
) -> Iterable[tuple[Subject, Measurement]]:
    """What a blame means for its parts and, where they are several, for what they share."""
    parts = set(blame.parts)
    low = [t for t in trials if (t.value is None or t.value < bound.gbs) and parts <= t.parts]
    values = [trial.value for trial in low if trial.value is not None]
    none = Bound(
        relation="at most", value=0, basis=bound.basis, reason=f"a pair must reach "
        f"{bound.gbs:.4g} GB/s: {bound.reason}",
    )  # fmt: skip
    if not values:
        for part in blame.parts:
            why = f"{blame.trials} pairs gave no result, and {blame} is on the way of all of them"
            yield _subject(part, subjects), Measurement(name=_NAME, value=None, reason=why)
        return
    failed = Measurement(name=_NAME, value=blame.trials, bounds=(none,))
    if blame.certain:
        yield _subject(blame.parts[0], subjects), failed
        return
    shared = _shared(blame, low[0])
    for part in blame.parts:
        subject = _subject(part, subjects)
        if subject != shared:
            why = f"{blame}: one of them is at fault"
            yield subject, Measurement(name=_NAME, value=None, reason=why)
    yield shared, failed


_NAME = "pairs blamed on it"


def _shared(blame: Blame, trial: Trial) -> Subject:
    hosts = {part.name.partition("/")[0] for part in blame.parts if part.kind != "link"}
    if len(hosts) == 1 and not any(part.kind == "link" for part in blame.parts):
        return Subject(host=hosts.pop())
    return _subject(_link(trial), {})


def _unexplained(trial: Trial) -> Measurement:
    """A pair that was slow, of parts that were all fast with others."""
    if trial.value == WRONG:
        none = Bound(relation="at most", value=0, basis="exact", reason="good hardware has none")
        return Measurement(name="pairs with wrong results", value=1, bounds=(none,))
    why = "it was slow, and all that is on its way was fast with others"
    return Measurement(name=_NAME, value=None, reason=why)


def _link(trial: Trial) -> Part:
    return next(part for part in trial.parts if part.kind == "link")


def _gpus(trial: Trial) -> set[tuple[str, str]]:
    return {(end.host, end.gpu) for end in (trial.first, trial.second)}


def _subject(part: Part, subjects: Mapping[tuple[str, str], Subject]) -> Subject:
    """A part as what is judged. A link belongs to the host of its first end."""
    host, _, rest = part.name.partition("/")
    if part.kind == "gpu":
        known = subjects.get((host, rest))
        return known or Subject(host=host, kind="gpu", id=rest)
    if part.kind == "nic":
        return Subject(host=host, kind="nic", id=rest, label=rest)
    if part.kind == "link":
        return Subject(host=host, kind="link", id=part.name, label=part.name)
    return Subject(host=host)
