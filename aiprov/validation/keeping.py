"""What a validation has to do with those before it: the past of its GPUs, and being kept itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiprov import payload_files
from aiprov.checks.fleet import Past
from aiprov.checks.model import Subject
from aiprov.checks.validation import Validation
from aiprov.errors import UsageError
from aiprov.history import measurements
from aiprov.validation.judging import Told


def software(all_told: Sequence[Told]) -> dict[Subject, str]:
    """What the values of each GPU depend on besides itself: driver, PyTorch and payload."""
    found = {}
    for told in all_told:
        driver = torch = ""
        for record in told.first:
            driver = driver or str(record.get("driver") or "")
            torch = torch or str((record.get("result") or {}).get("software") or "")
        text = f"driver {driver or 'none'}, {torch or 'unknown'}, payload {payload_files.version()}"
        found[Subject(host=told.host)] = text
        found.update({one.subject: text for one in told.ready.measured})
    return found


def past(all_told: Sequence[Told], campaign: str) -> tuple[Past, tuple[str, ...]]:
    """What was measured on these GPUs before, and what cannot be told of it."""
    by_subject = software(all_told)
    found = measurements.past(by_subject, by_subject, campaign=campaign)
    if isinstance(found, UsageError):
        return {}, (f"{found}: nothing is compared with what was before",)
    return found, ()


def kept(validation: Validation, by_subject: Mapping[Subject, str]) -> tuple[str, ...]:
    """Keep a validation in the history; what is to be said of that, and of GPUs that moved."""
    moved = measurements.moved(validation)
    told = [str(moved)] if isinstance(moved, UsageError) else [str(one) for one in moved]
    error = measurements.remember(validation, by_subject)
    return (*told, f"{error}: it is in its folder, but not in the history") if error else (*told,)
