"""What is asked of GPUs and links before the first cell, while cells run, and after the last."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, List, Optional, Sequence

from .conditions import Newest
from .journal import Journal
from .links import parsed as parsed_links
from .telemetry import Telemetry

LINKS_S = 30.0
"""How often links are asked: their counters rise slowly, and asking is dear."""


class Watches:
    """Writes ``telemetry`` and ``links`` into a journal.

    ``telemetry``: the command that tells of GPUs, ``nvidia-smi -q -x``; ``links``: the one that
    tells of links, in JSON. ``None``: there are none. ``keep_s``: seconds between readings of GPUs
    that are written; those between them are only looked at, but for the first, the last and those
    in which something is missing.
    """

    def __init__(
        self,
        journal: Journal,
        telemetry: Optional[Sequence[str]] = None,
        links: Optional[Sequence[str]] = None,
        keep_s: float = 0.0,
    ) -> None:
        self._journal = journal
        self._keep_s = keep_s
        self._next = 0.0
        self._known = 0
        self._newest = Newest()
        self._asked: List[Telemetry] = []
        if telemetry is not None:
            self._asked.append(Telemetry(self._telemetry, telemetry))
        if links is not None:
            self._asked.append(
                Telemetry(
                    lambda told: journal.write("links", **told),
                    links,
                    period_s=max(LINKS_S, keep_s),
                    parse=lambda text: parsed_links(json.loads(text)),
                )
            )
        self._all()

    def turn(self) -> None:
        """Look for answers and ask again where it is time; waits for nothing."""
        for one in self._asked:
            one.turn()

    def end(self, at_once: bool) -> None:
        """One more answer of each, waited for; ``at_once``: none, and no process is left."""
        if not at_once:
            self._all()
        for one in self._asked:
            one.stop()

    def with_gpu(self, device: str, fields: Dict[str, Any]) -> Dict[str, Any]:
        """An event's fields with ``gpu``: how the device's GPU is, where that is known."""
        rank = fields.get("rank")
        known = self._newest.of(device, rank if isinstance(rank, int) else 0)
        return fields if known is None else {**fields, "gpu": known}

    def _all(self) -> None:
        self._next = 0.0
        for one in self._asked:
            one.last()

    def _telemetry(self, told: Dict[str, Any]) -> None:
        self._newest.hear(told)
        now, count = time.monotonic(), len(told.get("gpus") or ())
        if now >= self._next or count != self._known:
            self._journal.write("telemetry", **told)
            self._next, self._known = now + self._keep_s, count
