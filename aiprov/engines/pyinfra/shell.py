"""The one way in which this engine reaches a host: commands and new files, as root."""

from __future__ import annotations

from shlex import quote
from typing import Protocol

from aiprov.connection import Connection
from aiprov.survey.become import run_as
from aiprov.survey.transport import Completed, Transport, transport_for

UPLOAD_S = 300.0


class Shell(Protocol):
    """Runs shell lines on one host as root. Raises ``HostError`` subclasses only.

    Connects when it has to, so it can be used again after ``close``.
    """

    def run(self, command: str, *, stdin: bytes = b"", timeout_s: float) -> Completed:
        """Run a command to its end. Raises ``UnreachableError`` when ``timeout_s`` is over."""
        ...

    def put(self, data: bytes, path: str) -> Completed:
        """Write a new file that only root can read. The content is in no command line.

        Does not end with 0 when the file exists, or could not be written whole.
        """
        ...

    def close(self) -> None:
        """End the connection. Never fails."""
        ...


class TransportShell:
    """A ``Shell`` over aiprov's transport, which logs in, and become, which makes it root."""

    def __init__(self, connection: Connection, transport: Transport) -> None:
        self._connection = connection
        self._transport = transport

    def run(self, command: str, *, stdin: bytes = b"", timeout_s: float) -> Completed:
        # A login user's PATH, which su hands on, may lack where administration tools are.
        line = f"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH; {command}"
        return run_as(
            self._transport,
            self._connection,
            f"/bin/sh -c {quote(line)}",
            stdin=stdin,
            timeout_s=timeout_s,
        )

    def put(self, data: bytes, path: str) -> Completed:
        # The shell creates the file itself (-C), so a link that somebody laid there is not
        # followed. The size is compared: a lost connection looks like the end of the input.
        target = quote(path)
        script = f'umask 077; set -C; cat >{target} && [ "$(stat -c %s {target})" -eq {len(data)} ]'
        return self.run(script, stdin=data, timeout_s=UPLOAD_S)

    def close(self) -> None:
        self._transport.close()


def root_shell(connection: Connection) -> Shell:
    """A shell as root on the host that the connection names, not yet connected."""
    return TransportShell(connection, transport_for(connection))
