"""The way out of what hosts say, where their words are known: the same for every engine."""

from __future__ import annotations

import re

_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"No space left on device|Disk quota exceeded|don't have enough free space",
        "a disk of the host is full (df -h, df -i): free some, and run again; its files are intact",
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

_TOLD = "hint: "


def hint_for(text: str) -> str | None:
    """The way out, where the host's words are known."""
    for pattern, hint in _HINTS:
        if re.search(pattern, text, re.MULTILINE):
            return hint
    return None


def told_hint(text: str) -> tuple[str, str | None]:
    """What a host said without its own way out, and that: aiprov's programs end with such a line.

    Raises nothing: most of what hosts say has none.
    """
    lines = text.splitlines()
    hints = [line for line in lines if line.strip().startswith(_TOLD)]
    if not hints:
        return text, None
    rest = "\n".join(line for line in lines if line not in hints)
    return rest, hints[-1].strip().removeprefix(_TOLD)
