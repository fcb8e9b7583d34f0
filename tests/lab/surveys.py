"""What the tests of the survey share: ways to lab hosts, and that nothing stays open after."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiprov.connection import Connection
from aiprov.errors import (
    HostError,
)
from aiprov.lab import Lab
from aiprov.survey.session import open_session

TRANSPORTS = ("paramiko", "openssh")


def connect(lab: Lab, name: str, user: str = "root", **changed: Any) -> Connection:
    args = (
        *("-F", "none"),
        *("-o", f"UserKnownHostsFile={lab.known_hosts}"),
        *("-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", "IdentitiesOnly=yes"),
    )
    given: dict[str, Any] = {
        "name": name,
        "address": lab.hosts[name].address,
        "user": user,
        "private_key_file": str(lab.private_key),
        "ssh_args": args,
        "become": user != "root",
        **changed,
    }
    return Connection(**given)


def with_options(connection: Connection, *options: str) -> Connection:
    """The connection with ssh options before its own: the first value counts."""
    words = [word for option in options for word in ("-o", option)]
    return replace(connection, ssh_args=(*words, *connection.ssh_args))


def root_of(connection: Connection) -> int:
    session = open_session(connection, timeout_s=30)
    try:
        return int(session.ask({"ask": "facts"})["uid"])
    finally:
        session.close()


def failing(connection: Connection, **session: Any) -> HostError:
    with pytest.raises(HostError) as caught:
        open_and_ask(connection, **session)
    assert caught.value.host == connection.name
    assert caught.value.hint
    return caught.value


def open_and_ask(connection: Connection, **session: Any) -> None:
    opened = open_session(connection, **session)
    try:
        opened.ask({"ask": "facts"})
    finally:
        opened.close()


@contextmanager
def file_on(lab: Lab, name: str, path: str, text: str) -> Iterator[None]:
    script = 'umask 027; cat > "$0.new"; chmod 0440 "$0.new"; mv "$0.new" "$0"'
    lab.run(name, ["sh", "-c", script, path], stdin=text.encode())
    try:
        yield
    finally:
        lab.run(name, ["rm", "-f", path])


@pytest.fixture
def nothing_stays_open() -> Iterator[None]:
    """Every test leaves as many threads and files open as it found."""

    def here() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    def more() -> bool:
        return any(now > then for now, then in zip(here(), before, strict=True))

    before = here()
    yield
    end = time.monotonic() + 60
    while time.monotonic() < end and more():
        threading.Event().wait(0.05)  # paramiko's thread ends a moment after its connection
    assert not more(), f"{before} threads and files before, {here()} after"
