"""What paramiko raises when a host goes away, at any of its calls."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from aiprov.errors import UnreachableError
from aiprov.survey.transport.library import paramiko
from aiprov.survey.transport.paramiko_ssh import ParamikoChannel

LOST = [EOFError(), ConnectionResetError(), paramiko.SSHException("the session is closed")]


class GoneHost:
    """A channel and its connection, to a host that went away right after the command began."""

    closed = eof_sent = False
    remote_chanid = 1

    def __init__(self, error: Exception, descriptor: int) -> None:
        self._error = error
        self._descriptor = descriptor
        self._begun = False

    def fileno(self) -> int:
        return self._descriptor

    def get_transport(self) -> GoneHost:
        return self

    def settimeout(self, _seconds: float) -> None: ...

    def _send_user_message(self, _message: paramiko.Message) -> None:
        if self._begun:
            raise self._error
        self._begun = True

    def send(self, _data: bytes) -> int:
        raise self._error

    def shutdown_write(self) -> None:
        raise self._error

    def close(self) -> None:
        raise self._error


@pytest.fixture(params=LOST, ids=lambda error: type(error).__name__)
def channel(request: pytest.FixtureRequest) -> Iterator[ParamikoChannel]:
    reader, writer = os.pipe()
    yield ParamikoChannel("h", GoneHost(request.param, reader), "true")  # type: ignore[arg-type]
    os.close(reader)
    os.close(writer)


def test_closing_never_fails(channel: ParamikoChannel):
    channel.finish()
    channel.close()


def test_what_cannot_be_sent_is_a_lost_connection_or_left_to_the_reader(channel: ParamikoChannel):
    try:
        assert channel.send(b"input", 1.0) == len(b"input")
    except UnreachableError as error:
        assert error.host == "h"
