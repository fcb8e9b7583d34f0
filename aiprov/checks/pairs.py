"""Pairs of GPUs across hosts: who is tested with whom, and whose fault a slow pair is.

A pair is as fast as the slowest part on its way: two GPUs, their network adapters, their hosts and
the link between them. So a part is cleared by any trial that was fast, and the fewest parts that
are not cleared and explain all slow trials are to blame. Parts that no trial tells apart are blamed
together, and ``separate`` says which trials would tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

M = TypeVar("M")

PartKind = Literal["gpu", "nic", "host", "link"]

_COMMON: Mapping[PartKind, int] = {"gpu": 268, "link": 35, "nic": 7, "host": 6}
"""How often each kind of part interrupted work, for choosing among explanations of equal size.

The Llama 3 herd of models (arXiv 2407.21783), table 5: 419 unexpected interruptions in 54 days of
16,384 GPUs; GPUs with their memory and firmware, switches and cables, adapters, other hardware.
"""


@dataclass(frozen=True, kw_only=True, order=True)
class Part:
    """Something that can be at fault. ``name`` is unique among its kind."""

    kind: PartKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, kw_only=True, order=True)
class Endpoint:
    """One end of a pair: a GPU and the adapter it uses; ``nic`` is empty within a host."""

    host: str
    gpu: str
    nic: str = ""

    @property
    def parts(self) -> frozenset[Part]:
        """What is used at this end. Within a host only the GPU tells it from the other end."""
        gpu = Part(kind="gpu", name=f"{self.host}/{self.gpu}")
        if not self.nic:
            return frozenset({gpu})
        nic = Part(kind="nic", name=f"{self.host}/{self.nic}")
        return frozenset({gpu, nic, Part(kind="host", name=self.host)})

    def __str__(self) -> str:
        return "/".join(word for word in (self.host, self.gpu, self.nic) if word)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A pair that was tested. ``value``: its rate; ``None`` where it hung or gave no result."""

    first: Endpoint
    second: Endpoint
    value: float | None

    @property
    def parts(self) -> frozenset[Part]:
        """All parts on the way."""
        ends = sorted((str(self.first), str(self.second)))
        link = Part(kind="link", name=f"{ends[0]} - {ends[1]}")
        return self.first.parts | self.second.parts | {link}


