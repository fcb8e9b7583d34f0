"""ssh by paramiko, in threads: the cheapest way to many hosts at once."""

from __future__ import annotations

import select
import threading
from typing import Any

from aiprov.connection import Connection
from aiprov.survey.transport import Channel, Received, failures, sockets
from aiprov.survey.transport.client import login
from aiprov.survey.transport.exchange import Runner
from aiprov.survey.transport.jump import Way
from aiprov.survey.transport.library import LOST, close, paramiko
from aiprov.survey.transport.settings import Settings

_PIECE = 65536
_SIGNALLED = 255
_NOTICES_S = 2.0
"""By when paramiko's thread has read the end of a connection that could not be written to."""


class ParamikoTransport(Runner):
    """One ssh connection. Commands of several threads may share it."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.host = connection.name
        self.user: str | None = settings.user
        self._connection = connection
        self._settings = settings
        self._client: paramiko.Transport | None = None
        self._way: Way | None = None
        self._lock = threading.Lock()

    def connect(self) -> None:
        self._active()

    def open(self, command: str) -> Channel:
        try:
            return ParamikoChannel(self.host, self._session(), command)
        except LOST as error:
            raise failures.lost(self.host, str(error) or type(error).__name__) from error

    def _session(self) -> paramiko.Channel:
        """A channel. A connection lost since the last command is made anew, once.

        That is safe: the host has heard nothing of the command yet.
        """
        timeout = self._settings.connect_timeout_s
        client = self._active()
        try:
            return client.open_session(timeout=timeout)
        except paramiko.ChannelException:
            raise  # the host's answer: it is there
        except LOST:
            client.join(_NOTICES_S)
            if client.is_active():
                raise
            return self._active().open_session(timeout=timeout)

    def _active(self) -> paramiko.Transport:
        with self._lock:
            if self._client is None or not self._client.is_active():
                self._let_go()
                self._client = self._connected()
            return self._client

    def close(self) -> None:
        with self._lock:
            self._let_go()

    def _connected(self) -> paramiko.Transport:
        if self._settings.jumps:
            self._way = Way(self._settings, self._connection)
            try:
                return login(self._settings, self._way.channel(), self._connection.password)
            except BaseException:
                self._let_go()
                raise
        try:
            sock = sockets.connect(self._settings)
        except OSError as error:
            raise failures.not_connected(self._settings, error) from error
        return login(self._settings, sock, self._connection.password)

    def _let_go(self) -> None:
        client, self._client = self._client, None
        way, self._way = self._way, None
        if client is not None:
            close(client)
        if way is not None:
            way.close()


class ParamikoChannel:
    """A command over an ssh connection."""

    def __init__(self, host: str, channel: paramiko.Channel, command: str) -> None:
        self._host = host
        self._channel = channel
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._start(command)

    def _start(self, command: str) -> None:
        """Ask for the command without waiting for the answer.

        ``exec_command`` waits for the host to agree: one round trip before the first byte of
        input. Does the host refuse, paramiko closes the channel, and that is read as its end.
        """
        message = paramiko.Message()
        message.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
        message.add_int(self._channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(True)
        message.add_string(command)
        client: Any = self._channel.get_transport()
        client._send_user_message(message)

    def send(self, data: bytes, timeout_s: float) -> int:
        if self._channel.closed or self._channel.eof_sent:
            return len(data)
        try:
            # A host opens its window for input only once the command runs: this wakes when it does.
            self._channel.settimeout(timeout_s)
            return self._channel.send(data)
        except TimeoutError:
            return 0
        except OSError:
            return len(data)
        except (paramiko.SSHException, EOFError) as error:
            raise failures.lost(self._host, str(error)) from error

    def finish(self) -> None:
        try:
            self._channel.shutdown_write()
        except LOST:
            return  # it is closed already

    def receive(self, timeout_s: float) -> Received:
        received = self._take()
        if received.stdout or received.stderr or received.eof:
            return received
        self._poll.poll(min(timeout_s, 86400.0) * 1000)
        return self._take()

    def _take(self) -> Received:
        channel = self._channel
        # Asked before reading: what came before the end is then surely read with it.
        ended = bool(channel.eof_received or channel.closed)
        stdout = channel.recv(_PIECE) if channel.recv_ready() else b""
        stderr = channel.recv_stderr(_PIECE) if channel.recv_stderr_ready() else b""
        more = channel.recv_ready() or channel.recv_stderr_ready()
        return Received(stdout=stdout, stderr=stderr, eof=ended and not more)

    def exit_status(self, timeout_s: float) -> int | None:
        if not self._channel.status_event.wait(timeout_s):
            return None
        if self._channel.exit_status >= 0:
            return self._channel.exit_status
        # No status: a signal ended it (paramiko does not say which), or the connection ended.
        client = self._channel.get_transport()
        return _SIGNALLED if client.is_active() else None

    def close(self) -> None:
        close(self._channel)
