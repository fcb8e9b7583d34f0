"""Validations of a made-up fleet, one a day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from aiprov.checks.model import Bound, Check, Measurement, Subject
from aiprov.checks.validation import Gpu, HostRun, Validation

FLOOR = Bound(relation="at least", value=600.0, basis="physics")
NONE = Bound(relation="at most", value=0, basis="exact")
FIRST = datetime(2026, 1, 1, 10, tzinfo=UTC)
CHECK = "products bf16 A"
SOFTWARE = "driver 580.95.05, torch 2.9.1"


def gpu(number: int, host: str | None = None) -> Subject:
    """GPU ``number``; eight are in a host unless told."""
    return Subject(
        host=host or f"h{number // 8}", kind="gpu", id=f"s{number}", label=f"GPU {number % 8}"
    )


def check(subject: Subject, rate: float | None, faults: int = 0, name: str = CHECK) -> Check:
    return Check(
        name=name,
        subject=subject,
        measurements=(
            Measurement(name="faults", value=faults, bounds=(NONE,)),
            Measurement(name="bf16", value=rate, unit="TFLOPS", bounds=(FLOOR,)),
            Measurement(name="vbios", value="96.00", required=False),
            Measurement(name="persistence", value=True, required=False),
            Measurement(name="odd", value=float("nan"), required=False),
        ),
    )


def validation(
    day: int, rates: Mapping[Subject, float | None], *more: Check, **fields: object
) -> Validation:
    checks = (*(check(subject, rate) for subject, rate in rates.items()), *more)
    hosts = sorted({one.subject.host for one in checks})
    told = {
        "campaign": f"campaign-{day}",
        "started": (FIRST + timedelta(days=day)).isoformat(),
        "seconds": 60.0,
        "hosts": tuple(HostRun(host=host, status="done") for host in hosts),
        "checks": checks,
        "gpus": tuple(Gpu(subject=subject, model="H200") for subject in rates),
    }
    return Validation(**{**told, **fields})


def software(made: Validation, told: str = SOFTWARE) -> dict[Subject, str]:
    return {Subject(host=run.host): told for run in made.hosts}
