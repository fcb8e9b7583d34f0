"""TCP connections that never wait without end and never wait to fill a packet."""

from __future__ import annotations

import socket
import time

from aiprov.survey.transport.settings import Settings

_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_DEAD_AFTER_MS = 30_000


def connect(settings: Settings) -> socket.socket:
    """A connection to the host's ssh port, trying its addresses in turn. Raises ``OSError``."""
    family = _FAMILIES.get(settings.address_family, socket.AF_UNSPEC)
    found = socket.getaddrinfo(settings.hostname, settings.port, family, socket.SOCK_STREAM)
    deadline = time.monotonic() + settings.connect_timeout_s
    last: OSError = TimeoutError("timed out")
    for number, (kind, _, _, _, address) in enumerate(found):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        sock = socket.socket(kind, socket.SOCK_STREAM)
        # The last address may use all the time that is left, the others their share of it.
        sock.settimeout(left / (len(found) - number))
        try:
            _tune(sock)
            sock.connect(address)
        except OSError as error:
            sock.close()
            last = error
            continue
        return sock
    raise last


def _tune(sock: socket.socket) -> None:
    # Without this every small message waits for the acknowledgement of the one before: 41 ms.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # unacknowledged data: the host is gone
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)
