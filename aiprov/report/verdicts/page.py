"""A validation as one HTML page that works offline, for whoever is woken up by it.

Nothing is loaded from anywhere: style, script and drawings are in the page, and its own content
security policy forbids everything else, whatever a host may have said. What hosts say is escaped,
and characters that would hide or turn text around are spelled out. Without JavaScript all is there
but the map by margin, the filter and the reading of curves.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aiprov import __version__
from aiprov.checks.model import VERDICTS, Check, Evidence, Verdict, worst
from aiprov.checks.validation import Validation
from aiprov.report.verdicts import curves, findings, metrics
from aiprov.report.verdicts.places import Fleet, Host, Place, fleet

MOST_ROWS = 16_000
"""Of checks in full, about 6 MB. Above it GPUs that are ok are left to the JSON document."""
MOST_CURVES = 128
"""GPUs whose curves are drawn, who is not ok first."""
RACK = 40
"""Hosts in one table of the map."""
MOST_MAPS = 60
MOST_COVERED = 100
"""Rows of the table of what was verified."""
OPEN_HOSTS = 20
"""That are not ok and stand open."""
LETTERS: Mapping[Verdict, str] = {"failed": "F", "not measured": "N", "ok": "ok"}
CLASSES: Mapping[Verdict, str] = {"failed": "f", "not measured": "n", "ok": "k"}

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What of the fleet is shown in full: by anchors. ``left_out``: places only in the JSON."""

    details: frozenset[str]
    curves: frozenset[str]
    left_out: tuple[Place, ...]
    without_curves: int


