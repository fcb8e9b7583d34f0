"""Messages: whatever stands around them, and whatever is in them."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiprov.survey import wire

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
DOCUMENTS = st.dictionaries(
    TEXT,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def agent() -> dict[str, Any]:
    """The agent's own functions, as the host has them."""
    names: dict[str, Any] = {"__name__": "agent"}
    source = Path(wire.__file__).with_name("agent.py").read_text()
    exec(compile(source, "agent.py", "exec"), names)
    return names


@given(document=DOCUMENTS)
def test_a_request_arrives_as_it_was_sent(agent: dict[str, Any], document: dict[str, Any]) -> None:
    line = wire.request_line(document)
    assert line.count(b"\n") == 1
    assert agent["unframed"](line) == document


@given(document=DOCUMENTS, before=st.binary(max_size=200), after=st.binary(max_size=200))
def test_an_answer_is_found_in_noise(
    agent: dict[str, Any], document: dict[str, Any], before: bytes, after: bytes
) -> None:
    frame = agent["framed"](document)
    assert json.loads(agent["encoded"](document)) == document
    assert wire.has_reply(before + frame)
    assert wire.parse_reply(before + frame + after) == document
    assert wire.parse_reply(frame.replace(b"\n", b"\r\n")) == document


@given(document=DOCUMENTS, data=st.data())
def test_half_an_answer_is_none(
    agent: dict[str, Any], document: dict[str, Any], data: st.DataObject
) -> None:
    frame = agent["framed"](document)
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert not wire.has_reply(frame[:cut])
    with pytest.raises(wire.GarbledError):
        wire.parse_reply(frame[:cut] + b"\n" if cut < len(frame) - 1 else frame[:cut])


@given(noise=st.binary(max_size=400))
def test_noise_is_no_answer(noise: bytes) -> None:
    with pytest.raises(wire.GarbledError):
        wire.parse_reply(noise)


@pytest.mark.parametrize("body", [b"[1]", b"not json", b"null"])
def test_an_answer_must_be_a_document(body: bytes) -> None:
    text = base64.b64encode(zlib.compress(body))
    with pytest.raises(wire.GarbledError):
        wire.parse_reply(b"aiprov1 %08x %s\n" % (zlib.crc32(text), text))


def test_the_first_write_fits_into_what_tcp_sends_without_waiting() -> None:
    first = wire.agent_line() + wire.request_line({"ask": "facts"})
    assert len(first) < 10 * 1400
