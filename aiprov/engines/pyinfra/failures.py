"""From what a host said to what an ops engineer needs: what failed, its words, the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aiprov.engines.hints import hint_for, told_hint
from aiprov.engines.pyinfra.session import OperationFailed, Said
from aiprov.errors import HostError
from aiprov.outcome import HINT, hidden_texts
from aiprov.plan import Change

LINES = 20


def message_of(error: HostError, hidden: frozenset[str]) -> str:
    """What failed, the last lines that the host said, and the way out where it is known.

    ``hidden`` are words that must not be shown, wherever they come from.
    """
    said: list[str] = []
    what, told = error.message, None
    if isinstance(error, OperationFailed) and error.said:
        last = _failed(error.said)
        what = what or f"{_short(last.command)}: exit status {last.rc}"
        text, told = told_hint("\n".join(last_lines(last.stdout, last.stderr)))
        said = text.splitlines()
    hint = error.hint or told or hint_for("\n".join((what, *said)))
    text = "\n".join([what, *(f"    {line}" for line in said)])
    return without(f"{text}{HINT}{hint}" if hint else text, hidden)


def _failed(said: Sequence[Said]) -> Said:
    return next((one for one in reversed(said) if one.rc != 0), said[-1])


def _short(command: str) -> str:
    first = command.strip().partition("\n")[0]
    return first if len(first) <= 300 else f"{first[:299]}…"


def last_lines(*texts: str) -> list[str]:
    """The last lines of what was said, without blank ones and progress."""
    lines = [line.rstrip() for text in texts for line in re.split(r"[\r\n]+", text)]
    return [line for line in lines if line][-LINES:]


def hidden_words(changes: Iterable[Change]) -> frozenset[str]:
    """The words of secrets, which a validator, a daemon or a command may print back."""
    parts = (re.split(r"[\s\"'=:,{}\[\]]+", text) for text in hidden_texts(changes))
    return frozenset(word for words in parts for word in words if len(word) > 5)


def without(text: str, hidden: frozenset[str]) -> str:
    """The text with every hidden word replaced."""
    for word in sorted(hidden, key=len, reverse=True):
        text = text.replace(word, "***")
    return text
