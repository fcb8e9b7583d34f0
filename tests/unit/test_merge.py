"""Merging owned keys: what is foreign stays, what is ours is set, equal files stay to the byte."""

from __future__ import annotations

import json
import tomllib

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from aiprov.merge import UnreadableError, merged
from aiprov.resources import Merge, Secret
from aiprov.versions import satisfies, upstream

KEYS = st.text(alphabet="abc.-_ \"'", min_size=1, max_size=5)
LEAVES = st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=5)
LEAVES |= st.lists(st.integers(0, 9) | st.text(max_size=3), max_size=3)
TREES = st.recursive(
    st.dictionaries(KEYS, LEAVES, max_size=4),
    lambda below: st.dictionaries(KEYS, LEAVES | below, max_size=3),
    max_leaves=12,
)
PARSE = {"json": json.loads, "toml": tomllib.loads}
WRITE = {"json": json.dumps, "toml": tomlkit.dumps}


def laid_over(current, values):
    """What a merge should come to, said in the plainest way."""
    result = dict(current)
    for key, value in values.items():
        if isinstance(value, dict):
            below = result.get(key)
            result[key] = laid_over(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result


@pytest.mark.parametrize("format", PARSE)
@given(current=TREES, values=TREES)
def test_it_is_the_current_file_with_our_keys_laid_over(format, current, values):
    merge = Merge(format=format, values=values)
    text = merged(merge, WRITE[format](current))
    assert PARSE[format](text) == laid_over(current, values)
    assert merged(merge, text) == text, "a second merge changes something"


@pytest.mark.parametrize("format", PARSE)
@given(current=TREES)
def test_a_file_that_says_what_is_wanted_stays_to_the_byte(format, current):
    text = WRITE[format](current)
    assert merged(Merge(format=format, values=current), text) == text


def test_comments_and_order_of_toml_stay():
    text = '# by hand\nversion = 2 # schema\n\n[plugins."a.b"]\n  x = 1 # theirs\n'
    new = merged(Merge(format="toml", values={"plugins": {"a.b": {"y": True}}}), text)
    assert "# by hand" in new
    assert "x = 1 # theirs" in new
    assert tomllib.loads(new)["plugins"]["a.b"] == {"x": 1, "y": True}


def test_none_takes_a_key_away():
    assert json.loads(merged(Merge(format="json", values={"a": None}), '{"a": 1, "b": 2}')) == {
        "b": 2
    }


def test_one_is_not_true():
    assert json.loads(merged(Merge(format="json", values={"a": True}), '{"a": 1}'))["a"] is True


def test_a_secret_is_written_as_its_value():
    assert "hunter2" in merged(Merge(format="json", values={"a": [Secret("hunter2")]}), None)


@pytest.mark.parametrize(
    ("format", "text", "said"),
    [
        ("json", '{\n  "a": oops\n}', "not valid JSON at line 2"),
        ("json", "[1]", "not a JSON object"),
        ("toml", "a = = 1", "not valid TOML"),
    ],
)
def test_what_cannot_be_parsed_is_refused(format, text, said):
    with pytest.raises(UnreadableError, match=said):
        merged(Merge(format=format, values={"a": 1}), text)


@pytest.mark.parametrize(
    ("version", "wanted", "met"),
    [
        ("5:29.4.3-1~debian.12~bookworm", "29.4.3", True),
        ("5:29.4.3-1~debian.12~bookworm", "29.4", True),
        ("5:29.4.3-1~debian.12~bookworm", "29", True),
        ("5:29.4.30-1", "29.4.3", False),
        ("1.6.20~ds1-1+deb12u1", "1.6.20", True),
        ("1.6.20~ds1-1+deb12u1", "1.6.20~ds1-1+deb12u1", True),
        ("3:29.4.3-1.el9", "29.4.3", True),
        ("2.0", "2", True),
        ("20.0", "2", False),
        ("1.0", None, True),
    ],
)
def test_a_version_meets_itself_and_its_dotted_prefixes(version, wanted, met):
    assert satisfies(version, wanted) is met


def test_upstream_has_no_epoch_and_no_revision():
    assert upstream("5:29.4.3-1~debian.12~bookworm") == "29.4.3"
    assert upstream("1.0-rc1-2") == "1.0-rc1"
    assert upstream("3.2") == "3.2"
