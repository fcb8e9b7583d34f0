"""Runs and plans as text for a person at a terminal. Colour is left to ``click``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import click

from aiprov.converge import HostResult
from aiprov.plan import Change, HostPlan
from aiprov.report.document import HIDDEN, file_diff, is_secret
from aiprov.resources import Absent, Command, File, Package, Reboot, Service

_COLOURS = {
    "unchanged": "green",
    "changed": "yellow",
    "pending": "yellow",
    "failed": "red",
    "unreachable": "red",
}


def plan_text(result: HostResult, *, diff: bool = True) -> str:
    """One host's plan: every change with its reason, then what is unknown and why."""
    plan = result.plan
    if plan is None:
        return ""
    return "\n".join([_heading(result, plan), *_changes(plan, diff=diff), *_rest(plan)])


def summary_text(results: Sequence[HostResult], *, verb: str, seconds: float) -> str:
    """Fits a screen: a line for each host that needs attention, the others counted."""
    ordered = sorted(results, key=lambda result: result.host)
    quiet = [result for result in ordered if result.status == "unchanged"]
    lines = [_host_line(result) for result in ordered if result.status != "unchanged"]
    if len(quiet) <= 3:
        lines += [_host_line(result) for result in quiet]
    else:
        lines.append(f"{click.style('unchanged', fg='green'):<20} {len(quiet)} hosts")
    lines += [error for result in ordered if (error := error_text(result))]
    lines.append(_last_line(ordered, verb=verb, seconds=seconds))
    return "\n".join(lines)


def error_text(result: HostResult) -> str:
    """What went wrong on a host, and the way out."""
    if result.error is None:
        return ""
    head = click.style(f"{result.host}: {result.status}", fg="red", bold=True)
    message = result.error.message.removeprefix(f"{result.host}: ")
    hint = f"\n  hint: {result.error.hint}" if result.error.hint else ""
    return f"\n{head}: {_indented(message)}{hint}"


def count(number: int, noun: str) -> str:
    """``1 change``, ``2 changes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _indented(text: str) -> str:
    return "\n  ".join(text.splitlines())


def _heading(result: HostResult, plan: HostPlan) -> str:
    system = f"  {result.facts.os_name}, kernel {result.facts.kernel}" if result.facts else ""
    parts = [count(len(plan.changes), "change")]
    if plan.unknown:
        parts.append(f"{len(plan.unknown)} unknown yet")
    parts.append(f"{plan.unchanged} as wanted")
    name = click.style(result.host, bold=True)
    return f"{name}{click.style(system, dim=True)}\n  {', '.join(parts)}"


def _changes(plan: HostPlan, *, diff: bool) -> Iterator[str]:
    for role, changes in groupby(plan.changes, key=lambda change: change.role):
        yield f"  {click.style(role, fg='cyan')}"
        for change in changes:
            yield f"    {_sign(change)} {_what(change)}  {click.style(change.reason, dim=True)}"
            if diff:
                yield from _diff(change)


def _rest(plan: HostPlan) -> Iterator[str]:
    for until in dict.fromkeys(item.until for item in plan.unknown):
        yield f"  unknown until {until}:"
        for item in plan.unknown:
            if item.until == until:
                yield f"    ? {item.address}  {click.style(item.role, dim=True)}"
    for skipped in plan.skipped:
        yield f"  skipped {skipped.role}: {skipped.reason}"


def _sign(change: Change) -> str:
    if isinstance(change.resource, Absent) or getattr(change.resource, "absent", False):
        return click.style("-", fg="red")
    if isinstance(change.resource, Command | Reboot) or change.after.get("restart"):
        return click.style("!", fg="magenta")
    if change.before.get("type") in (None, "absent") and not change.before.get("version"):
        return click.style("+", fg="green")
    return click.style("~", fg="yellow")


def _what(change: Change) -> str:
    match change.resource:
        case Package(absent=False):
            version = change.after.get("version")
            before = change.before.get("version")
            if version == before:
                return change.address
            return f"{change.address} {before or 'absent'} -> {version}"
        case Service() if change.after.get("restart"):
            return f"restart {change.address}"
        case Command(argv=argv):
            return f"{change.address} {' '.join(argv)}"
        case _:
            return change.address


def _diff(change: Change) -> Iterator[str]:
    if is_secret(change):
        yield f"        {HIDDEN}"
        return
    text = file_diff(change) if isinstance(change.resource, File) else None
    for line in (text or "").splitlines():
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        yield "        " + (click.style(line, fg=colour) if colour else line)


def _host_line(result: HostResult) -> str:
    status = click.style(f"{result.status:<11}", fg=_COLOURS[result.status])
    notes: list[str] = []
    if result.status == "pending" and result.plan:
        notes.append(count(len(result.plan.changes), "change"))
        if result.plan.unknown:
            notes.append(f"{len(result.plan.unknown)} unknown yet")
    if result.changed:
        notes.append(f"{count(result.changed, 'change')} in {count(result.stages, 'stage')}")
    if result.rolled_back:
        notes.append("rolled back")
    return f"{status} {result.host:<24} {', '.join(notes):<34} {result.seconds:6.1f} s"


def _last_line(results: Sequence[HostResult], *, verb: str, seconds: float) -> str:
    counts = dict.fromkeys(_COLOURS, 0)
    for result in results:
        counts[result.status] += 1
    shown = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    return f"\n{verb}: {count(len(results), 'host')} in {seconds:.1f} s: {shown or 'none'}"


def facts_text(document: dict[str, Any]) -> str:
    """One host's facts, a line each; lists a line an entry."""
    lines = [click.style(str(document["name"]), bold=True)]
    for key, value in document.items():
        if isinstance(value, list):
            lines += [f"  {key}:", *(f"    {_flat(item)}" for item in value)]
        elif key != "name" and value not in (None, ""):
            lines.append(f"  {key}: {value}")
    return "\n".join(lines)


def _flat(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    return " ".join(f"{key}={value}" for key, value in item.items() if value not in (None, "", []))
