"""One authenticated ssh connection by paramiko: key exchange, the host's key, who we are."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any

from aiprov.errors import UnreachableError
from aiprov.resources import Secret
from aiprov.survey.transport import failures, keys, known_hosts
from aiprov.survey.transport.library import LOST, close, paramiko
from aiprov.survey.transport.settings import Settings

# Every failure is raised to the caller; paramiko's own lines would only break up the progress.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_KEEPALIVE_S = 15
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


def login(
    settings: Settings, sock: socket.socket | paramiko.Channel, password: Secret | None
) -> paramiko.Transport:
    """Make an ssh connection over a socket. Closes it on failure.

    Raises ``HostKeyError`` when the host's key is not trusted, ``UnreachableError`` otherwise.
    """
    client: paramiko.Transport | None = None
    try:
        entries = known_hosts.entries_for(settings.known_hosts, settings.key_name)
        client = _negotiated(settings, sock, entries)
        _check_key(client, settings, entries)
        client.auth_timeout = settings.connect_timeout_s
        keys.authenticate(client, settings, password)
        client.set_keepalive(_KEEPALIVE_S)
    except UnreachableError:
        close(client or sock)
        raise
    except LOST as error:
        close(client or sock)
        raise failures.no_ssh(settings, _reason(settings, error)) from error
    except BaseException:  # an interrupt too must not leave a thread and a socket behind
        close(client or sock)
        raise
    return client


def _negotiated(
    settings: Settings,
    sock: socket.socket | paramiko.Channel,
    entries: tuple[known_hosts.Entry, ...],
) -> paramiko.Transport:
    timeout = settings.connect_timeout_s
    client = paramiko.Transport(_socket_like(sock))
    client.banner_timeout = timeout
    client.handshake_timeout = timeout
    try:
        options: Any = client.get_security_options()
        options.key_types = _preferred(tuple(options.key_types), entries)
        client.start_client(timeout=timeout)
    except BaseException:
        client.close()
        raise
    return client


def _socket_like(sock: socket.socket | paramiko.Channel) -> Any:
    return sock  # paramiko's stubs know sockets only; a channel of a jump host is one in behaviour


def _preferred(types: tuple[str, ...], entries: tuple[known_hosts.Entry, ...]) -> tuple[str, ...]:
    """The kinds of key on record first: else the host shows another one, which nobody knows."""
    known = [
        algorithm
        for entry in entries
        if not entry.marker
        for algorithm in _ALGORITHMS.get(entry.key_type, (entry.key_type,))
    ]
    return tuple(sorted(types, key=lambda name: (name not in known, types.index(name))))


def _check_key(
    client: paramiko.Transport, settings: Settings, entries: tuple[known_hosts.Entry, ...]
) -> None:
    key = client.get_remote_server_key()
    key_type, blob = key.get_name(), key.asbytes()
    verdict = known_hosts.verdict(entries, key_type, blob)
    if verdict == "known" or (settings.strict == "no" and verdict != "revoked"):
        return
    if verdict == "unknown" and settings.strict == "accept-new":
        _remember(settings, key_type, blob)
        return
    raise failures.host_key(settings, verdict, key_type, blob, entries)


def _remember(settings: Settings, key_type: str, key: bytes) -> None:
    if not settings.known_hosts:
        return
    path = Path(settings.known_hosts[0])
    if str(path) == os.devnull:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a") as file:  # one small write: lines of parallel hosts do not mix
        file.write(known_hosts.line(settings.key_name, key_type, key))


def _reason(settings: Settings, error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the host ended the connection"
    text = str(error) or type(error).__name__
    if isinstance(error, TimeoutError) or "timed out" in text.lower() or "timeout" in text.lower():
        return f"no answer within {settings.connect_timeout_s:g} s"
    if "protocol banner" in text:
        return "it does not answer as an ssh server, or not in time"
    return text
