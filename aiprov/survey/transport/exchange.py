"""Talk over a channel: write, read until something is there, run to the end, all by deadlines."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from aiprov.errors import UnreachableError
from aiprov.survey.transport import Channel, Completed, OnLine

_PIECE = 32768
_TURN_S = 0.05  # how long one side may wait before the other side gets its turn
_EXIT_STATUS_S = 10.0
_FOREVER_S = 10 * 365 * 86400.0


class Deadline:
    """A moment by which something has to be over. ``None`` seconds: it may take its time."""

    def __init__(self, seconds: float | None, what: str) -> None:
        self._seconds = seconds
        self._what = what
        self._end = time.monotonic() + (seconds if seconds is not None else _FOREVER_S)

    @property
    def left(self) -> float:
        """The seconds that are left, never below 0."""
        return max(self._end - time.monotonic(), 0.0)

    def check(self, host: str) -> None:
        """Raise ``UnreachableError`` when the moment has come."""
        if self.left <= 0:
            raise UnreachableError(
                host,
                f"{self._what} was not over within {self._seconds:g} s",
                hint="the host may be hung or overloaded: look at its console, then run again",
            )


class Exchange:
    """A conversation with a command on a host. Keeps what was read and not yet taken."""

    def __init__(self, host: str, channel: Channel) -> None:
        self.host = host
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.ended = False
        self._channel = channel

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Write all of ``data``, reading meanwhile so that neither side blocks the other.

        Raises ``UnreachableError`` when the host does not take it in time.
        """
        view = memoryview(data)
        while view and not self.ended:
            sent = self._channel.send(bytes(view[:_PIECE]), min(_TURN_S, deadline.left))
            view = view[sent:]
            if view:
                self._take(0.0)
                deadline.check(self.host)

    def read_until(self, done: Callable[[], bool], deadline: Deadline) -> bool:
        """Read until ``done`` says so (true) or the command has ended (false).

        Raises ``UnreachableError`` when neither happens in time.
        """
        while not done():
            if self.ended:
                return False
            deadline.check(self.host)
            self._take(deadline.left)
        return True

    def read_some(self, deadline: Deadline) -> None:
        """Read what comes next. Raises ``UnreachableError`` when nothing comes in time."""
        deadline.check(self.host)
        self._take(deadline.left)

    def finish(self) -> None:
        """End the command's standard input."""
        self._channel.finish()

    def exit_status(self) -> int | None:
        """The command's exit status; ``None`` when the connection ended without one."""
        return self._channel.exit_status(_EXIT_STATUS_S)

    def close(self) -> None:
        """Let go of the command."""
        self._channel.close()

    def _take(self, timeout_s: float) -> None:
        received = self._channel.receive(timeout_s)
        self.stdout += received.stdout
        self.stderr += received.stderr
        self.ended = received.eof


def run_to_end(
    exchange: Exchange,
    *,
    stdin: bytes = b"",
    timeout_s: float | None,
    on_line: OnLine | None = None,
    what: str = "a command",
) -> Completed:
    """Feed a command its input, read it to its end and close it.

    Raises ``UnreachableError`` when it does not end in time or the connection is lost.
    """
    deadline = Deadline(timeout_s, what)
    lines = _Lines(on_line)
    try:
        exchange.write(stdin, deadline)
        exchange.finish()
        while not exchange.ended:
            exchange.read_some(deadline)
            lines.tell(exchange)
        lines.tell(exchange, last=True)
        rc = exchange.exit_status()
    finally:
        exchange.close()
    if rc is None:
        raise UnreachableError(
            exchange.host,
            f"the connection was lost while {what} ran",
            hint="run again: what was done is read from the host, not remembered",
        )
    return Completed(rc=rc, stdout=bytes(exchange.stdout), stderr=bytes(exchange.stderr))


class _Lines:
    """Cuts both streams into lines for whoever listens."""

    def __init__(self, on_line: OnLine | None) -> None:
        self._on_line = on_line
        self._told_out = 0
        self._told_err = 0

    def tell(self, exchange: Exchange, *, last: bool = False) -> None:
        if self._on_line is None:
            return
        for line in _complete(exchange.stdout, self._told_out, last=last):
            self._told_out += len(line)
            self._on_line("stdout", _text(line))
        for line in _complete(exchange.stderr, self._told_err, last=last):
            self._told_err += len(line)
            self._on_line("stderr", _text(line))


def _complete(data: bytearray, start: int, *, last: bool) -> list[bytes]:
    end = len(data) if last else data.rfind(b"\n") + 1
    return bytes(data[start:end]).splitlines(keepends=True) if end > start else []


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")


class Runner(ABC):
    """The part of a ``Transport`` that needs only a way to start a command."""

    host: str

    @abstractmethod
    def open(self, command: str) -> Channel: ...

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
