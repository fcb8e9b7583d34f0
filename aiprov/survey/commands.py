"""One command on a host, as the user that the inventory wants: its input, its lines, its end."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import IO

from aiprov.connection import Connection
from aiprov.errors import UnreachableError
from aiprov.resources import Argv
from aiprov.survey import become
from aiprov.survey.transport import Completed, OnLine, Transport
from aiprov.survey.transport.exchange import Deadline, Exchange


def run_argv(
    transport: Transport,
    connection: Connection,
    argv: Argv,
    *,
    stdin: Iterable[bytes] = (),
    into: IO[bytes] | None = None,
    timeout_s: float | None,
    on_line: OnLine | None = None,
) -> Completed:
    """Run a command to its end and say how it ended, whatever that is.

    ``stdin`` is written piece by piece and then closed. ``into`` takes standard output as it comes,
    which is then not in the answer: for what is too large to keep. ``on_line`` is told each line
    of the others as it arrives. Raises ``UnreachableError`` when the host is not reached, the
    connection is lost or ``timeout_s`` is over, ``BecomeError`` when the user is refused.
    """
    transport.connect()
    line = shlex.join(argv)
    elevated = become.needed(connection, transport.user)
    if elevated:
        line = become.become_wrap(connection, line)
    exchange = Exchange(connection.name, transport.open(line))
    deadline = Deadline(timeout_s, argv[0])
    told = {"stdout": 0, "stderr": 0}
    try:
        if elevated:
            become.obtain(exchange, connection)
        for piece in stdin:
            exchange.write(piece, deadline)
        exchange.finish()
        while not exchange.ended:
            exchange.read_some(deadline)
            if into is not None:
                into.write(exchange.stdout)
                exchange.stdout.clear()
            if on_line is not None:
                _tell(exchange, told, on_line, last=exchange.ended)
        rc = exchange.exit_status()
    finally:
        exchange.close()
    if rc is None:
        raise UnreachableError(
            connection.name,
            f"the connection was lost while {argv[0]} ran",
            hint="it may still run there: look, then run again",
        )
    return Completed(rc=rc, stdout=bytes(exchange.stdout), stderr=bytes(exchange.stderr))


def _tell(exchange: Exchange, told: dict[str, int], on_line: OnLine, *, last: bool) -> None:
    for stream, data in (("stdout", exchange.stdout), ("stderr", exchange.stderr)):
        end = len(data) if last else data.rfind(b"\n") + 1
        for line in bytes(data[told[stream] : end]).splitlines():
            on_line("stdout" if stream == "stdout" else "stderr", line.decode("utf-8", "replace"))
        told[stream] = max(end, told[stream])
