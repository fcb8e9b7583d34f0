"""NVIDIA's Xids: what a code in the kernel log means and what to do. Rows: ``data/xids.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from aiprov.catalog import Row, _document, _rows

Severity = Literal["problem", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Action(Row):
    """What NVIDIA's catalog tells to do, by its name there. ``severity``: of Xids that need it."""

    name: str
    severity: Severity
    text: str


@dataclass(frozen=True, kw_only=True)
class Xid(Row):
    """One Xid. ``action``: what is done first, ``investigate``: what after that; empty: nothing."""

    code: int
    name: str
    meaning: str
    severity: Severity
    action: str = ""
    investigate: str = ""
    text: str = ""


@cache
def actions() -> Mapping[str, Action]:
    """All actions by name."""
    return {row.name: row for row in _rows(Action, "xids", "action")}


@cache
def xids() -> Mapping[int, Xid]:
    """All documented Xids by code."""
    return {
        values["code"]: _xid(values, group)
        for group in _document("xids")["list"]
        for values in group["xids"]
    }


def xid(code: int) -> Xid | None:
    """An Xid; ``None`` for a code that NVIDIA does not document."""
    return xids().get(code)


def _xid(values: Mapping[str, Any], group: Mapping[str, Any]) -> Xid:
    action = actions().get(values.get("action", ""))
    own = {
        "severity": action.severity if action else "note",
        "text": action.text if action else "nothing needs to be done",
        "source": group["source"],
        "date": group["date"],
    }
    return Xid(**{**own, **values})
