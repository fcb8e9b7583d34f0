"""What the tests of the lab show of a command, where an assertion fails."""

from __future__ import annotations

import pytest

from tests.lab.commands import Said


@pytest.mark.parametrize(
    ("out", "shown"),
    [
        ('fatal: [cp1]: FAILED! => {"msg": "no etcd", "rc": 1}\n', "cp1: no etcd"),
        ("fatal: [cp1]: FAILED! => {'msg': cut off}\n", "cp1: {'msg': cut off}"),
        ("PLAY\nPLAY RECAP\n", "PLAY\nPLAY RECAP\nwarning"),
    ],
)
def test_it_ends_with_why(out: str, shown: str):
    assert repr(Said(2, out, "warning\n")) == f"exit code 2\n{shown}"
