"""Jump hosts: one connection to each, shared by all hosts behind it.

Twenty hosts behind one bastion would otherwise be twenty logins there at once, and sshd's
``MaxStartups`` turns away from the tenth on.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from aiprov.connection import Connection
from aiprov.survey.transport import failures, sockets
from aiprov.survey.transport.client import login
from aiprov.survey.transport.library import LOST, close, paramiko
from aiprov.survey.transport.settings import Hop, Settings, hop_settings


@dataclass
class _Shared:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    client: paramiko.Transport | None = None
    inner: Way | None = None  # the way to this jump host, where it has jump hosts itself


_REGISTRY: dict[tuple[Settings, ...], _Shared] = {}
_REGISTRY_LOCK = threading.Lock()


class Way:
    """The way to a host through its jump hosts. Close it when the host's connection is closed."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._key: tuple[Settings, ...] | None = None

    def channel(self) -> paramiko.Channel:
        """A connection to the host's ssh port from its last jump host.

        Raises ``UnreachableError``, ``HostKeyError``.
        """
        hops = self._settings.jumps
        shared = self._acquire(hops)
        with shared.lock:
            if shared.client is None or not shared.client.is_active():
                self._connect(shared, hops)
            client = shared.client
        assert client is not None  # noqa: S101  # _connect sets it or raises
        try:
            return client.open_channel(
                "direct-tcpip",
                (self._settings.hostname, self._settings.port),
                ("127.0.0.1", 0),
                timeout=self._settings.connect_timeout_s,
            )
        except LOST as error:
            raise failures.no_way(self._settings, str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Give the way back; the last host behind a jump host closes the connection to it."""
        if self._key is None:
            return
        with _REGISTRY_LOCK:
            shared = _REGISTRY[self._key]
            shared.users -= 1
            if shared.users == 0:
                del _REGISTRY[self._key]
        key, self._key = self._key, None
        if shared.users == 0 and key:
            with shared.lock:
                if shared.client is not None:
                    close(shared.client)
                if shared.inner is not None:
                    shared.inner.close()

    def _acquire(self, hops: tuple[Hop, ...]) -> _Shared:
        key = tuple(_anonymous(hop_settings(hop, self._connection)) for hop in hops)
        with _REGISTRY_LOCK:
            shared = _REGISTRY.setdefault(key, _Shared())
            if self._key is None:
                shared.users += 1
                self._key = key
        return shared

    def _connect(self, shared: _Shared, hops: tuple[Hop, ...]) -> None:
        """Connect to the last hop, by way of those before it or of its own jump hosts."""
        target = hop_settings(hops[-1], self._connection)
        if len(hops) > 1:
            target = replace(target, jumps=hops[:-1])
        if target.jumps:
            shared.inner = Way(target, self._connection)
            shared.client = login(target, shared.inner.channel(), None)
            return
        try:
            sock = sockets.connect(target)
        except OSError as error:
            raise failures.not_connected(target, error) from error
        shared.client = login(target, sock, None)


def _anonymous(settings: Settings) -> Settings:
    """The settings without the name of the host that asks: the same way for all of them."""
    return replace(settings, host="")
