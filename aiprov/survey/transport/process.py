"""A channel to a process of the controller: what the OpenSSH and the local transport stand on."""

from __future__ import annotations

import os
import select
import selectors
import subprocess
from typing import IO

from aiprov.resources import Argv
from aiprov.survey.transport import Received

_PIECE = 65536


class ProcessChannel:
    """A child process, its pipes set to never block."""

    def __init__(self, argv: Argv, *, env: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=env,
            start_new_session=True,  # Ctrl-C is for aiprov, which then closes its channels itself
        )
        self._stdin = _stream(self._process.stdin)
        self._selector = selectors.DefaultSelector()
        for name in ("stdout", "stderr"):
            stream = _stream(getattr(self._process, name))
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, name)
        os.set_blocking(self._stdin.fileno(), False)

    def send(self, data: bytes, timeout_s: float) -> int:
        poll = select.poll()
        poll.register(self._stdin.fileno(), select.POLLOUT)
        try:
            if not poll.poll(timeout_s * 1000):
                return 0
            return os.write(self._stdin.fileno(), data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return len(data)

    def finish(self) -> None:
        self._stdin.close()

    def receive(self, timeout_s: float) -> Received:
        parts = {"stdout": b"", "stderr": b""}
        for key, _ in self._selector.select(timeout_s):
            stream = key.fileobj
            assert not isinstance(stream, int)  # noqa: S101  # streams were registered
            data = os.read(stream.fileno(), _PIECE)
            if data:
                parts[key.data] += data
            else:
                self._selector.unregister(stream)
        return Received(eof=not self._selector.get_map(), **parts)

    def exit_status(self, timeout_s: float) -> int | None:
        try:
            rc = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        return rc if rc >= 0 else 128 - rc

    def close(self) -> None:
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101  # Popen was asked for pipes
    return pipe