@dataclass(frozen=True, kw_only=True)
class Blame:
    """One fault. ``parts``: it is one of these, the likeliest first; one part alone is certain.

    ``trials``: how many slow trials it explains.
    """

    parts: tuple[Part, ...]
    trials: int

    @property
    def certain(self) -> bool:
        return len(self.parts) == 1

    def __str__(self) -> str:
        return " or ".join(str(part) for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Who is to blame, the most trials first. ``unexplained``: slow trials of cleared parts alone.

    Those parts were fast together at another time: the fault comes and goes, or the trial was
    disturbed.
    """

    blames: tuple[Blame, ...] = ()
    unexplained: tuple[Trial, ...] = ()
    cleared: frozenset[Part] = frozenset()


# ---------------------------------------------------------------- who with whom


def rounds(members: Sequence[M], most: int | None = None) -> tuple[tuple[tuple[M, M], ...], ...]:
    """Rounds of pairs in which nobody is twice; over all rounds everybody meets everybody once.

    The circle method: n - 1 rounds of n / 2 pairs, or n rounds in which one rests where n is odd.
    ``most``: only so many rounds, enough to suspect parts though not to test every link.
    """
    if len(members) < 2:
        return ()
    seats: list[M | None] = list(members)
    if len(seats) % 2:
        seats.append(None)
    count = len(seats)
    found = []
    for _ in range(count - 1 if most is None else min(most, count - 1)):
        pairs = [(seats[index], seats[count - 1 - index]) for index in range(count // 2)]
        found.append(
            tuple((one, other) for one, other in pairs if one is not None and other is not None)
        )
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return tuple(found)


# ---------------------------------------------------------------- whose fault


def solve(trials: Sequence[Trial], floor: float) -> Solution:
    """The fewest faults that explain every trial below the floor; of equals the likelier kind."""
    slow = [trial for trial in trials if trial.value is None or trial.value < floor]
    fast = [trial for trial in trials if trial.value is not None and trial.value >= floor]
    cleared = frozenset(part for trial in fast for part in trial.parts)
    open_ = {index: trial.parts - cleared for index, trial in enumerate(slow)}
    unexplained = tuple(slow[index] for index, parts in open_.items() if not parts)
    left = {index for index, parts in open_.items() if parts}
    explains: dict[Part, frozenset[int]] = {}
    for part in {part for index in left for part in open_[index]}:
        explains[part] = frozenset(index for index in left if part in open_[index])
    blames = []
    while left:
        best = max(explains, key=lambda part: _rank(part, explains[part] & left))
        covered = explains[best] & left
        # What explains the same trials cannot be told from it, whatever else it explains.
        alike = [part for part in explains if explains[part] & left == covered]
        blames.append(Blame(parts=tuple(sorted(alike, key=_likely)), trials=len(covered)))
        left -= covered
    return Solution(blames=tuple(blames), unexplained=unexplained, cleared=cleared)


def _rank(part: Part, covered: frozenset[int]) -> tuple[int, int, str]:
    return len(covered), _COMMON[part.kind], part.name


def _likely(part: Part) -> tuple[int, str]:
    return -_COMMON[part.kind], part.name


# ---------------------------------------------------------------- the second stage


def separate(
    blame: Blame,
    endpoints: Iterable[Endpoint],
    solution: Solution,
    asked: Counter[Endpoint] | None = None,
) -> tuple[tuple[Endpoint, Endpoint], ...]:
    """Pairs that tell the parts of an uncertain blame apart, each with a partner that is cleared.

    Every end that may be at fault meets a cleared one of another host; a GPU and an adapter that
    always went together are tried with a neighbour's on the same host. Empty where nobody is left
    who could tell, or nothing has to be told. ``asked``: how often each is a partner already; those
    who are least are taken, and counted, so that many suspects do not wait for one partner.
    """
    asked = Counter() if asked is None else asked
    known = sorted(set(endpoints))
    good = [end for end in known if end.parts <= solution.cleared]
    suspects = [end for end in known if end.parts & set(blame.parts)]
    if blame.certain or not good:
        return ()
    pairs = []
    for end in suspects:
        for mixed in (end, *_with_neighbours(end, good)):
            partner = _partner(mixed, good, asked)
            if partner:
                asked[partner] += 1
                pairs.append((mixed, partner))
    return tuple(dict.fromkeys(pairs))


def _with_neighbours(end: Endpoint, good: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The end's GPU with another adapter of its host, and its adapter with another GPU."""
    near = [
        other for other in good if other.host == end.host and other.gpu != end.gpu and other.nic
    ]
    if not near or not end.nic:
        return ()
    other = near[0]
    return (
        Endpoint(host=end.host, gpu=end.gpu, nic=other.nic),
        Endpoint(host=end.host, gpu=other.gpu, nic=end.nic),
    )


def _partner(
    end: Endpoint, good: Sequence[Endpoint], asked: Mapping[Endpoint, int]
) -> Endpoint | None:
    within = not end.nic
    fit = [other for other in good if (other.host == end.host) == within and other != end]
    return min(fit, key=lambda other: asked.get(other, 0), default=None)


def disjoint(
    pairs: Iterable[tuple[Endpoint, Endpoint]],
) -> tuple[tuple[tuple[Endpoint, Endpoint], ...], ...]:
    """The pairs in rounds in which no GPU and no adapter is in two pairs."""
    found: list[tuple[set[Part], list[tuple[Endpoint, Endpoint]]]] = []
    for first, second in pairs:
        used = {part for part in first.parts | second.parts if part.kind != "host"}
        for busy, taken in found:
            if not busy & used:
                busy.update(used)
                taken.append((first, second))
                break
        else:
            found.append((used, [(first, second)]))
    return tuple(tuple(taken) for _, taken in found)
