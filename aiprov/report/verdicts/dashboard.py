"""A Grafana dashboard of the metrics that ``report.verdicts.prometheus`` writes.

It is made here and kept in docs/grafana-validation.json, ready to be imported:
``python -m aiprov.report.verdicts.dashboard > docs/grafana-validation.json``. Every metric that is
written is shown. Colours are those of the page: blue, amber and vermilion.
"""

from __future__ import annotations

import json
import sys
from typing import Any

UID = "aiprov-validation"
SCHEMA = 39
"""Of dashboards of Grafana 10.4; later ones read it."""
OLD_S = 7 * 86400
"""A validation of before is told in amber."""
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_HOST = 'host=~"$host"'
_GPU = f'{_HOST}, kind="gpu"'
_BLUE, _AMBER, _RED = "#2f78b7", "#e0a100", "#c4400f"


def dashboard() -> str:
    """The dashboard as JSON, of 24 columns."""
    panels = [*_now(), *_fleet(), *_measured(), *_proven()]
    made = {
        "uid": UID,
        "title": "GPU validation (aiprov)",
        "description": "Verdicts, margins and coverage of `aiprov validate`.",
        "tags": ["aiprov", "gpu"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "5m",
        "time": {"from": "now-30d", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": _variables()},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def _variables() -> list[dict[str, Any]]:
    several: dict[str, Any] = {
        "type": "query", "datasource": _SOURCE, "refresh": 2, "sort": 7, "multi": True,
        "includeAll": True, "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]},
    }  # fmt: skip

    def of_values(name: str, label: str, query: str) -> dict[str, Any]:
        told = {"query": query, "refId": name}
        return {**several, "name": name, "label": label, "query": told, "definition": query}

    return [
        {
            "type": "datasource", "name": "source", "label": "Data source", "query": "prometheus",
            "refresh": 1, "multi": False, "includeAll": False,
        },
        of_values("host", "Host", "label_values(aiprov_subject, host)"),
        of_values("check", "Check", f"label_values(aiprov_check{{{_HOST}}}, check)"),
    ]  # fmt: skip


def _now() -> list[dict[str, Any]]:
    """How it stands."""

    def count(title: str, verdict: str, colour: str, x: int) -> dict[str, Any]:
        what = f'aiprov_subject{{{_GPU}, verdict="{verdict}"}}'
        told = _panel("stat", title, [f"sum({what}) or vector(0)"], (x, 0, 4, 4))
        return _steps(told, [("text", None), (colour, 1)])

    age = _panel(
        "stat", "Validated last", ["time() - max(aiprov_validated_seconds)"], (12, 0, 4, 4)
    )
    took = ["max(aiprov_validation_duration_seconds)"]
    verdict = _panel(
        "stat", "Validation", ['max(aiprov_validation{verdict="ok"})'], (16, 0, 4, 4),
        what="Ok only if every check that was planned was made and is ok.",
    )  # fmt: skip
    verdict["fieldConfig"]["defaults"]["mappings"] = [
        {"type": "value", "options": {"0": {"text": "not ok"}, "1": {"text": "ok"}}}
    ]
    self_test = _panel(
        "stat", "Self-test", ["max(aiprov_self_test)"], (20, 4, 4, 4),
        what="A self-test says nothing of the hardware, so its verdicts are not written.",
    )  # fmt: skip
    return [
        count("GPUs failed", "failed", _RED, 0),
        count("GPUs not measured", "not measured", _AMBER, 4),
        count("GPUs ok", "ok", _BLUE, 8),
        _steps(_unit(age, "s"), [(_BLUE, None), (_AMBER, OLD_S)]),
        _steps(verdict, [(_RED, None), (_BLUE, 1)]),
        _unit(_panel("stat", "It took", took, (20, 0, 4, 4)), "s"),
        self_test,
        _table("Hosts that are not done", f'aiprov_host_status{{{_HOST}, status!="done"}} == 1',
               ("host", "status"), 0, 4, 10, 7),
        _table("Actions that were not done", f"aiprov_action{{{_HOST}}} == 0", ("host", "action"),
               10, 4, 10, 7),
    ]  # fmt: skip


def _fleet() -> list[dict[str, Any]]:
    """Who is not ok, and when that began."""
    bad = f'aiprov_check{{{_HOST}, check=~"$check", verdict!="ok"}} == 1'
    by_verdict = f"sum by (verdict) (aiprov_subject{{{_GPU}}})"
    score = (
        f'2 * max by (host, label) (aiprov_subject{{{_GPU}, verdict="failed"}})'
        f' + max by (host, label) (aiprov_subject{{{_GPU}, verdict="not measured"}})'
    )
    history = _panel("state-timeline", "GPUs over time", [score], (0, 18, 24, 10),
                     legend="{{host}} {{label}}")  # fmt: skip
    history["fieldConfig"]["defaults"]["mappings"] = [
        {
            "type": "value",
            "options": {
                "0": {"text": "ok", "color": _BLUE},
                "1": {"text": "not measured", "color": _AMBER},
                "2": {"text": "failed", "color": _RED},
            },
        }
    ]
    return [
        _table("Checks that are not ok", bad, ("host", "label", "check", "verdict"), 0, 11, 16, 7),
        _panel("timeseries", "GPUs by verdict", [by_verdict], (16, 11, 8, 7), legend="{{verdict}}"),
        history,
        _table("GPUs", f"aiprov_gpu_info{{{_HOST}}}", ("host", "label", "id", "model", "address",
               "uuid"), 0, 28, 24, 7),
    ]  # fmt: skip


def _measured() -> list[dict[str, Any]]:
    """Values and how far they are from their bounds."""
    which = f'{_HOST}, check=~"$check"'
    least = f"bottomk(20, min by (host, label, check, name) (aiprov_measurement_margin{{{which}}}))"
    values = f'aiprov_measurement{{{which}, unit=~"TFLOPS|TOPS|GB/s|tokens/s"}}'
    return [
        _unit(
            _panel("bargauge", "Least margins", [least], (0, 35, 12, 10),
                   legend="{{host}} {{label}} {{check}}: {{name}}", instant=True,
                   what="Negative: outside of its bounds."),
            "percentunit",
        ),
        _panel("timeseries", "Rates", [values], (12, 35, 12, 10),
               legend="{{host}} {{label}} {{check}} {{name}} {{unit}}"),
    ]  # fmt: skip


def _proven() -> list[dict[str, Any]]:
    """What the verdicts are worth."""
    each = "{{host}} {{label}}"

    def shown(
        kind: str, title: str, of: str, x: int, y: int, unit: str = "short"
    ) -> dict[str, Any]:
        return _unit(_panel(kind, title, [of], (x, y, 8, 8), legend=each, instant=True), unit)

    found = _panel("bargauge", "Chance that a fault would have been found",
                   ["sort(max by (fault) (aiprov_fault_detection_ratio))"], (0, 45, 8, 8),
                   legend="{{fault}}", instant=True)  # fmt: skip
    seen = f"bottomk(10, aiprov_verified_detection_ratio{{{_HOST}}})"
    upper = f"topk(10, aiprov_verified_fault_rate_upper{{{_HOST}}})"
    return [
        _unit(found, "percentunit"),
        shown("bargauge", "Least chance to see one an hour", seen, 8, 45, "percentunit"),
        shown("bargauge", "Highest fault rate left, per hour (95 %)", upper, 16, 45),
        shown("stat", "Verified hours", f"sum(aiprov_verified_hours{{{_HOST}}})", 0, 53),
        shown("stat", "Verified products", f"sum(aiprov_verified_products{{{_HOST}}})", 8, 53),
        _steps(shown("stat", "Faults", f"sum(aiprov_verified_faults{{{_HOST}}})", 16, 53),
               [("text", None), (_RED, 1)]),
    ]  # fmt: skip


def _panel(
    kind: str,
    title: str,
    queries: list[str],
    at: tuple[int, int, int, int],
    *,
    legend: str = "",
    instant: bool | None = None,
    what: str = "",
) -> dict[str, Any]:
    now = kind in ("stat", "table") if instant is None else instant
    targets = [
        {
            "refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query,
            "legendFormat": legend or "__auto", "instant": now, "range": not now,
            "format": "table" if kind == "table" else "time_series",
        }
        for number, query in enumerate(queries)
    ]  # fmt: skip
    return {
        "type": kind,
        "title": title,
        "description": what,
        "datasource": _SOURCE,
        "gridPos": dict(zip("xywh", at, strict=True)),
        "targets": targets,
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {},
    }


def _unit(panel: dict[str, Any], unit: str) -> dict[str, Any]:
    panel["fieldConfig"]["defaults"]["unit"] = unit
    return panel


def _steps(panel: dict[str, Any], steps: list[tuple[str, float | None]]) -> dict[str, Any]:
    panel["fieldConfig"]["defaults"]["thresholds"] = {
        "mode": "absolute",
        "steps": [{"color": colour, "value": value} for colour, value in steps],
    }
    panel["fieldConfig"]["defaults"]["color"] = {"mode": "thresholds"}
    return panel


def _table(
    title: str, query: str, columns: tuple[str, ...], x: int, y: int, width: int, height: int
) -> dict[str, Any]:
    listed = [f"max by ({', '.join(columns)}) ({query})"]
    panel = _panel("table", title, listed, (x, y, width, height))
    panel["transformations"] = [
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True, "Value": True},
                "indexByName": {name: number for number, name in enumerate(columns)},
                "renameByName": {"label": "GPU", "id": "serial"},
            },
        }
    ]
    return panel


if __name__ == "__main__":
    sys.stdout.write(dashboard())
