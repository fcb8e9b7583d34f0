"""The controller itself as a host."""

from __future__ import annotations

import getpass

from aiprov.connection import Connection
from aiprov.survey.transport import Channel
from aiprov.survey.transport.exchange import Runner
from aiprov.survey.transport.process import ProcessChannel


class LocalTransport(Runner):
    """Commands run here, as the user who runs aiprov."""

    def __init__(self, connection: Connection) -> None:
        self.host = connection.name
        self.user: str | None = getpass.getuser()

    def connect(self) -> None:
        """Nothing to do."""

    def open(self, command: str) -> Channel:
        return ProcessChannel(("/bin/sh", "-c", command))

    def close(self) -> None:
        """Nothing is held."""