def page(validation: Validation) -> str:
    """The page's text."""
    whole = fleet(validation)
    every = whole.places
    shown = _shown(whole)
    found = metrics.metrics(every)
    plotted = [metric for metric in found if metric.plotted]
    folder = resources.files("aiprov.report.verdicts")
    style, script = ((folder / f"page.{end}").read_text() for end in ("css", "js"))
    return _environment().get_template("page.html.j2").render(
        run=validation, version=__version__, fleet=whole, shown=shown, anchor=whole.anchor,
        verdict=worst(host.verdict for host in whole.hosts),
        counts=_counts(whole, validation.checks),
        problems=findings.problems(validation),
        proven=findings.proven(validation), covered=_covered(every),
        not_tested=findings.not_tested(validation),
        racks=_racks(whole), columns=_columns(whole), kinds=_kinds(whole),
        metrics=found, drawn=[metrics.plot(metric) for metric in plotted[: metrics.MOST_PLOTS]],
        not_plotted=len(plotted) - metrics.MOST_PLOTS,
        maps=_maps(plotted[:MOST_MAPS], whole),
        panels=(panels := curves.panels(every, shown.curves)),
        curves={
            place.anchor: [one for panel in panels if (one := curves.drawn(panel, place))]
            for place in every
            if place.anchor in shown.curves
        },
        style=Markup(style), script=Markup(script),  # noqa: S704 - they are ours
        style_hash=_hash(style), script_hash=_hash(script), open_hosts=OPEN_HOSTS,
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("aiprov", "report/verdicts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters.update(
        letter=LETTERS.__getitem__, css=CLASSES.__getitem__, number=number, percent=percent,
        duration=duration, moment=moment, faults=faults, bits=bits,
    )  # fmt: skip
    return environment


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"


# ---------------------------------------------------------------- what is shown


def _shown(whole: Fleet) -> Shown:
    """The worst first, as much as fits; then hosts in their order."""
    ordered = sorted(whole.places, key=lambda place: VERDICTS.index(place.verdict))
    rows = 0
    details: list[str] = []
    for place in ordered:
        rows += place.size
        if rows > MOST_ROWS and details:
            break
        details.append(place.anchor)
    drawn = [place.anchor for place in ordered if place.series][:MOST_CURVES]
    with_curves = frozenset(drawn) & frozenset(details)
    return Shown(
        details=frozenset(details),
        curves=with_curves,
        left_out=tuple(ordered[len(details) :]),
        without_curves=sum(bool(place.series) for place in ordered) - len(with_curves),
    )


def _counts(whole: Fleet, checks: Sequence[Check]) -> list[tuple[str, Counter[Verdict]]]:
    found = [
        ("hosts", Counter(host.verdict for host in whole.hosts)),
        ("GPUs", Counter(place.verdict for host in whole.hosts for place in host.gpus)),
        ("links", _of_kind(whole, "link")),
        ("adapters", _of_kind(whole, "nic")),
        ("checks", Counter(check.verdict for check in checks)),
    ]
    return [(name, counts) for name, counts in found if counts.total()]


def _of_kind(whole: Fleet, kind: str) -> Counter[Verdict]:
    places = (place for host in whole.hosts for place in host.others)
    return Counter(place.verdict for place in places if place.subject.kind == kind)


def _covered(places: Iterable[Place]) -> list[Place]:
    """What was verified least, first."""
    found = [place for place in places if place.coverage]
    found.sort(key=lambda place: place.coverage.detection if place.coverage else 0.0)
    return found


# ---------------------------------------------------------------- the map


def _racks(whole: Fleet) -> list[Sequence[Host]]:
    hosts = whole.hosts
    size = RACK if len(hosts) > RACK else max(1, len(hosts))
    return [hosts[first : first + size] for first in range(0, len(hosts), size)]


def _columns(whole: Fleet) -> int:
    return max((len(host.gpus) for host in whole.hosts), default=0)


def _kinds(whole: Fleet) -> list[tuple[str, str]]:
    """Columns for what is no GPU: only those that any host has."""
    kinds = {place.subject.kind for place in whole.places}
    return [
        (kind, word)
        for kind, word in (("host", "host"), ("link", "links"), ("nic", "NICs"))
        if kind in kinds
    ]


def _maps(found: Iterable[metrics.Metric], whole: Fleet) -> list[dict[str, Any]]:
    """Margins in tenths of a percent by the order of the map's GPUs, for the script.

    They are in the page as a block of data, which JSON's own escapes keep from ending early.
    """
    order = {
        place.anchor: number
        for number, place in enumerate(place for host in whole.hosts for place in host.gpus)
    }
    made = []
    for metric in found:
        margins: list[int | None] = [None] * len(order)
        for (place, *_), margin in zip(metric.values, metric.margins, strict=True):
            if place.anchor in order and margin is not None:
                margins[order[place.anchor]] = max(-9999, min(9999, round(margin * 1000)))
        if any(margin is not None for margin in margins):
            made.append({"name": metric.title, "model": metric.model, "margins": margins})
    return made


# ---------------------------------------------------------------- words and numbers


def visible(value: Any) -> Any:
    """A text in which nothing hides: control characters and those that turn text around."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _HIDDEN.sub(_spelled, value)


def _spelled(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match[0]):04X}⟩"


def number(value: Any) -> str:
    """A value for a person: five digits are enough for floats, and integers are whole."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "—"}[value]
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 1e15
        return f"{int(value):,}" if whole else f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def percent(value: float | None) -> str:
    """A share with its sign; of a bound of 0 or so it may be any, and says no more than that."""
    if value is None:
        return ""
    if abs(value) > 9.99:
        return "> +999 %" if value > 0 else "< \N{MINUS SIGN}999 %"
    return f"{value * 100:+.3g} %".replace("-", "\N{MINUS SIGN}") if value else "0 %"


def duration(seconds: float | None) -> str:
    """``1 h 20 min``."""
    if seconds is None:
        return "—"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(started: str) -> str:
    """``2026-11-21 08:00:00 UTC``; what is no time stays as it is."""
    try:
        at = datetime.fromisoformat(started)
    except ValueError:
        return started
    return f"{at:%Y-%m-%d %H:%M:%S} {at.tzname() or ''}".rstrip()


# ---------------------------------------------------------------- faults in the evidence


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault as the payload placed it: where, in which bits, when and under what conditions."""

    what: str
    wrong: str
    tiles: str
    bits: str
    at: str
    conditions: str


def faults(evidence: Sequence[Evidence]) -> list[Fault]:
    """The faults that the payload placed, for a table; other evidence is not of this form."""
    found = []
    for item in evidence:
        if item.source == "payload":
            try:
                told = json.loads(item.text)
            except ValueError:
                continue
            if isinstance(told, dict) and told.get("event", "fault") == "fault":
                found.append(_fault(told))
    return found


def _fault(told: Mapping[str, Any]) -> Fault:
    placed = told.get("elements") or told.get("words")
    items = [one for one in placed if isinstance(one, dict)] if isinstance(placed, list) else []
    masks = [str(one.get("mask", "")) for one in items]
    tiles = told.get("tiles")
    pairs = [tile for tile in tiles if isinstance(tile, list)] if isinstance(tiles, list) else []
    conditions = (
        ("temperature", "°C"), ("sm_mhz", "MHz"), ("clock", "MHz"), ("power", "W"),
    )  # fmt: skip
    return Fault(
        what=" ".join(str(told[key]) for key in ("what", "pattern", "path", "product", "number")
                      if key in told),
        wrong=str(told.get("wrong", "")),
        tiles=", ".join(f"({', '.join(map(str, tile))})" for tile in pairs[:8])
        + (" …" if len(pairs) > 8 else ""),
        bits=bits(masks),
        at=f"{told['at']} s" if "at" in told else "",
        conditions=", ".join(f"{told[key]} {unit}" for key, unit in conditions if key in told),
    )  # fmt: skip


def bits(masks: Iterable[str]) -> str:
    """The bits that masks have in common use, as numbers: ``22`` or ``21, 22``."""
    together = 0
    for mask in masks:
        if re.fullmatch(r"[0-9a-fA-F]{1,64}", mask):
            together |= int(mask, 16)
    set_bits = [place for place in range(together.bit_length()) if together >> place & 1]
    shown = ", ".join(map(str, set_bits[:12]))
    return f"{shown} and {len(set_bits) - 12} more" if len(set_bits) > 12 else shown
