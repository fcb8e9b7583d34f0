"""Pairs of GPUs across hosts as cells of the payload: first all with all, then suspects again.

Each round is run by all hosts at once, and in it nobody is in two pairs. ``pair_verdicts`` reads
the journals and judges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiprov.checks import pairs
from aiprov.checks.pair_verdicts import Tried, solved
from aiprov.checks.pairs import Blame, Endpoint, Trial

SIZE = 256 << 20
FIRST_PORT, PORTS = 20000, 8000
"""Ports of rendezvous: below those that Linux hands out (32768), each used once in a while."""


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """A GPU that may be in a pair. ``device``: of the payload; ``address``: where others find it.

    ``endpoint.nic`` is the InfiniBand or RoCE device, or where ``rdma`` is not, what leads there
    over TCP; ``interface`` the network interface for TCP, empty where NCCL is to choose.
    """

    endpoint: Endpoint
    device: str
    address: str
    interface: str = ""
    rdma: bool = True


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two GPUs and the cell that each of their hosts gets."""

    first: Endpoint
    second: Endpoint
    cells: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a pair does: ``seconds`` long, ended after ``limit_s``.

    ``start``: number of the first pair, where others of the same stage have those below.
    """

    operation: str = "send_recv"
    size: int = SIZE
    seconds: float = 5.0
    limit_s: float = 120.0
    seed: int = 0
    start: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)


Rounds = tuple[tuple[Pair, ...], ...]


def cells_of(made: Iterable[Sequence[Pair]]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """The cells of each host in the order in which it has to do them."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in made:
        for pair in one:
            for host, cell in pair.cells.items():
                found.setdefault(host, []).append(cell)
    return {host: tuple(cells) for host, cells in found.items()}


# ---------------------------------------------------------------- who with whom


def pair_cells(
    places: Sequence[Place], settings: Settings | None = None, *, most: int | None = None
) -> Rounds:
    """Rounds in which each host meets each other once, by the circle method.

    GPU i of one host meets GPU i of the other (the same rail of the network), all at a time where
    each has an adapter to itself. GPUs that share one meet one after the other: first one of them
    with each host, another with each. Of hosts with unequal numbers of GPUs some meet several.
    ``most``: only so many rounds.
    """
    hosts: dict[str, list[Place]] = {}
    for place in places:
        hosts.setdefault(place.endpoint.host, []).append(place)
    known = {place.endpoint: place for place in places}
    of_hosts = [
        pairs.disjoint(
            (one.endpoint, other.endpoint)
            for first, second in met
            for one, other in _rails(hosts[first], hosts[second])
        )
        for met in pairs.rounds(sorted(hosts), most)
    ]
    made = []
    for turn in range(max(map(len, of_hosts), default=0)):
        for number, rows in enumerate(of_hosts):
            if turn < len(rows):
                row = rows[(number + turn) % len(rows)]
                made.append([(known[first], known[second]) for first, second in row])
    return _rounds(made[:most], settings or Settings(), stage="1")


def _rails(first: Sequence[Place], second: Sequence[Place]) -> list[tuple[Place, Place]]:
    """Two hosts' GPUs in pairs."""
    if len(first) < len(second):
        return [(one, other) for other, one in _rails(second, first)]
    return [(one, second[number % len(second)]) for number, one in enumerate(first)]


def again(
    places: Sequence[Place],
    tried: Sequence[Tried],
    settings: Settings | None = None,
    *,
    least_gbs: float | None = 0.0,
    stage: int = 2,
) -> Rounds:
    """The next stage: suspects meet others; nothing where nobody is suspected.

    What is blamed alone repeats two of its pairs, as a disturbance does not come back; parts that
    cannot be told apart meet whoever tells. ``least_gbs``: see ``pair_verdicts.floor``.
    """
    solution, trials = solved(tried, least_gbs)
    known = {place.endpoint: place for place in places}
    wanted: list[tuple[Endpoint, Endpoint]] = []
    asked: Counter[Endpoint] = Counter()
    for blame in solution.blames:
        wanted += pairs.separate(blame, known, solution, asked) or _once_more(blame, trials)
    wanted += [(trial.first, trial.second) for trial in solution.unexplained]
    made = []
    for one in pairs.disjoint(dict.fromkeys(wanted)):
        ends = [(_place(first, known), _place(second, known)) for first, second in one]
        made.append([(a, b) for a, b in ends if a is not None and b is not None])
    return _rounds(made, settings or Settings(), stage=str(stage))


def _once_more(blame: Blame, trials: Iterable[Trial]) -> list[tuple[Endpoint, Endpoint]]:
    """Two of the pairs that a blame rests on: a disturbance does not come back."""
    found = [trial for trial in trials if trial.parts & set(blame.parts)]
    found.sort(key=lambda trial: -1.0 if trial.value is None else trial.value)  # the worst first
    return [(trial.first, trial.second) for trial in found[:2]]


def _place(end: Endpoint, known: Mapping[Endpoint, Place]) -> Place | None:
    """Where an end is: its own place, or of a GPU with a neighbour's adapter that GPU's."""
    if end in known:
        return known[end]
    for other, place in known.items():
        if (other.host, other.gpu) == (end.host, end.gpu):
            return Place(endpoint=end, device=place.device, address=place.address,
                         interface=place.interface, rdma=place.rdma)  # fmt: skip
    return None


def _rounds(
    made: Sequence[Sequence[tuple[Place, Place]]], settings: Settings, *, stage: str
) -> Rounds:
    count, found = settings.start, []
    for pairs_ in made:
        own = []
        for first, second in pairs_:
            own.append(_pair(first, second, settings, f"{stage}-{count}", count))
            count += 1
        if own:
            found.append(tuple(own))
    return tuple(found)


def _pair(first: Place, second: Place, settings: Settings, name: str, number: int) -> Pair:
    cells = {}
    for node, place in enumerate((first, second)):
        meeting = {
            "address": first.address, "port": FIRST_PORT + number % PORTS, "nodes": 2,
            "node": node, "name": name, "interface": place.interface,
            "adapter": place.endpoint.nic if place.rdma else "",
        }  # fmt: skip
        parameters = {
            "operation": settings.operation, "bytes": [settings.size],
            "seconds": settings.seconds, "rendezvous": meeting, **settings.more,
        }  # fmt: skip
        cells[place.endpoint.host] = {
            "kind": "collective", "device": place.device, "limit_s": settings.limit_s,
            "seed": settings.seed, "parameters": parameters,
        }  # fmt: skip
    return Pair(first=first.endpoint, second=second.endpoint, cells=cells)
