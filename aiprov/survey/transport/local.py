"""The controller itself as a host."""

from __future__ import annotations

import getpass

from aiprov.connection import Connection
from aiprov.survey.transport import Channel, Completed, OnLine
from aiprov.survey.transport.exchange import Exchange, put_file, run_to_end
from aiprov.survey.transport.process import ProcessChannel


class LocalTransport:
    """Commands run here, as the user who runs aiprov."""

    def __init__(self, connection: Connection) -> None:
        self.host = connection.name
        self.user: str | None = getpass.getuser()

    def connect(self) -> None:
        """Nothing to do."""

    def open(self, command: str) -> Channel:
        return ProcessChannel(("/bin/sh", "-c", command))

    def run(
        self,
        command: str,
        *,
        stdin: bytes = b"",
        timeout_s: float | None,
        on_line: OnLine | None = None,
    ) -> Completed:
        exchange = Exchange(self.host, self.open(command))
        return run_to_end(exchange, stdin=stdin, timeout_s=timeout_s, on_line=on_line)

    def put(self, data: bytes, path: str, mode: int = 0o600) -> None:
        put_file(self, data, path, mode)

    def close(self) -> None:
        """Nothing is held."""
