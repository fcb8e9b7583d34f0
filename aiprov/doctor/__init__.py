"""What is wrong with the GPU stack of a host, and why: causes, each with evidence and remedy.

``examine`` asks in two messages and judges what it hears. All of it is pure but the function that
carries the messages. A cause is one small function that yields what it found; ``AREAS`` has all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from aiprov.doctor import containerd, docker, driver, hardware, services, versions
from aiprov.doctor.findings import SEVERITIES, Area, Diagnosis, Finding, Unseen
from aiprov.doctor.observed import Observed, observed_from
from aiprov.doctor.questions import further, questions
from aiprov.doctor.reading import has_gpus, loaded
from aiprov.shown import without_passwords
from aiprov.survey.facts import Facts

__all__ = ["AREAS", "Diagnosis", "Finding", "Unseen", "diagnose", "examine", "observe"]

MOST_CHARACTERS = 400
"""Of a line of evidence."""

AREAS = (
    Area(title="GPUs on the PCI bus", causes=(driver.no_gpu,)),
    Area(
        title="the driver that has the GPUs",
        causes=(
            driver.no_driver, driver.other_driver, driver.not_loaded, driver.secure_boot,
            driver.flavour, driver.end_of_life,
        ),
        applies=has_gpus,
    ),
    Area(
        title="modules for the kernels that run and run next",
        causes=(driver.built_for_other_kernels, versions.build_failed),
        applies=has_gpus,
    ),
    Area(
        title="versions of the driver's parts",
        causes=(versions.mixed, versions.held_apart, versions.may_be_moved),
        applies=has_gpus,
    ),
    Area(
        title="the kernel log and its Xids",
        causes=(hardware.xids, hardware.sxids, hardware.pcie),
        applies=has_gpus,
    ),
    Area(title="PCIe links", causes=(hardware.link,), applies=has_gpus),
    Area(
        title="GPUs as nvidia-smi has them, and their memory",
        causes=(hardware.smi, hardware.count, hardware.memory),
        applies=lambda seen: has_gpus(seen) and loaded(seen),
    ),
    Area(
        title="services of the driver",
        causes=(
            services.managed, services.persistenced, services.fabric_manager, services.fabric_state,
        ),
        applies=has_gpus,
    ),
    Area(
        title="the container toolkit and its CDI specifications",
        causes=(docker.known_faults, docker.cdi_missing, docker.cdi_stale),
        applies=docker.installed,
    ),
    Area(
        title="Docker",
        causes=(docker.docker_runs, docker.docker_runtime, docker.loses_gpus),
        applies=docker.has_docker,
    ),
    Area(
        title="containerd",
        causes=(
            containerd.readable, containerd.drop_in_version, containerd.invalid,
            containerd.drop_in_ignored, containerd.not_configured, containerd.cgroup_driver,
            containerd.other_containerd,
        ),
        applies=containerd.present,
    ),
)  # fmt: skip
"""All causes, in the order in which a person would look."""


Look = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Carries a message to a host and brings the answer."""


def examine(facts: Facts, look: Look, today: date) -> Diagnosis:
    """Ask a host and judge it as of a day.

    Raises ``SurveyError`` for an answer that is none, and what ``look`` raises.
    """
    return diagnose(observe(facts, look, today))


def observe(facts: Facts, look: Look, today: date) -> Observed:
    """What a host answers to both messages."""
    first = questions(facts)
    seen = observed_from(facts, first, look(first), today)
    second = further(seen)
    return seen.joined(observed_from(facts, second, look(second), today))


def diagnose(seen: Observed) -> Diagnosis:
    """What is wrong with a host, by what it answered."""
    findings: list[Finding] = []
    unseen: list[Unseen] = []
    looked_at: list[str] = []
    for area in AREAS:
        if not area.applies(seen):
            continue
        answers = [answer for cause in area.causes for answer in cause(seen)]
        blind = [
            replace(answer, what=_plain(answer.what), why=_plain(answer.why))
            for answer in answers
            if isinstance(answer, Unseen)
        ]
        findings += [
            replace(
                answer,
                cause=_plain(answer.cause),
                evidence=tuple(_plain(line) for line in answer.evidence),
                remedy=_plain(answer.remedy),
            )
            for answer in answers
            if isinstance(answer, Finding)
        ]
        unseen += blind
        if not blind:
            looked_at.append(area.title)
    findings.sort(key=lambda item: SEVERITIES.index(item.severity))
    return Diagnosis(
        findings=tuple(findings), looked_at=tuple(looked_at), unseen=tuple(dict.fromkeys(unseen))
    )


def _plain(text: str) -> str:
    """What a host said, as one line that does nothing to a terminal and tells no password."""
    line = "".join(char if char.isprintable() else " " for char in text)
    line = without_passwords(" ".join(line.split()))
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}…"
