"""Which driver: branch, kernel modules and source, by what the GPUs, kernels and toolkits exclude.

Every (branch, packages) that the OS has is a candidate. What speaks against one is a conflict; the
best of those without any is chosen, and where there is none, the one with the fewest says why.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiprov.catalog import drivers
from aiprov.catalog.drivers import Branch, PackageSet
from aiprov.catalog.resolution import Conflict
from aiprov.catalog.resolver import objections
from aiprov.catalog.resolver.question import Question, listed, past

SOURCE_NAMES = {"nvidia": "NVIDIA's repository", "distribution": "the distribution's archive"}
_KINDS = {"long-term": 0, "production": 1, "new-feature": 2, "unknown": 3}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A branch in one form of packages, and what speaks against it."""

    branch: Branch
    packages: PackageSet
    conflicts: tuple[Conflict, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The candidate to have, or the conflicts. ``reasons``: why it fell so."""

    candidate: Candidate | None = None
    conflicts: tuple[Conflict, ...] = ()
    warnings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def choose(asks: Question, wished: Branch | None) -> Choice:
    """The best candidate that nothing speaks against. ``wished``: the branch that is asked for."""
    mixed = objections.of_gpus_together(asks)
    if mixed:
        return Choice(conflicts=mixed)
    found = candidates(asks, wished)
    if not found:
        return Choice(conflicts=(_no_packages(asks, wished),))
    fitting = [item for item in found if not item.conflicts]
    alive = [item for item in fitting if not past(item.branch.eol, asks.today)]
    if alive or (fitting and _may_be_at_its_end(asks, wished)):
        best = min(alive or fitting, key=lambda item: _order(asks, item))
        return Choice(
            candidate=best,
            warnings=_warnings(asks, best),
            reasons=_reasons(asks, best, wished),
        )
    if fitting:
        return Choice(conflicts=(_all_at_their_end(fitting),))
    nearest = min(found, key=lambda item: (len(item.conflicts), _order(asks, item)))
    return Choice(conflicts=nearest.conflicts)


def candidates(asks: Question, wished: Branch | None) -> tuple[Candidate, ...]:
    """All that the OS has and the wishes leave, with what speaks against each."""
    asked = asks.asked
    return tuple(
        Candidate(branch=row, packages=item, conflicts=objections.of(asks, row, item))
        for item in drivers.package_sets(asked.os)
        for row in drivers.branches()
        if item.has(row)
        and wished in (None, row)
        and asked.modules in (None, item.modules)
        and (asked.source == item.from_ or (asked.source is None and not item.asked_only))
    )


def _may_be_at_its_end(asks: Question, wished: Branch | None) -> bool:
    """Whether the wishes themselves say so: a branch, or a source that has nothing else."""
    return wished is not None or asks.asked.source == "distribution"


def _order(asks: Question, item: Candidate) -> tuple[object, ...]:
    """The best first: known and alive, NVIDIA's own, long-term, newest, open."""
    row = item.branch
    return (
        past(row.eol, asks.today),
        row.eol is None,
        item.packages.from_ == "distribution",
        _KINDS[row.kind],
        -row.number,
        item.packages.modules == "proprietary",
    )


def _warnings(asks: Question, best: Candidate) -> tuple[str, ...]:
    row, found = best.branch, []
    if past(row.eol, asks.today):
        found.append(f"driver {row.name} has been at its end of life since {row.eol}")
    if row.eol is None:
        found.append(f"driver {row.name}: until when NVIDIA serves it is not known")
    version = objections.exact(asks)
    found += [
        f"driver {version or row.name}: {fault.text}" for fault in drivers.faults(row.name, version)
    ]
    return tuple(found)


def _reasons(asks: Question, best: Candidate, wished: Branch | None) -> tuple[str, ...]:
    return (
        _branch_reason(asks, best, wished),
        _modules_reason(asks, best),
        _source_reason(asks, best),
    )


def _branch_reason(asks: Question, best: Candidate, wished: Branch | None) -> str:
    row = best.branch
    if wished is not None:
        return f"driver {asks.asked.driver}: as asked for"
    if row.eol is None or past(row.eol, asks.today):
        return f"driver {row.name}: the only one that serves all that is asked"
    return f"driver {row.name}: the {row.kind} branch, served until {row.eol}"


def _modules_reason(asks: Question, best: Candidate) -> str:
    kind = best.packages.modules
    if asks.asked.modules is not None:
        return f"{kind} kernel modules: as asked for"
    only = [m for m in asks.models if objections.modules_of(m, best.branch) == {kind}]
    if only:
        return (
            f"{kind} kernel modules: {only[0].name} ({only[0].architecture.title()}) has no other"
        )
    return f"{kind} kernel modules: NVIDIA's default for {_architectures(asks)}"


def _architectures(asks: Question) -> str:
    return listed(tuple(dict.fromkeys(model.architecture.title() for model in asks.models)))


def _source_reason(asks: Question, best: Candidate) -> str:
    name = SOURCE_NAMES[best.packages.from_]
    if asks.asked.source is not None:
        return f"from {name}: as asked for"
    if best.packages.from_ == "distribution" and asks.asked.secure_boot:
        return f"from {name}: its modules are signed, which Secure Boot asks for"
    if best.packages.from_ == "distribution":
        return f"from {name}: NVIDIA's repository has none that fits"
    return f"from {name}: every branch and what drives the fabric are there"


def _no_packages(asks: Question, wished: Branch | None) -> Conflict:
    """Why no packages are left: the branch, the kind of modules or the source has none."""
    asked, os = asks.asked, asks.asked.os
    name = wished.name if wished is not None else "of any branch"
    if wished and asked.modules == "proprietary" and wished.number >= drivers.open_only_since():
        return Conflict(
            what=f"driver {name} has no proprietary kernel modules",
            hint=f"take the open ones, or a driver older than {drivers.open_only_since()}",
        )
    if wished and asked.source is None and _of_sets(asks, wished, asked_only=True):
        return Conflict(
            what=f"NVIDIA's repository for {os.name} has no driver {name}",
            hint="the distribution's archive has it: ask for that source",
        )
    has = [row.name for row in drivers.branches() if _of_sets(asks, row, asked_only=False)]
    where = SOURCE_NAMES[asked.source] if asked.source else "any repository"
    if has:
        return Conflict(
            what=f"{os.name} has no driver {name} in {where}", hint=f"it has {listed(tuple(has))}"
        )
    extensions = (
        ": Red Hat's extensions repository, for subscribed hosts only, is not managed here"
        if os.id == "rhel"
        else ""
    )
    return Conflict(
        what=f"{os.name} has no NVIDIA driver in {where}",
        hint=f"take the one from {SOURCE_NAMES['nvidia']}{extensions}",
    )


def _of_sets(asks: Question, row: Branch, *, asked_only: bool) -> bool:
    """Whether the OS has the branch from the source that is asked for, or without one from any.

    ``asked_only``: by packages that are never taken unasked; otherwise by the others.
    """
    source = asks.asked.source
    return any(
        item.has(row)
        and (source == item.from_ or (source is None and item.asked_only == asked_only))
        for item in drivers.package_sets(asks.asked.os)
    )


def _all_at_their_end(fitting: list[Candidate]) -> Conflict:
    names = tuple(dict.fromkeys(item.branch.name for item in fitting))
    return Conflict(
        what=f"what is asked for works with driver {listed(names)} only, at the end of its life",
        hint=f"ask for driver {names[-1]} to have it all the same",
    )
