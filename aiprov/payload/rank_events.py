"""What ranks say, told apart and put together: many processes write to one pipe.

A rank says events as lines of JSON with its number. A line is never longer than what the kernel
writes to a pipe as a whole (PIPE_BUF), so lines of ranks do not run into each other; what is longer
goes in parts.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

MOST_PART = 2500
"""Characters of a part: in JSON each may become two bytes, and 4096 are written as a whole."""
MOST_EVENT = 1 << 20
"""Characters of an event of one rank."""
SEEN = ("sample", "fault")

Event = Dict[str, Any]


class GarbageError(Exception):
    """A rank said what is no event."""


def lines(rank: int, event: Mapping[str, Any]) -> List[bytes]:
    """An event of a rank as lines."""
    text = json.dumps(event, allow_nan=False)
    parts = [text[first : first + MOST_PART] for first in range(0, len(text), MOST_PART)]
    return [
        json.dumps({"rank": rank, "left": len(parts) - 1 - number, "part": part}).encode() + b"\n"
        for number, part in enumerate(parts)
    ]


class Heard:
    """What the ranks of a host have said. ``ends``: the end of each rank that has one.

    ``say`` gets samples and faults as they come, with their ``rank``.
    """

    def __init__(self, ranks: Sequence[int], say: Callable[..., None]) -> None:
        self.ends: Dict[int, Event] = {}
        self._ranks, self._say = ranks, say
        self._parts: Dict[int, str] = {}
        self._buffer = b""

    @property
    def all_ended(self) -> bool:
        return set(self.ends) == set(self._ranks)

    def hear(self, data: bytes) -> None:
        """Take what came. Raises ``GarbageError``."""
        *whole, self._buffer = (self._buffer + data).split(b"\n")
        for line in whole:
            self._line(line)
        if len(self._buffer) > MOST_EVENT:
            raise GarbageError("the ranks say no lines")

    def _line(self, line: bytes) -> None:
        try:
            told = json.loads(line)
            rank, left, part = told["rank"], told["left"], told["part"]
            text = self._parts.pop(rank, "") + part
            if rank not in self._ranks or len(text) > MOST_EVENT:
                raise ValueError(rank)
            if left:
                self._parts[rank] = text
                return
            event = json.loads(text)
            name = event.pop("event")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GarbageError(f"a rank said what is no event: {line[:200]!r}") from error
        if rank in self.ends or name not in (*SEEN, "end"):
            raise GarbageError(f"rank {rank} said {name!r} after its end or out of turn")
        if name == "end":
            self.ends[rank] = event
        else:
            self._say(name, **{**event, "rank": rank})

    def together(self) -> Event:
        """One end of them all: done where all are, with the results by rank."""
        order = list(self.ends)
        bad = [rank for rank in order if not _is_good(self.ends[rank])]
        none = [rank for rank in self._ranks if rank not in self.ends]
        if not bad and not none:
            status, error = self._status()
            results = {str(rank): self.ends[rank]["result"] for rank in sorted(order)}
            return {"status": status, "error": error, "result": {"ranks": results}}
        said = [f"rank {rank}: {self.ends[rank].get('error') or 'no result'}" for rank in bad]
        said += [f"rank {rank} ended without a word" for rank in none]
        return {"status": "error", "error": "; ".join(said), "result": {}}

    def _status(self) -> Tuple[str, str]:
        for rank in sorted(self.ends):
            if self.ends[rank]["status"] != "done":
                return "not tested", str(self.ends[rank].get("error", ""))
        return "done", ""


def own_lines(log: bytes) -> Tuple[bytes, int]:
    """Of a pod's log what may be events, and how many lines are none: it has standard error too.

    What begins like an event is left in: whether it is one is for ``heard_in`` to say.
    """
    every = log.splitlines(keepends=True)
    own = [line for line in every if line.startswith(b"{")]
    return b"".join(own), len(every) - len(own)


def heard_in(data: bytes, ranks: Sequence[int]) -> Tuple[List[Event], Event]:
    """What ranks said in all, as srun prints it or pods log it: samples and faults, and the end."""
    told: List[Event] = []
    heard = Heard(ranks, lambda event, **fields: told.append({"event": event, **fields}))
    try:
        heard.hear(data)
    except GarbageError as error:
        return told, {"status": "error", "error": str(error), "result": {}}
    return told, heard.together()


def _is_good(end: Event) -> bool:
    return end.get("status") in ("done", "not tested") and isinstance(end.get("result"), dict)


def shortened(text: str, most: int) -> str:
    """A text, or its last characters."""
    return text if len(text) <= most else f"… {text[-most:]}"
