"""Ways to a host behind one small protocol: run a command, hold a line to one.

``transport_for`` chooses: paramiko in threads (cheap for many hosts), an OpenSSH process where
ssh's own configuration asks for what only OpenSSH can do, and the controller itself. All of them
act as the login user; ``aiprov.survey.become`` knows how another user is had.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from aiprov.connection import Connection

log = logging.getLogger(__name__)

OnLine = Callable[[Literal["stdout", "stderr"], str], None]
"""Is told every line of output as it arrives, without its end of line."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A command that ended. ``rc`` is 128 + the signal's number when a signal ended it."""

    rc: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, kw_only=True)
class Received:
    """What arrived since the last time. ``eof``: nothing more will come on either stream."""

    stdout: bytes = b""
    stderr: bytes = b""
    eof: bool = False


class Channel(Protocol):
    """A command that runs on the host, and its three streams. Nothing here waits without end.

    Raises ``UnreachableError`` when the connection is lost.
    """

    def send(self, data: bytes, timeout_s: float) -> int:
        """Hand over what is taken, waiting at most so long for the first byte; return how much.

        A command that has ended takes everything: its output and exit status say why it ended.
        """
        ...

    def finish(self) -> None:
        """End the command's standard input."""
        ...

    def receive(self, timeout_s: float) -> Received:
        """Wait until something arrives, at most so long. Empty and not ``eof``: nothing did."""
        ...

    def exit_status(self, timeout_s: float) -> int | None:
        """The command's exit status, once both streams have ended; ``None`` if none came."""
        ...

    def close(self) -> None:
        """Let go of the command. On the host it loses its input and output."""
        ...


class Transport(Protocol):
    """One connection to one host, as the login user. Raises ``HostError`` subclasses only."""

    host: str
    user: str | None

    def connect(self) -> None:
        """Connect and authenticate; does nothing when that is done. Raises ``UnreachableError``."""
        ...

    def open(self, command: str) -> Channel:
        """Start a command (a POSIX shell line) without waiting for it. Connects when needed."""
        ...

    def run(
        self,
        command: str,
        *,
        stdin: bytes = b"",
        timeout_s: float | None,
        on_line: OnLine | None = None,
    ) -> Completed:
        """Run a command to its end. Raises ``UnreachableError`` when ``timeout_s`` is over."""
        ...

    def close(self) -> None:
        """End the connection. Never fails, may be called twice, nothing stays open."""
        ...


def transport_for(connection: Connection) -> Transport:
    """The transport for a host, not yet connected.

    Raises ``UnreachableError`` when ssh's configuration cannot be read or contradicts itself.
    """
    if connection.kind == "local":
        from aiprov.survey.transport.local import LocalTransport

        return LocalTransport(connection)
    from aiprov.survey.transport.settings import openssh_reason, settings_for

    settings = settings_for(connection)
    reason = openssh_reason(settings)
    if connection.transport == "openssh" or (connection.transport == "auto" and reason):
        from aiprov.survey.transport.openssh import OpensshTransport

        log.info("%s: openssh transport, because of %s", connection.name, reason or "the inventory")
        return OpensshTransport(connection, settings)
    from aiprov.survey.transport.paramiko_ssh import ParamikoTransport

    if reason:
        log.warning("%s: the paramiko transport cannot honour %s", connection.name, reason)
    return ParamikoTransport(connection, settings)
