"""The Grafana dashboard: it can be imported, and shows what the textfile has, all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from aiprov.report.verdicts.dashboard import dashboard
from aiprov.report.verdicts.prometheus import METRICS, prometheus
from tests import validations

KEPT = Path(__file__).resolve().parents[2] / "docs/grafana-validation.json"
MADE: dict[str, Any] = json.loads(dashboard())
KINDS = {"stat", "table", "timeseries", "state-timeline", "bargauge"}
NAME = re.compile(r"\baiprov_[a-z_]+")


def queries() -> list[str]:
    variables = [one.get("definition", "") for one in MADE["templating"]["list"]]
    return [
        *(target["expr"] for panel in MADE["panels"] for target in panel["targets"]),
        *filter(None, variables),
    ]


def written() -> dict[str, set[str]]:
    """The labels of each metric that the writer makes of an example."""
    found: dict[str, set[str]] = {}
    for line in prometheus(validations.example()).splitlines():
        if not line.startswith("#"):
            name, _, labels = line.partition("{")
            told = set(re.findall(r'([a-z_]+)="', labels))
            found.setdefault(name.split(" ")[0], set()).update(told)
    return found


def test_the_kept_one_is_the_made_one():
    again = "python -m aiprov.report.verdicts.dashboard > docs/grafana-validation.json"
    assert KEPT.read_text() == dashboard(), again


def test_what_is_shown_is_written_and_what_is_written_is_shown():
    shown = {name for query in queries() for name in NAME.findall(query)}
    assert shown == set(METRICS)
    assert shown == set(written()), "the example has all metrics"


def test_labels_of_queries_are_those_of_the_metrics():
    metrics = written()
    for query in queries():
        for name, selector in re.findall(r"(aiprov_[a-z_]+)\{([^}]*)\}", query):
            asked = set(re.findall(r"([a-z_]+)\s*(?:=~|!=|!~|=)", selector))
            assert asked <= metrics[name], query
        for group in re.findall(r"by \(([^)]*)\) \((?:2 \* )?\(?(aiprov_[a-z_]+)", query):
            assert {one.strip() for one in group[0].split(",")} <= metrics[group[1]], query


def test_queries_are_balanced_and_name_known_variables():
    known = {one["name"] for one in MADE["templating"]["list"]}
    for query in queries():
        assert query.count("(") == query.count(")")
        assert query.count("{") == query.count("}")
        assert query.count('"') % 2 == 0
        assert set(re.findall(r"\$(?:\{)?([a-z]+)", query)) <= known


def test_panels_have_what_grafana_wants_and_do_not_overlap():
    assert MADE["uid"] and len(MADE["uid"]) <= 40
    assert isinstance(MADE["schemaVersion"], int)
    assert {one["name"] for one in MADE["templating"]["list"]} >= {"source", "host"}
    panels = MADE["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        assert panel["type"] in KINDS
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken.get((x, y))}"
                taken[x, y] = panel["title"]
