"""What hosts say and files hold, made fit to be shown to a person. Pure."""

from __future__ import annotations

import re

MOST_LINES = 20
MOST_BYTES = 2048
_LONGEST_SUMMARY = 160

_PASSWORD = re.compile(r"(://[^\s/:@\"']*:)[^\s/@\"']+@")
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def without_passwords(text: str) -> str:
    """The text with ``***`` for the passwords of URLs.

    Files hold, and programs print, proxies that are no longer, or not here, a secret setting.
    """
    return _PASSWORD.sub(r"\1***@", text)


def lines_of(text: str) -> list[str]:
    """The lines of what a program printed: at most 20 and 2 KB, and the last then says how many
    were left out.

    Without colours and control characters, which could write over what stands on a terminal,
    without empty lines and without passwords of URLs.
    """
    lines = [_CONTROL.sub("", line) for line in re.split(r"[\r\n]+", _ESCAPES.sub("", text))]
    lines = [line.rstrip().expandtabs(4) for line in lines]
    lines = [without_passwords(line) for line in lines if line]
    shown: list[str] = []
    room = MOST_BYTES - 40  # for the line that says what is left out
    for line in lines:
        cut = line if len(line.encode()) <= room else _cut(line, room)
        if len(shown) == MOST_LINES - (len(lines) > MOST_LINES) or not cut:
            break
        shown.append(cut)
        room -= len(cut.encode()) + 1
    left_out = len(lines) - len(shown)
    return [*shown, f"… and {left_out} more"] if left_out else shown


def summary_of(lines: list[str]) -> str:
    """The first of the lines, and how many more there are: for where there is room for one."""
    first = lines[0] if len(lines[0]) <= _LONGEST_SUMMARY else f"{lines[0][:_LONGEST_SUMMARY]}…"
    return f"{first} (and {len(lines) - 1} more)" if len(lines) > 1 else first


def _cut(line: str, room: int) -> str:
    kept = line.encode()[: max(room - 3, 0)].decode(errors="ignore")
    return f"{kept}…" if kept else ""
