"""What hosts say is shown on a terminal, in JSON and in reports: short, and doing no harm there."""

from __future__ import annotations

from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as some

from aiprov.shown import MOST_BYTES, MOST_LINES, lines_of, summary_of

CASES = {
    "nothing": ("", []),
    "a line": ("not Ready\n", ["not Ready"]),
    "empty lines": ("\n\na\n\r\n  b\n", ["a", "  b"]),
    "colours": ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\n", ["red x"]),
    "what writes over a line": ("fine\rnot fine\b\b\n", ["fine", "not fine"]),
    "what turns text round": ("a\u202eb\x9b31m", ["ab31m"]),
    "a password": ("proxy http://me:hunter2@p:1\n", ["proxy http://me:***@p:1"]),
    "tabs": ("a\tb\n", ["a   b"]),
    "20 lines": ("x\n" * 20, ["x"] * 20),
    "21 lines": ("x\n" * 21, [*["x"] * 19, "… and 2 more"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_shown(name: str) -> None:
    said, shown = CASES[name]
    assert lines_of(said) == shown


@given(some.text() | some.lists(some.sampled_from(["é" * 900, "b" * 3000, "c", ""])).map("\n".join))
def test_it_is_never_too_much_and_never_nothing(said: str) -> None:
    shown = lines_of(said)
    assert len(shown) <= MOST_LINES
    assert len("\n".join(shown).encode()) <= MOST_BYTES
    assert not any(category(character) == "Cc" for character in "".join(shown))
    if "c" in said.splitlines():
        assert shown


def test_one_line_for_where_there_is_room_for_one() -> None:
    assert summary_of(["a"]) == "a"
    assert summary_of(["a", "b", "c"]) == "a (and 2 more)"
    assert len(summary_of(["a" * 500])) < 200
