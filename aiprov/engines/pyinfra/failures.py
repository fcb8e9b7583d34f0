"""From what a host said to what an ops engineer needs: what failed, its words, the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aiprov.engines.pyinfra.session import OperationFailed, Said
from aiprov.errors import HostError
from aiprov.plan import Change
from aiprov.resources import File, Secret

LINES = 20

_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"No space left on device|Disk quota exceeded|don't have enough free space",
        "free space on the host (df -h, df -i), then run again; files there are as they were",
    ),
    (r"Read-only file system", "the file system is mounted read-only: see dmesg on the host"),
    (
        r"Could not get lock|Unable to acquire the dpkg|frontend lock was locked",
        "another package manager is at work on the host; run again when it has finished",
    ),
    (
        r"NO_PUBKEY|is not signed|signatures? (?:were|was|couldn't)|GPG check FAILED",
        "the repository is not signed by the key it is configured with",
    ),
    (
        r"Failed to fetch|Could not resolve|Could not connect|Temporary failure resolving"
        r"|Cannot download|Failed to download|does not have a Release file",
        "the host cannot reach the repository: check its URL, the host's network and proxy",
    ),
    (
        r"Held packages were changed|held broken packages",
        "a package on hold stands in the way: see apt-mark showhold on the host",
    ),
    (
        r"Unable to locate package|Version '.*' for '.*' was not found|No match for argument",
        "no repository of the host offers it now: see apt-cache policy, or dnf list, on the host",
    ),
    (r"dpkg was interrupted", "run again: what was interrupted is finished first"),
    (r"invalid (?:user|group)", "the owner must exist first: have a role ask for it"),
    (r"command not found|: not found$", "the host lacks the program"),
)


def message_of(error: HostError, hidden: frozenset[str]) -> str:
    """What failed, the last lines that the host said, and the way out where it is known.

    ``hidden`` are words that must not be shown, wherever they come from.
    """
    said: list[str] = []
    what = error.message
    if isinstance(error, OperationFailed) and error.said:
        last = _failed(error.said)
        what = what or f"{_short(last.command)}: exit status {last.rc}"
        said = last_lines(last.stdout, last.stderr)
    hint = error.hint or hint_for("\n".join((what, *said)))
    lines = [what, *(f"    {line}" for line in said), *([f"hint: {hint}"] if hint else ())]
    return without("\n".join(lines), hidden)


def _failed(said: Sequence[Said]) -> Said:
    return next((one for one in reversed(said) if one.rc != 0), said[-1])


def _short(command: str) -> str:
    first = command.strip().partition("\n")[0]
    return first if len(first) <= 300 else f"{first[:299]}…"


def last_lines(*texts: str) -> list[str]:
    """The last lines of what was said, without blank ones and progress."""
    lines = [line.rstrip() for text in texts for line in re.split(r"[\r\n]+", text)]
    return [line for line in lines if line][-LINES:]


def hint_for(text: str) -> str | None:
    """The way out, where the host's words are known."""
    for pattern, hint in _HINTS:
        if re.search(pattern, text, re.MULTILINE):
            return hint
    return None


def hidden_words(changes: Iterable[Change]) -> frozenset[str]:
    """The words of secret files, which a validator or a daemon may print back."""
    words: set[str] = set()
    for change in changes:
        file = change.resource
        if isinstance(file, File) and isinstance(file.content, Secret):
            words |= {
                w for w in re.split(r"[\s\"'=:,{}\[\]]+", file.content.reveal()) if len(w) > 5
            }
    return frozenset(words)


def without(text: str, hidden: frozenset[str]) -> str:
    """The text with every hidden word replaced."""
    for word in sorted(hidden, key=len, reverse=True):
        text = text.replace(word, "***")
    return text
