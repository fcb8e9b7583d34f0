"""The history for a person: a line a validation, a line a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from aiprov.checks.model import VERDICTS, Subject, Verdict
from aiprov.history.trends import Kept, Point, Trend

_COLOURS = {"ok": "green", "failed": "red", "not measured": "magenta"}
_BARS = "▁▂▃▄▅▆▇█"
_CHANGED = "│"
MOST_BARS = 30
"""Points of a sparkline, the newest."""


def validations_text(kept: Sequence[Kept]) -> str:
    """Validations as a table."""
    cells = [
        (str(one.run), one.started[:16].replace("T", " "), one.verdict, _counted(one.hosts),
         _counted(one.gpus), one.campaign)
        for one in kept
    ]  # fmt: skip
    return "\n".join(_table(("run", "when (UTC)", "verdict", "hosts", "GPUs", "campaign"), cells))


def trends_text(trends: Sequence[Trend], *, sparklines: bool) -> str:
    """Trends as a table for each part, regressions below it. ``sparklines``: for a terminal."""
    parts: dict[Subject, list[Trend]] = {}
    for trend in trends:
        parts.setdefault(trend.subject, []).append(trend)
    return "\n\n".join(_part(subject, found, sparklines) for subject, found in parts.items())


def sparkline(points: Sequence[Point]) -> str:
    """Values as bars between their least and greatest; a line where the software changed."""
    recent = points[-MOST_BARS:]
    halves = [point.value / 2 for point in recent]  # so that no difference is too large
    low = min(halves)
    width = max(halves) - low
    bars = ""
    for nth, point in enumerate(recent):
        if nth and point.software != recent[nth - 1].software:
            bars += _CHANGED
        share = (halves[nth] - low) / width if width else 0.5
        bars += _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]
    return bars


def _part(subject: Subject, trends: Sequence[Trend], sparklines: bool) -> str:
    newest = max((trend.points[-1] for trend in trends), key=lambda point: (point.at, point.run))
    about = [trends[0].model, subject.id, newest.software]
    lines = [click.style(str(subject), bold=True) + "".join(f"  {one}" for one in about if one)]
    places = list(dict.fromkeys(point.host for trend in trends for point in trend.points))
    if len(places) > 1:
        lines.append(f"  it was in {', '.join(places[:-1])} before {places[-1]}")
    head = ["check", "metric", "runs", "first", "median", "last", "unit", "change", "in noise", ""]
    cells = [[trend.check, trend.name, *_numbers(trend)] for trend in trends]
    if sparklines:
        cells = [[*row, sparkline(trend.points)] for row, trend in zip(cells, trends, strict=True)]
        head.append("")
    lines += [f"  {line}" for line in _table(head, cells)]
    for trend in trends:
        if trend.regression and trend.bound:
            told = f"must be {trend.bound} {trend.unit} ({trend.bound.reason})"
            word = click.style("regression", fg="red")
            lines.append(f"  {word}: {trend.check}: {trend.name}: {told}")
    return "\n".join(lines)


def _numbers(trend: Trend) -> list[str]:
    same, change = trend.comparable, trend.change
    runs = f"{len(same)}" if len(same) == len(trend.points) else f"{len(same)}/{len(trend.points)}"
    return [
        runs,
        f"{same[0].value:.5g}",
        f"{trend.median:.5g}",
        f"{same[-1].value:.5g}",
        trend.unit,
        "" if change is None else f"{change:+.1%}",
        "" if change is None else f"{change / trend.noise:+.1f}",
        "regression" if trend.regression else "",
    ]


def _counted(counts: Mapping[Verdict, int]) -> str:
    bad = ", ".join(f"{counts[one]} {one}" for one in VERDICTS if one != "ok" and one in counts)
    return f"{sum(counts.values())}{f' ({bad})' if bad else ''}"


def _table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = []
    for row in (head, *cells):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(_coloured(cell) for cell in padded).rstrip())
    return lines


def _coloured(padded: str) -> str:
    colour = {**_COLOURS, "regression": "red"}.get(padded.strip())
    return click.style(padded, fg=colour) if colour else padded
