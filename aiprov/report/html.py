"""A run document as one HTML page that works offline: no script, no font, no request."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

STATUS_ORDER = ("failed", "unreachable", "pending", "changed", "unchanged")


def html(document: dict[str, Any]) -> str:
    """The page's text. Every value is escaped; hosts that need attention come first."""
    environment = Environment(
        loader=PackageLoader("aiprov", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    hosts = sorted(
        document["hosts"].items(), key=lambda item: (STATUS_ORDER.index(item[1]["status"]), item[0])
    )
    template = environment.get_template("page.html.j2")
    return template.render(run=document, hosts=hosts, statuses=STATUS_ORDER)
