"""Ways to real hosts: host keys, logins, jump hosts, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from aiprov import fleet
from aiprov.connection import Connection
from aiprov.errors import (
    HostKeyError,
    UnreachableError,
)
from aiprov.lab import Lab
from aiprov.resources import (
    Secret,
)
from aiprov.survey.session import open_session, survey_facts
from aiprov.survey.transport import transport_for
from tests.lab.surveys import (
    TRANSPORTS,
    connect,
    failing,
    file_on,
    nothing_stays_open,  # noqa: F401  # a fixture, used by name
    root_of,
    with_options,
)

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("nothing_stays_open")]


# ---------------------------------------------------------------- keys of hosts


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_unknown_host_key(lab: Lab, tmp_path: Path, transport: str) -> None:
    empty = tmp_path / "known hosts"
    connection = connect(lab, "deb12a", transport=transport)
    connection = with_options(connection, f'UserKnownHostsFile="{empty}"')
    error = failing(connection)
    assert isinstance(error, HostKeyError)
    assert "is not known" in str(error)
    assert f"ssh-keyscan {connection.address} >> '{empty}'" in str(error.hint)
    assert root_of(with_options(connection, "StrictHostKeyChecking=no")) == 0
    empty.unlink(missing_ok=True)
    assert root_of(with_options(connection, "StrictHostKeyChecking=accept-new")) == 0
    assert connection.address in empty.read_text()
    assert root_of(connection) == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_changed_host_key(lab: Lab, tmp_path: Path, transport: str) -> None:
    other = tmp_path / "known_hosts"
    fields = lab.private_key.with_suffix(".pub").read_text().split()[:2]
    connection = connect(lab, "deb12a", transport=transport)
    other.write_text(f"{connection.address} {' '.join(fields)}\n")
    connection = with_options(connection, f"UserKnownHostsFile={other}")
    error = failing(connection)
    assert isinstance(error, HostKeyError)
    assert "has changed" in str(error)
    assert f"ssh-keygen -R {connection.address} -f {other}" in str(error.hint)
    accepting = with_options(connection, "StrictHostKeyChecking=accept-new")
    assert isinstance(failing(accepting), HostKeyError)


# ---------------------------------------------------------------- ways to a host


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_user_who_is_not_let_in(lab: Lab, transport: str) -> None:
    error = failing(connect(lab, "deb12a", "nobody-there", transport=transport))
    assert isinstance(error, UnreachableError)
    assert "was not let in" in str(error) and "ansible_user" in str(error.hint)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_port_where_nothing_listens(lab: Lab, transport: str) -> None:
    started = time.monotonic()
    closed = replace(connect(lab, "deb12a", port=9, transport=transport), timeout_s=60)
    error = failing(closed)
    assert isinstance(error, UnreachableError) and "refused" in str(error).lower()
    assert time.monotonic() - started < 30


def test_a_login_by_password(lab: Lab, tmp_path: Path) -> None:
    lab.run("deb12b", ["chpasswd"], stdin=f"ops:{lab.ops_password}\n".encode())
    allow = "PasswordAuthentication yes\nKbdInteractiveAuthentication yes\n"
    with file_on(lab, "deb12b", "/etc/ssh/sshd_config.d/01-password.conf", allow):
        lab.run("deb12b", ["systemctl", "restart", "ssh"])
        connection = connect(
            lab,
            "deb12b",
            "ops",
            private_key_file=None,
            password=Secret(lab.ops_password),
            become_password=Secret(lab.ops_password),
        )
        assert root_of(connection) == 0
        error = failing(replace(connection, password=Secret("wrong")))
        assert "was not let in" in str(error) and "password" in str(error)
    lab.run("deb12b", ["systemctl", "restart", "ssh"])


def test_jump_hosts(lab: Lab, tmp_path: Path) -> None:
    a, b, c = (lab.hosts[name].address for name in ("deb12a", "deb12b", "deb13a"))
    config = tmp_path / "config"
    config.write_text(
        f"Host first\n HostName {a}\n"
        f"Host second\n HostName {b}\n ProxyJump first\n"
        f"Host target\n HostName {c}\n"
        f"Host *\n User root\n IdentityFile {lab.private_key}\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {lab.known_hosts}\n"
    )
    base = Connection(name="t", address="target", ssh_args=("-F", str(config)))
    for args in (("-J", "first"), ("-J", "second"), ("-o", "ProxyJump=first,root@second:22")):
        for transport in TRANSPORTS:
            connection = replace(base, transport=transport, ssh_args=(*base.ssh_args, *args))
            session = open_session(connection)
            try:
                assert survey_facts(session, "t").hostname == "deb13a"
            finally:
                session.close()


def test_hosts_behind_one_jump_host_share_the_connection_to_it(lab: Lab, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host *\n User root\n IdentityFile {lab.private_key}\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {lab.known_hosts}\n"
    )
    address = lab.hosts["deb12a"].address
    before = _logins(lab, "deb12a")
    connections = [
        Connection(
            name=f"h{number}",
            address=lab.hosts["deb12b"].address,
            ssh_args=("-F", str(config), "-J", address),
        )
        for number in range(5)
    ]
    assert list(fleet.each(_node_name, connections, forks=5)) == ["deb12b"] * 5
    assert _logins(lab, "deb12a") - before == 1


def _logins(lab: Lab, host: str) -> int:
    lab.run(host, ["journalctl", "--sync"])
    journal = lab.run(host, ["journalctl", "-u", "ssh", "--no-pager"]).stdout
    return journal.count(b"Accepted publickey for root")


# ---------------------------------------------------------------- faults


def _node_name(connection: Connection) -> str:
    session = open_session(connection)
    try:
        return session.ask({"ask": "facts"})["uname"][1]
    finally:
        session.close()


def _answer(connection: Connection) -> tuple[str, object]:
    try:
        return connection.name, _node_name(connection)
    except UnreachableError as error:
        return connection.name, error


@contextmanager
def mute_server() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_hung_host_delays_nobody(lab: Lab, transport: str) -> None:
    """It hangs until the others are done: whoever waits for it, waits in vain."""
    one = connect(lab, "deb12a", transport=transport, timeout_s=120.0)
    hosts = [replace(one, name=f"h{number}") for number in range(9)]
    with mute_server() as port:
        hung = replace(one, name="hung", address="127.0.0.1", port=port, timeout_s=300.0)
        answers = fleet.each(_answer, [hung, *hosts], forks=10)
        assert dict(islice(answers, 9)) == {host.name: "deb12a" for host in hosts}
    ((name, answer),) = answers
    assert name == "hung" and isinstance(answer, UnreachableError)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_hung_host_ends_by_its_time(lab: Lab, transport: str) -> None:
    hung = connect(lab, "deb12a", transport=transport, timeout_s=12.0)
    with mute_server() as port:
        started = time.monotonic()
        error = failing(replace(hung, address="127.0.0.1", port=port))
        assert isinstance(error, UnreachableError)
        assert 11 < time.monotonic() - started < 40


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_host_that_hangs_during_the_survey(lab: Lab, transport: str) -> None:
    session = open_session(connect(lab, "deb12b", transport=transport), timeout_s=15)
    session.ask({"ask": "facts"})
    lab.hang("deb12b")
    try:
        started = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            session.ask({"ask": "state"})
        assert time.monotonic() - started < 60
        assert "deb12b" in str(caught.value) and caught.value.hint
    finally:
        session.close()
        lab.resume("deb12b")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_connection_that_is_lost(lab: Lab, transport: str) -> None:
    connection = connect(lab, "deb12b", transport=transport)
    way = transport_for(connection)
    try:
        with pytest.raises(UnreachableError):
            way.run("kill -9 $PPID", timeout_s=20)
    finally:
        way.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_connection_lost_between_two_commands_is_made_anew(lab: Lab, transport: str) -> None:
    way = transport_for(connect(lab, "deb12b", transport=transport))
    try:
        way.connect()
        assert way.run("echo first", timeout_s=20).stdout == b"first\n"
        lab.run("deb12b", ["pkill", "-KILL", "-f", "^sshd: root"])
        assert way.run("echo second", timeout_s=20).stdout == b"second\n"
    finally:
        way.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_input_arrives_whole(lab: Lab, transport: str) -> None:
    way = transport_for(connect(lab, "deb12a", "admin", transport=transport))
    data = bytes(range(256)) * 4000
    try:
        said = way.run("sha256sum", stdin=data, timeout_s=20).stdout.decode()
        assert said.split()[0] == hashlib.sha256(data).hexdigest()
    finally:
        way.close()
