"""The exit codes that ``aiprov --help`` lists."""

from __future__ import annotations

from collections.abc import Collection

OK, ERROR, PENDING, NOT_VERIFIED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130


def worst(codes: Collection[int]) -> int:
    """Of the codes that hosts came to, the one of the run. What is only pending is no fault."""
    return next((code for code in (ERROR, NOT_VERIFIED, UNREACHABLE) if code in codes), OK)
