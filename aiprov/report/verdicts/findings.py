"""What a validation found, in the order in which a person needs it: for text, Markdown and page.

Checks that are not ok for the same reason are one problem, on however many GPUs: a fleet whose
driver hangs has one line to read and not eight thousand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiprov.checks.detection import upper_rate
from aiprov.checks.model import VERDICTS, Basis, Check, Measurement, Subject, Verdict
from aiprov.checks.validation import HostRun, Validation

_DATA = ("products", "memory patterns", "copies", "same products", "train", "decode")
"""Checks that find wrong data: nothing is worse, because nobody sees it."""
_WRONG_DATA = (
    "Take it out of service: it computes, keeps or moves data wrongly. Keep the evidence for its "
    "maker."
)
_EXACT = "Take it out of service until the cause is found: {reason}."
_CAUSES = ("hung", "timed out", "error")
_FOLLOWS = ("not run", "planned, and no result came")
_ADVICE: dict[Basis, str] = {
    "expectation": "It is not what was provisioned. Repair the part, or have the expectation "
    "written anew by `aiprov apply` if the change was meant.",
    "physics": "Far below what the hardware can do. Look at its power, temperature and clock: "
    "a cap, a hot rack, a narrow link.",
    "prior": "Below what good ones of its model do. Look at its power, temperature and clock.",
    "fleet": "Slower than its peers, also when measured again. Look at its power, temperature and "
    "clock beside theirs; reset it; if it stays slow, replace it.",
    "history": "Slower than it was itself under the same software. Look for what changed: cooling, "
    "power, firmware, or a part that ages.",
}
_NOT_MEASURED = "Nothing is known of it, so it is not ok. Remove the cause and validate it again."
_HOSTS = {
    "unreachable": "Nothing is known of it, so it is not ok. Bring it back and validate it again.",
    "refused": "It was left alone. Free or prepare its GPUs and validate it again.",
    "interrupted": "It was cut short. Validate it again: what is in its journal is not repeated.",
    "failed": "Its payload could not run. Remove the cause and validate it again.",
}
_BASES: tuple[Basis, ...] = ("exact", "expectation", "physics", "prior", "fleet", "history")
"""What is to be looked at first, first: wrong data before slow GPUs."""
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong alike on some subjects. ``reason`` is of the first, whose margin is least.

    Each subject is in one problem, its most urgent; ``also``: other checks of these subjects that
    are not ok.
    """

    verdict: Verdict
    what: str
    reason: str
    advice: str
    subjects: tuple[Subject, ...]
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Proven:
    """What was verified on all subjects together.

    ``upper_per_hour``: 95 %, on average over those that showed no fault; ``None`` without
    such.
    ``least_detection``: the chance to have seen a fault of once an hour, where it is least.
    """

    subjects: int
    hours: float
    products: int
    faults: int
    upper_per_hour: float | None
    least_detection: float


def problems(validation: Validation) -> tuple[Problem, ...]:
    """What is wrong, the most urgent first; hosts that are not done are among them."""
    found: dict[tuple[str, ...], list[Check]] = {}
    for check in validation.checks:
        if check.verdict != "ok":
            key = (check.verdict, check.name, check.action, *_kind(check))
            found.setdefault(key, []).append(check)
    made = [(_urgency(own), own) for own in found.values()]
    made.sort(key=lambda item: (item[0], item[1][0].name))
    names: dict[Subject, dict[str, None]] = {}
    for _, own in made:
        for check in own:
            names.setdefault(check.subject, {})[check.name] = None
    told: list[Problem] = []
    seen: set[Subject] = set()
    for (order, *_), own in made:
        first = [check for check in own if check.subject not in seen]
        if first:
            told.append(_problem(VERDICTS[order], first, names))
            seen.update(check.subject for check in first)
    told += _hosts(validation.not_done)
    return tuple(sorted(told, key=lambda one: VERDICTS.index(one.verdict)))


def _kind(check: Check) -> tuple[str, ...]:
    """What makes two checks of one name bad alike."""
    if check.verdict == "failed":
        return tuple(item.name for item in check.measurements if item.verdict == "failed")
    return (_NUMBER.sub("#", check.why[0]),)


