"""Runs and plans as text for a person at a terminal. Colour is left to ``click``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import click

from aiprov import programs
from aiprov.converge import HostResult
from aiprov.plan import Change, HostPlan
from aiprov.report.document import HIDDEN, file_diff, is_secret, said_more
from aiprov.resources import Absent, Command, File, Package, Reboot, Resource, Service

FEW_HOSTS = 3
MESSAGE_LINES = 8

_COLOURS = {
    "unchanged": "green",
    "changed": "yellow",
    "pending": "yellow",
    "failed": "red",
    "unreachable": "red",
}


_NOTES = {
    "reason": click.style("because", dim=True),
    "warning": click.style("warning:", fg="yellow"),
}


def plan_text(result: HostResult, *, diff: bool = True) -> str:
    """One host's plan: every change with its reason, then what is unknown and why."""
    plan = result.plan
    if plan is None:
        return ""
    return "\n".join([_heading(result, plan), *_changes(plan, diff=diff), *_rest(plan)])


def summary_text(document: dict[str, Any], *, whole: bool = False) -> str:
    """A run's document on one screen: a line a host that needs attention, the others counted.

    What a failed host said is cut to its first and last lines unless ``whole``.
    """
    hosts: dict[str, dict[str, Any]] = document["hosts"]
    quiet = [name for name, host in hosts.items() if host["status"] == "unchanged"]
    lines = [_host_line(name, hosts[name]) for name in hosts if name not in quiet]
    if len(quiet) <= FEW_HOSTS:
        lines += [_host_line(name, hosts[name]) for name in quiet]
    else:
        lines.append(f"{click.style('unchanged  ', fg='green')} {len(quiet)} hosts")
    lines += _warnings(hosts)
    lines += [_error(name, host, whole=whole) for name, host in hosts.items() if host["error"]]
    lines.append(_last_line(document))
    return "\n".join(lines)


def _warnings(hosts: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Each warning once, with the hosts that it is about."""
    about: dict[str, list[str]] = {}
    for name, host in hosts.items():
        for note in (host["plan"] or {}).get("notes", ()):
            if note["level"] == "warning":
                about.setdefault(note["text"], []).append(name)
    for text, names in about.items():
        whose = ", ".join(names) if len(names) <= FEW_HOSTS else count(len(names), "host")
        yield f"{_NOTES['warning']} {whose}: {text}"


def _error(name: str, host: dict[str, Any], *, whole: bool) -> str:
    head = click.style(f"{name}: {host['status']}", fg="red", bold=True)
    message = str(host["error"]["message"]).removeprefix(f"{name}: ")
    if not whole:
        message = _cut(message)
    hint = f"\n  hint: {host['error']['hint']}" if host["error"]["hint"] else ""
    return f"\n{head}: {_indented(message)}{hint}"


def _cut(message: str) -> str:
    lines = message.splitlines()
    if len(lines) <= MESSAGE_LINES:
        return message
    left_out = len(lines) - MESSAGE_LINES + 1
    note = f"… {count(left_out, 'line')} more with `aiprov report -v`"
    return "\n".join([lines[0], note, *lines[2 - MESSAGE_LINES :]])


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
        waiting = [item for item in plan.unknown if item.until == until]
        for item in waiting:
            if not _goes(item.resource):
                yield f"    ? {item.address}  {click.style(item.role, dim=True)}"
        if unwanted := sum(_goes(item.resource) for item in waiting):
            yield f"    ? {count(unwanted, 'thing')} that must not be there"
    for skipped in plan.skipped:
        yield f"  skipped {skipped.role}: {skipped.reason}"
    for note in plan.notes:
        yield f"  {_NOTES[note.level]} {note.text}"


def _goes(resource: Resource) -> bool:
    return isinstance(resource, Absent) or getattr(resource, "absent", False)


def _sign(change: Change) -> str:
    if _goes(change.resource):
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
    yield from (f"        {line}" for line in said_more(change))
    file = change.resource
    text = file_diff(change) if isinstance(file, File) else None
    if isinstance(file, File) and text and file.path.startswith(f"{programs.FOLDER}/"):
        yield click.style("        a program of aiprov's; --json shows it", dim=True)
        return
    for line in (text or "").splitlines():
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        yield "        " + (click.style(line, fg=colour) if colour else line)


def _host_line(name: str, host: dict[str, Any]) -> str:
    status = click.style(f"{host['status']:<11}", fg=_COLOURS[host["status"]])
    notes: list[str] = []
    if host["status"] == "pending":
        stages = host["plan"]["stages"]
        notes.append(count(sum(len(stage.get("changes", ())) for stage in stages), "change"))
        unknown = sum(len(stage.get("resources", ())) for stage in stages)
        notes += [f"{unknown} unknown yet"] if unknown else []
    done = sum(outcome["status"] == "done" for outcome in host["outcomes"])
    if done:
        notes.append(f"{count(done, 'change')} in {count(host['stages'], 'stage')}")
    if host["rolled_back"]:
        notes.append("rolled back")
    return f"{status} {name:<24} {', '.join(notes):<34} {host['seconds']:6.1f} s"


def _last_line(document: dict[str, Any]) -> str:
    numbers = document["summary"]
    shown = ", ".join(f"{numbers[status]} {status}" for status in _COLOURS if numbers[status])
    hosts = count(numbers["hosts"], "host")
    return f"\n{document['verb']}: {hosts} in {document['seconds']:.1f} s: {shown or 'none'}"


def facts_text(document: dict[str, Any]) -> str:
    """One host's facts, a line each; lists a line an entry."""
    lines = [click.style(str(document["name"]), bold=True)]
    for key, value in document.items():
        if value and isinstance(value, list | tuple):
            lines += [f"  {key}:", *(f"    {_flat(item)}" for item in value)]
        elif key != "name" and value not in (None, "", (), []):
            lines.append(f"  {key}: {value}")
    return "\n".join(lines)


def _flat(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    pairs = ((key, _flat_value(value)) for key, value in item.items())
    return " ".join(f"{key}={value}" for key, value in pairs if value)


def _flat_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)
