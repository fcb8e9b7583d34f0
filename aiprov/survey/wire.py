"""Messages between the controller and the agent: one line of ASCII each, easy to find in noise.

``aiprov1 <crc32> <base64 of zlib of JSON>``: a banner, a motd or a login script's output around
it does no harm, and no terminal or text filter on the way changes it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_FRAME = re.compile(rb"aiprov1 ([0-9a-f]{8}) ([A-Za-z0-9+/]*={0,2})(?=[\r\n])")


class GarbledError(ValueError):
    """There is no whole message in what was received, or what is in it is not a document."""


def request_line(request: Mapping[str, Any]) -> bytes:
    """A request as the agent reads it."""
    # UTF-8 as it is: the agent reads JSON without a JSON parser, to which two \\u escapes of one
    # character would be two characters.
    body = json.dumps(request, ensure_ascii=False).encode()
    text = base64.b64encode(zlib.compress(body, 6))
    return b"aiprov1 %08x %s\n" % (zlib.crc32(text), text)


def has_reply(received: bytes | bytearray) -> bool:
    """Whether a whole message is in what was received so far."""
    return _FRAME.search(received) is not None


def parse_reply(received: bytes) -> Mapping[str, Any]:
    """The answer in the output of the agent, whatever stands before and after it.

    Raises ``GarbledError``.
    """
    for found in _FRAME.finditer(received):
        if zlib.crc32(found[2]) == int(found[1], 16):
            return _document(found[2])
    raise GarbledError("no answer of the survey in the output")


def _document(text: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
    except (zlib.error, binascii.Error, ValueError) as error:
        raise GarbledError(f"the survey's answer cannot be read: {error}") from error
    if not isinstance(answer, dict):
        raise GarbledError("the survey's answer is not a document")
    return answer


def agent_line() -> bytes:
    """The agent's program, as the first line that its starter reads."""
    return _packed() + b"\n"


def one_shot(request: Mapping[str, Any]) -> bytes:
    """A program that prints one answer: for ``python -``, where standard input is the program.

    ``parse_reply`` finds the answer in what it prints.
    """
    line = request_line(request).strip().decode()
    return (
        "import sys\n"
        "sys.dont_write_bytecode = True\n"
        "import binascii, zlib\n"
        f"REQUEST = b'{line}'\n"
        f"exec(zlib.decompress(binascii.a2b_base64(b'{_packed().decode()}')))\n"
    ).encode()


@cache
def _packed() -> bytes:
    source = Path(__file__).with_name("agent.py").read_bytes()
    return base64.b64encode(zlib.compress(source, 9))
