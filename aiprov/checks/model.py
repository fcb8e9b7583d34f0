"""What a verdict is made of: measurements against bounds, with margins and evidence.

``failed`` outweighs ``not measured``, and that outweighs ``ok``. Nothing is ok by absence: a check
that was planned and has no result, a measurement without a value and a check that judged nothing
are all ``not measured``.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Verdict = Literal["ok", "failed", "not measured"]

VERDICTS: tuple[Verdict, ...] = ("failed", "not measured", "ok")
"""The worst first."""

Basis = Literal["exact", "expectation", "physics", "prior", "fleet", "history"]
"""Where a bound comes from: arithmetic that leaves no choice, what provisioning wrote, the
hardware's peak, what others measured on the model, GPUs of the same kind, the subject's past."""

Relation = Literal["at least", "at most", "exactly"]
SubjectKind = Literal["host", "gpu", "link", "nic"]
Scalar = bool | int | float | str

MOST_CHARACTERS = 4000
"""Of a piece of evidence that is kept; its hash is of all of it."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of them; ``not measured`` where there are none."""
    found = set(verdicts)
    return next((verdict for verdict in VERDICTS if verdict in found), "not measured")


@dataclass(frozen=True, kw_only=True, order=True)
class Subject:
    """What is judged. ``id`` stays with the part: a GPU's serial number, a link's two ends.

    ``label`` is what a person calls it there: ``GPU 3``. Of a host both are empty.
    """

    host: str
    kind: SubjectKind = "host"
    id: str = ""
    label: str = ""

    @property
    def serial(self) -> str:
        """What a part keeps wherever it is; a host has its name."""
        return self.id or self.host

    def __str__(self) -> str:
        own = self.label or self.id
        return f"{self.host} {own}" if own else self.host


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was said, by which command or file. ``sha256`` and ``size`` (bytes) are of all of it."""

    source: str
    text: str
    sha256: str
    size: int

    @classmethod
    def of(cls, source: str, raw: str) -> Evidence:
        """Evidence from what was said; of a long text the end is kept, where errors stand."""
        data = raw.encode("utf-8", "surrogateescape")
        return cls(
            source=source,
            text=raw[-MOST_CHARACTERS:],
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
        )


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a value must be. ``reason`` says for a person where ``value`` comes from."""

    relation: Relation
    value: Scalar
    basis: Basis
    reason: str = ""

    def fits(self, value: Scalar) -> bool:
        """Whether the two can be compared: texts and truths only with their like, and exactly."""
        if _is_number(self.value) and _is_number(value):
            return True
        return self.relation == "exactly" and type(self.value) is type(value)

    def holds(self, value: Scalar) -> bool:
        """Whether the value is as it must be. Of one that does not fit, nothing holds."""
        if not self.fits(value):
            return False
        if self.relation == "exactly":
            return value == self.value
        return _distance(self, value) >= 0

    def margin(self, value: Scalar) -> float | None:
        """How far inside the value lies, as a share of the bound (of 1 where that is 0).

        Negative outside. ``None`` for what is no number.
        """
        if not (_is_number(self.value) and _is_number(value)):
            return None
        return _distance(self, value) / (abs(float(self.value)) or 1.0)

    def __str__(self) -> str:
        shown = f"{self.value:g}" if isinstance(self.value, float) else str(self.value)
        return f"{self.relation} {shown}"


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _distance(bound: Bound, value: Scalar) -> float:
    distance = float(value) - float(bound.value)
    if bound.relation == "exactly":
        return -abs(distance)
    return distance if bound.relation == "at least" else -distance


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One value and what it must be; without a value, ``reason`` says why there is none.

    ``required``: its check is not ok without it. What is only recorded is not required, and has no
    bounds.
    """

    name: str
    value: Scalar | None
    unit: str = ""
    bounds: tuple[Bound, ...] = ()
    required: bool = True
    reason: str = ""

    @property
    def problem(self) -> str:
        """Why the value cannot be judged; empty where it can."""
        if self.value is None:
            return self.reason or "no value was told"
        if isinstance(self.value, float) and not math.isfinite(self.value):
            return f"{self.value} is no finite number"
        for bound in self.bounds:
            if not bound.fits(self.value):
                return f"{self.value!r} cannot be compared with {bound.value!r}"
        if self.required and not self.bounds:
            return "nothing says what it must be"
        return ""

    @cached_property
    def verdict(self) -> Verdict:
        """A value is ok when it is inside all of its bounds."""
        if self.problem:
            return "not measured"
        return "failed" if self.broken else "ok"

    @property
    def broken(self) -> tuple[Bound, ...]:
        """The bounds that the value is outside of; none where it cannot be judged."""
        if self.problem or self.value is None:
            return ()
        return tuple(bound for bound in self.bounds if not bound.holds(self.value))

    @property
    def margin(self) -> float | None:
        """The least margin over all bounds; ``None`` where there is none to tell."""
        if self.problem or self.value is None:
            return None
        margins = [bound.margin(self.value) for bound in self.bounds]
        return min((margin for margin in margins if margin is not None), default=None)

    @property
    def why(self) -> str:
        """Why it is not ok, as a person would say it; empty where it is."""
        if self.problem:
            return f"{self.name}: not measured: {self.problem}" if self.required else ""
        unit = f" {self.unit}" if self.unit else ""
        shown = f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)
        told = [
            f"{bound}{unit} ({bound.basis}{f': {bound.reason}' if bound.reason else ''})"
            for bound in self.broken
        ]
        return f"{self.name}: {shown}{unit}, must be {' and '.join(told)}" if told else ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one check found on one subject.

    ``error``: it did not end as it should (crashed, timed out, was skipped, could not be read), so
    it is never ok. ``not_tested``: what it leaves open, each with the reason. ``action``: what
    NVIDIA's or our rules say to do, where they say anything.
    """

    name: str
    subject: Subject
    measurements: tuple[Measurement, ...] = ()
    error: str = ""
    evidence: tuple[Evidence, ...] = ()
    not_tested: tuple[str, ...] = ()
    action: str = ""
    seconds: float = 0.0

    @cached_property
    def verdict(self) -> Verdict:
        """Failed if anything failed; ok only if it ended and all that is required was judged."""
        verdicts = {item.verdict for item in self.measurements}
        if "failed" in verdicts:
            return "failed"
        judged = [item for item in self.measurements if item.bounds]
        if self.error or not any(item.verdict == "ok" for item in judged):
            return "not measured"
        return worst(item.verdict for item in self.measurements if item.required or item.bounds)

    @property
    def why(self) -> tuple[str, ...]:
        """Why it is not ok, what failed first; empty where it is."""
        if self.verdict == "ok":
            return ()
        ordered = sorted(self.measurements, key=lambda item: VERDICTS.index(item.verdict))
        told = [item.why for item in ordered if item.why]
        error = [f"{self.name}: {self.error}"] if self.error else []
        return (*told, *error) or (f"{self.name}: nothing was judged",)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A check that is to be made on a subject."""

    name: str
    subject: Subject


def complete(planned: Sequence[Planned], checks: Sequence[Check]) -> tuple[Check, ...]:
    """The checks and, for each planned one without a result, one that is not measured.

    What is planned twice has to be there twice.
    """
    missing = Counter(planned)
    missing.subtract(Planned(name=check.name, subject=check.subject) for check in checks)
    absent = [
        Check(name=item.name, subject=item.subject, error="planned, and no result came")
        for item, count in missing.items()
        for _ in range(count)
    ]
    return (*checks, *absent)


def verdict_of(checks: Iterable[Check]) -> Verdict:
    """The verdict on everything that these checks were made on."""
    return worst(check.verdict for check in checks)


def by_subject(checks: Iterable[Check]) -> dict[Subject, Verdict]:
    """The verdict on each subject, and on each host as the worst of all that is in it."""
    found: dict[Subject, list[Verdict]] = {}
    for check in checks:
        host = Subject(host=check.subject.host)
        for subject in {check.subject, host}:
            found.setdefault(subject, []).append(check.verdict)
    return {subject: worst(verdicts) for subject, verdicts in sorted(found.items())}
