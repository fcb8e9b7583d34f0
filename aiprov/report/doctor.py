"""What the doctor found, as text for a person: problems first, evidence below, remedy last."""

from __future__ import annotations

from collections.abc import Iterator

import click

from aiprov.doctor import Diagnosis, Finding

_COLOURS = {"problem": "red", "warning": "yellow", "note": "cyan"}
_EVIDENCE_LINES = 6


def diagnosis_text(host: str, diagnosis: Diagnosis, *, verbose: bool = False) -> str:
    """One host: its findings, what could not be looked at, and what was.

    Of much evidence the first lines are shown; ``verbose`` shows all of it, and for a host with
    findings also what else was looked at.
    """
    lines = [f"{click.style(host, bold=True)}  {_summary(diagnosis)}"]
    for finding in diagnosis.findings:
        lines += _finding(finding, verbose=verbose)
    for item in diagnosis.unseen:
        label = click.style("not looked at", fg="magenta")
        lines.append(f"  {label}  {item.what}: {item.why}")
    if verbose or not diagnosis.findings:
        lines += [f"  looked at: {title}" for title in diagnosis.looked_at]
    return "\n".join(lines)


def _summary(diagnosis: Diagnosis) -> str:
    counts = {
        severity: sum(item.severity == severity for item in diagnosis.findings)
        for severity in _COLOURS
    }
    found = [
        click.style(f"{number} {name}{'s' if number > 1 else ''}", fg=_COLOURS[name])
        for name, number in counts.items()
        if number
    ]
    if diagnosis.unseen:
        found.append(f"{len(diagnosis.unseen)} not looked at")
    if counts["problem"] or counts["warning"] or diagnosis.unseen:
        return ", ".join(found)
    return ", ".join([click.style("nothing is wrong", fg="green"), *found])


def _finding(finding: Finding, *, verbose: bool) -> Iterator[str]:
    label = click.style(finding.severity, fg=_COLOURS[finding.severity], bold=True)
    yield f"  {label}  {finding.cause}"
    shown = finding.evidence if verbose else finding.evidence[:_EVIDENCE_LINES]
    yield from (f"      {line}" for line in shown)
    if len(shown) < len(finding.evidence):
        yield f"      … {len(finding.evidence) - len(shown)} more with -v"
    yield f"    remedy: {finding.remedy}"