def _problem(
    verdict: Verdict, checks: list[Check], names: Mapping[Subject, Mapping[str, None]]
) -> Problem:
    ordered = sorted(checks, key=lambda check: (_least(check), check.subject))
    first = ordered[0]
    subjects = dict.fromkeys(check.subject for check in ordered)
    advice = _NOT_MEASURED if verdict == "not measured" else _advice(first)
    also = dict.fromkeys(name for subject in subjects for name in names[subject])
    return Problem(
        verdict=verdict,
        what=first.name,
        reason=first.why[0].removeprefix(f"{first.name}: "),
        advice=f"{first.action}. {advice}" if first.action else advice,
        subjects=tuple(subjects),
        also=tuple(name for name in also if name != first.name),
    )


def _advice(check: Check) -> str:
    basis = _first_basis(check)
    if basis != "exact":
        return _ADVICE[basis]
    if check.name.startswith(_DATA):
        return _WRONG_DATA
    reasons = (bound.reason for item in check.measurements for bound in item.broken)
    return _EXACT.format(reason=next((reason for reason in reasons if reason), check.name))


def _hosts(hosts: Iterable[HostRun]) -> list[Problem]:
    alike: dict[tuple[str, str], list[HostRun]] = {}
    for host in hosts:
        alike.setdefault((host.status, _NUMBER.sub("#", host.message)), []).append(host)
    return [
        Problem(
            verdict="not measured",
            what=f"host {status}",
            reason=own[0].message or "no reason is told",
            advice=f"{_sentence(own[0].hint)}{_HOSTS[status]}",
            subjects=tuple(Subject(host=host.host) for host in own),
        )
        for (status, _), own in alike.items()
    ]


def _sentence(hint: str) -> str:
    return f"{hint[0].upper()}{hint[1:]}. " if hint else ""


def _urgency(checks: list[Check]) -> tuple[int, int, int, int]:
    """Failed first; wrong data before what else is exact; then by basis; then what is common."""
    verdict = VERDICTS.index(checks[0].verdict)
    basis = min(_BASES.index(_first_basis(check)) for check in checks)
    data = verdict == 0 and basis == 0 and checks[0].name.startswith(_DATA)
    error = checks[0].error  # what follows from another one's end comes after it
    order = 0 if data or error.startswith(_CAUSES) else 2 if error.startswith(_FOLLOWS) else 1
    return verdict, basis, order, -len(checks)


def _broken(check: Check) -> list[Measurement]:
    return [item for item in check.measurements if item.broken]


def _first_basis(check: Check) -> Basis:
    bases = {bound.basis for item in _broken(check) for bound in item.broken}
    return next((basis for basis in _BASES if basis in bases), "exact")


def _least(check: Check) -> float:
    margins = [item.margin for item in _broken(check)]
    return min((margin for margin in margins if margin is not None), default=0.0)


def proven(validation: Validation) -> Proven:
    """What was verified on all together."""
    rows = validation.coverage
    clean = sum(row.hours for row in rows if not row.faults)
    return Proven(
        subjects=len(rows),
        hours=sum(row.hours for row in rows),
        products=sum(row.products for row in rows),
        faults=sum(row.faults for row in rows),
        upper_per_hour=upper_rate(0, clean) if clean > 0 else None,
        least_detection=min((row.detection for row in rows), default=0.0),
    )


def not_tested(validation: Validation) -> list[tuple[str, int]]:
    """What was left open and by how many checks: 0 for what the whole validation leaves open."""
    counts = Counter(what for check in validation.checks for what in check.not_tested)
    told = [(what, 0) for what in dict.fromkeys(validation.not_tested)]
    return told + sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def counted(word: str, verdicts: Iterable[Verdict]) -> str:
    """``3 GPUs (1 failed, 2 ok)``."""
    counts = Counter(verdicts)
    total = counts.total()
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return f"{total} {word}{'' if total == 1 else 's'}{f' ({told})' if told else ''}"


def summary(validation: Validation) -> str:
    """One line: the verdict, and how many hosts, GPUs and checks have which."""
    checks = counted("check", (check.verdict for check in validation.checks))
    parts = [f"{validation.verdict}: {checks}"]
    subjects = validation.by_subject
    for kind, word in (("host", "host"), ("gpu", "GPU"), ("link", "link"), ("nic", "adapter")):
        found = [verdict for subject, verdict in subjects.items() if subject.kind == kind]
        if found:
            parts.append(counted(word, found))
    return "; ".join(parts)
