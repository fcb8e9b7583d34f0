"""Made-up validations: hosts whose GPUs are as a word says."""

from __future__ import annotations

from aiprov.checks.model import Bound, Check, Measurement, Subject
from aiprov.checks.validation import HostRun, Validation

NONE = Bound(relation="at most", value=0, basis="exact", reason="no error is expected")


def gpu(host: str, number: int = 0) -> Subject:
    return Subject(host=host, kind="gpu", id=f"165502{number}", label=f"GPU {number}")


def check(subject: Subject, value: float | None = 0, *, name: str = "products", action: str = "",
          bound: Bound = NONE) -> Check:  # fmt: skip
    """A check of one measurement, which must be as the bound says."""
    measured = Measurement(name=name, value=value, bounds=(bound,), reason="no answer in 60 s")
    return Check(name=name, subject=subject, measurements=(measured,), action=action)


def validation(*, self_test: bool = False, **hosts: str) -> Validation:
    """Hosts by what they are: ``ok``, ``failed``, ``unmeasured`` or ``unreachable``."""
    checks, runs = [], []
    for host, word in hosts.items():
        there = word != "unreachable"
        runs.append(
            HostRun(host=host, status="done" if there else "unreachable",
                    message="" if there else "no route to host")
        )  # fmt: skip
        if there:
            value = {"ok": 0, "failed": 3, "unmeasured": None}[word]
            checks += [check(gpu(host, 0)), check(gpu(host, 1), value)]
    return Validation(
        campaign="c1", started="2026-11-21T20:00:00+00:00", seconds=60.0, hosts=tuple(runs),
        checks=tuple(checks), self_test=self_test,
    )  # fmt: skip


def fleet(bad: int, of: int) -> Validation:
    """So many failed hosts of so many."""
    return validation(**{f"g{n:02}": "failed" if n < bad else "ok" for n in range(of)})
