"""Verdicts for the node exporter's textfile collector, in Prometheus' text format 0.0.4.

Each check tells all three verdicts as 0 or 1, so that an alert on ``verdict="ok"`` being 0 sees the
ones that were not measured as well; when it was validated tells of a file that nobody renews.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime

from aiprov.checks.model import VERDICTS, Check, Subject, Verdict, verdict_of
from aiprov.checks.validation import Validation

Labels = tuple[tuple[str, str], ...]
Family = dict[Labels, float]

HOST_STATUSES = ("done", "unreachable", "interrupted", "refused", "failed")

METRICS = {
    "aiprov_action": "Whether an action that a verdict asked for was done.",
    "aiprov_check": "Whether a check of validation has this verdict.",
    "aiprov_fault_detection_ratio": "Chance that a fault of this kind was found if it was there.",
    "aiprov_gpu_info": "Always 1: what a GPU is and where.",
    "aiprov_host_status": "Whether validation of a host ended in this way.",
    "aiprov_measurement": "What validation measured.",
    "aiprov_measurement_margin": "How far inside its bounds a value is, as a share of them.",
    "aiprov_self_test": "Whether this was a self-test, which says nothing of the hardware.",
    "aiprov_subject": "Whether a host, GPU, link or adapter has this verdict.",
    "aiprov_validated_seconds": "When validation ended, seconds since 1970.",
    "aiprov_validation": "Whether the whole validation has this verdict.",
    "aiprov_validation_duration_seconds": "How long validation took.",
    "aiprov_verified_detection_ratio": "Chance to have seen a fault that comes once an hour.",
    "aiprov_verified_fault_rate_upper": "95 % upper bound of the faults an hour.",
    "aiprov_verified_faults": "Faults found under verified load.",
    "aiprov_verified_hours": "Time under verified load.",
    "aiprov_verified_products": "Matrix products that were verified.",
}
"""All metrics and what they tell; all are gauges."""


def prometheus(validation: Validation) -> str:
    """The validation as metrics.

    Of a self-test no more than that it was one: the faults that it found are none of the hardware.
    """
    ended = datetime.fromisoformat(validation.started).timestamp() + validation.seconds
    families: dict[str, Family] = {
        "aiprov_self_test": {(): float(validation.self_test)},
        "aiprov_validated_seconds": {(): ended},
        "aiprov_validation_duration_seconds": {(): validation.seconds},
    }
    if not validation.self_test:
        families.update(_verdicts(validation))
        families.update(_measurements(validation.checks))
        families.update(_verified(validation))
    return "".join(_family(name, families[name]) for name in METRICS if families.get(name))


def _verdicts(validation: Validation) -> Mapping[str, Family]:
    by_check: dict[Labels, list[Check]] = {}
    for check in validation.checks:
        by_check.setdefault(_check_labels(check), []).append(check)
    checks = {labels: verdict_of(own) for labels, own in by_check.items()}
    subjects = {_labels(subject): verdict for subject, verdict in validation.by_subject.items()}
    hosts = (*validation.hosts, *validation.not_done)
    statuses = {host.host: host.status for host in hosts}
    return {
        "aiprov_action": {
            (("host", action.host), ("action", action.kind)): float(action.done)
            for action in validation.actions
        },
        "aiprov_check": _each_verdict(checks),
        "aiprov_gpu_info": {
            (*_labels(gpu.subject), ("model", gpu.model), ("address", gpu.address),
             ("uuid", gpu.uuid)): 1.0
            for gpu in validation.gpus
        },
        "aiprov_host_status": {
            (("host", name), ("status", status)): float(status == own)
            for name, own in statuses.items() for status in HOST_STATUSES
        },
        "aiprov_subject": _each_verdict(subjects),
        "aiprov_validation": _each_verdict({(): validation.verdict}),
    }  # fmt: skip


def _each_verdict(found: Mapping[Labels, Verdict]) -> Family:
    return {
        (*labels, ("verdict", verdict)): float(verdict == own)
        for labels, own in found.items()
        for verdict in VERDICTS
    }


def _measurements(checks: Iterable[Check]) -> Mapping[str, Family]:
    values: Family = {}
    margins: Family = {}
    for check in checks:
        labels = _check_labels(check)
        for item in check.measurements:
            key = (*labels, ("name", item.name), ("unit", item.unit))
            value = item.value
            if isinstance(value, int | float) and math.isfinite(value):
                values[key] = float(value)
            if item.margin is not None:
                margins[key] = min(item.margin, margins.get(key, math.inf))
    return {"aiprov_measurement": values, "aiprov_measurement_margin": margins}


def _verified(validation: Validation) -> Mapping[str, Family]:
    rows = {_labels(row.subject): row for row in validation.coverage}
    return {
        "aiprov_fault_detection_ratio": {
            (("fault", fault),): chance for fault, chance in (validation.by_fault or {}).items()
        },
        "aiprov_verified_detection_ratio": {key: row.detection for key, row in rows.items()},
        "aiprov_verified_fault_rate_upper": {
            key: row.upper_per_hour
            for key, row in rows.items()
            if row.upper_per_hour is not None
        },
        "aiprov_verified_faults": {key: float(row.faults) for key, row in rows.items()},
        "aiprov_verified_hours": {key: row.hours for key, row in rows.items()},
        "aiprov_verified_products": {key: float(row.products) for key, row in rows.items()},
    }  # fmt: skip


def _labels(subject: Subject) -> Labels:
    return (
        ("host", subject.host), ("kind", subject.kind), ("id", subject.id),
        ("label", subject.label),
    )  # fmt: skip


def _check_labels(check: Check) -> Labels:
    return (*_labels(check.subject), ("check", check.name))


def _family(name: str, series: Family) -> str:
    lines = [f"# HELP {name} {METRICS[name]}", f"# TYPE {name} gauge"]
    lines += [f"{name}{_braces(labels)} {value!r}" for labels, value in sorted(series.items())]
    return "\n".join(lines) + "\n"


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    told = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{{{told}}}" if told else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
