"""The exit code of a run over many hosts."""

from __future__ import annotations

import pytest

from aiprov.cli.codes import ERROR, NOT_VERIFIED, OK, PENDING, UNREACHABLE, worst


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        (set(), OK),
        ({UNREACHABLE}, UNREACHABLE),
        ({UNREACHABLE, ERROR}, ERROR),
        ({NOT_VERIFIED, UNREACHABLE}, NOT_VERIFIED),
        ({PENDING}, OK),
    ],
)
def test_the_worst_that_happened(codes: set[int], code: int):
    assert worst(codes) == code
