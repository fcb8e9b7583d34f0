"""Becoming root on real hosts, and every way in which that is refused."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from aiprov.errors import (
    BecomeError,
)
from aiprov.lab import Lab
from aiprov.resources import (
    Secret,
)
from aiprov.survey.become import run_as
from aiprov.survey.transport import transport_for
from tests.lab.surveys import (
    TRANSPORTS,
    connect,
    failing,
    file_on,
    nothing_stays_open,  # noqa: F401  # a fixture, used by name
    root_of,
)

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("nothing_stays_open")]


# ---------------------------------------------------------------- becoming root


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sudo_without_a_password(lab: Lab, transport: str) -> None:
    assert root_of(connect(lab, "deb12a", "admin", transport=transport)) == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("user", ["ops", "admin", "root"])
def test_a_sudo_password_is_given_where_it_is_asked_for(
    lab: Lab, transport: str, user: str
) -> None:
    password = Secret(lab.ops_password)
    connection = connect(lab, "deb12a", user, transport=transport, become=True)
    assert root_of(replace(connection, become_password=password)) == 0


def test_become_failures(lab: Lab) -> None:
    ops = connect(lab, "deb12a", "ops")
    error = failing(ops)
    assert isinstance(error, BecomeError)
    assert "wants a password" in str(error) and "ansible_become_password" in str(error.hint)
    started = time.monotonic()
    error = failing(replace(ops, become_password=Secret("wrong")))
    assert isinstance(error, BecomeError) and "wrong password" in str(error)
    assert time.monotonic() - started < 60
    error = failing(replace(ops, become_password=Secret(lab.ops_password), become_user="nobody2"))
    assert isinstance(error, BecomeError) and "no user nobody2" in str(error)
    error = failing(replace(ops, become_user="root; reboot"))
    assert isinstance(error, BecomeError) and "not a user name" in str(error)


def test_requiretty(lab: Lab) -> None:
    with file_on(lab, "deb12b", "/etc/sudoers.d/zz-tty", "Defaults:admin requiretty\n"):
        error = failing(connect(lab, "deb12b", "admin"))
    assert isinstance(error, BecomeError)
    assert "requiretty" in str(error) and "Defaults:admin !requiretty" in str(error.hint)


def test_not_in_sudoers_su_and_an_expired_password(lab: Lab) -> None:
    host = "deb12b"
    lab.run(host, ["useradd", "-m", "-s", "/bin/bash", "plain"])
    try:
        lab.run(host, ["chpasswd"], stdin=b"plain:plain-pw\nroot:root-pw\n")
        lab.run(host, ["sh", "-c", "cp -r /root/.ssh /home/plain/; chown -R plain /home/plain"])
        plain = connect(lab, host, "plain", become_password=Secret("plain-pw"))
        error = failing(plain)
        assert isinstance(error, BecomeError) and "may not become root" in str(error)
        by_su = replace(plain, become_method="su", become_password=Secret("root-pw"))
        assert root_of(by_su) == 0
        error = failing(replace(by_su, become_password=Secret("wrong")))
        assert isinstance(error, BecomeError) and "wrong password for su" in str(error)
        error = failing(replace(by_su, become_password=None))
        assert isinstance(error, BecomeError) and "wants a password" in str(error)
        lab.run(host, ["chage", "-d", "0", "root"])
        error = failing(by_su)
        assert isinstance(error, BecomeError) and "expired" in str(error)
    finally:
        lab.run(host, ["sh", "-c", "chage -d 20000 root; usermod -p '*' root; userdel -rf plain"])


def test_a_password_is_seen_nowhere(lab: Lab) -> None:
    secret = lab.ops_password
    connection = connect(lab, "deb12a", "ops", become_password=Secret(secret))
    transport = transport_for(connection)
    try:
        command = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true"
        done = run_as(transport, connection, command, timeout_s=30)
    finally:
        transport.close()
    assert done.rc == 0
    assert secret.encode() not in done.stdout + done.stderr
    assert b"aiprov-become" in done.stdout  # what was looked through is what was meant
    assert secret not in repr(connection)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_commands_as_another_user(lab: Lab, transport: str) -> None:
    connection = connect(
        lab, "deb12a", "ops", transport=transport, become_password=Secret(lab.ops_password)
    )
    way = transport_for(connection)
    way.connect()
    lines: list[tuple[str, str]] = []
    try:
        done = run_as(
            way,
            connection,
            "id -un; cat; echo wrong >&2; exit 7",
            stdin=b"some input\n",
            timeout_s=30,
            on_line=lambda stream, line: lines.append((stream, line)),
        )
        assert (done.rc, done.stdout, done.stderr) == (7, b"root\nsome input\n", b"wrong\n")
        assert sorted(lines) == [("stderr", "wrong"), ("stdout", "root"), ("stdout", "some input")]
    finally:
        way.close()
