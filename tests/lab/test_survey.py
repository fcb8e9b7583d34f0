"""The survey on real hosts: transports, host keys, becoming root, faults, and leaving no trace."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiprov.connection import Connection
from aiprov.errors import (
    ApplyError,
    BecomeError,
    HostError,
    HostKeyError,
    NoPythonError,
    UnreachableError,
)
from aiprov.lab import Lab
from aiprov.resources import (
    AptRepository,
    Command,
    Directory,
    File,
    Group,
    KernelModule,
    Merge,
    Package,
    PathExists,
    Resource,
    Secret,
    Service,
    Succeeds,
    Sysctl,
    UpToDate,
    User,
)
from aiprov.survey.become import run_as
from aiprov.survey.bootstrap import bootstrap
from aiprov.survey.session import open_session, survey_facts, survey_many, survey_state
from aiprov.survey.transport import transport_for

pytestmark = pytest.mark.lab

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


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Every test leaves as many threads and files open as it found."""

    def here() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    before = here()
    yield
    end = time.monotonic() + 5
    while time.monotonic() < end and any(a > b for a, b in zip(here(), before, strict=True)):
        threading.Event().wait(0.05)  # paramiko's thread ends a moment after its connection
    assert here() <= before


# ---------------------------------------------------------------- facts and state


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("name", "codename"), [("deb12a", "bookworm"), ("deb13a", "trixie")])
def test_facts(lab: Lab, name: str, codename: str, transport: str) -> None:
    session = open_session(connect(lab, name, transport=transport))
    try:
        facts = survey_facts(session, name)
    finally:
        session.close()
    assert (facts.name, facts.hostname, facts.os_codename) == (name, name, codename)
    assert facts.boot_id == lab.boot_id(name)
    assert any(lab.hosts[name].address in a for i in facts.interfaces for a in i.addresses)


RESOURCES: tuple[Resource, ...] = (
    Package(name="bash"),
    Package(name="docker.io", version="1"),
    Package(name="no-such-package"),
    File(path="/etc/hostname", content="other\n"),
    File(path="/etc/shadow", content=Secret("x")),
    File(path="/etc/docker/daemon.json", content=Merge(format="json", values={"a": 1})),
    Directory(path="/etc"),
    KernelModule(name="overlay"),
    Sysctl(key="net.ipv4.ip_forward", value="1"),
    Service(name="ssh.service", enabled=True, running=True, restart_on=("/etc/ssh/sshd_config",)),
    Service(name="no-such.service", enabled=True),
    User(name="admin"),
    Group(name="sudo"),
    Command(name="a", argv=("true",), unless=Succeeds(argv=("test", "-d", "/etc"))),
    Command(name="b", argv=("true",), unless=PathExists(path="/nowhere")),
    Command(name="c", argv=("true",), unless=UpToDate(output="/etc/hostname", inputs=())),
    AptRepository(
        name="x", uris=("http://nowhere.invalid/x",), suites=("s",), components=("main",)
    ),
)


@pytest.mark.parametrize("name", ["deb12a", "deb13a"])
def test_state(lab: Lab, name: str) -> None:
    session = open_session(connect(lab, name))
    try:
        state = survey_state(session, survey_facts(session, name), RESOURCES)
    finally:
        session.close()
    version = lab.ssh(name, "dpkg-query -W -f '${Version}' bash").stdout.decode()
    assert state["Package[bash]"] == {"version": version, "hold": False, "candidates": []}
    assert state["File[/etc/hostname]"]["content"] == f"{name}\n"
    assert state["File[/etc/shadow]"]["content"] is None
    assert state["File[/etc/shadow]"]["group"] == "shadow"
    assert state["File[/etc/docker/daemon.json]"]["type"] == "absent"
    assert state["File[/etc/ssh/sshd_config.aiprov-previous]"]["type"] == "absent"
    assert state["Directory[/etc]"]["type"] == "directory"
    ssh = state["Service[ssh.service]"]
    assert ssh["exists"] and ssh["enabled"] and not ssh["stale"]
    assert not state["Service[no-such.service]"]["exists"]
    assert state["User[admin]"]["exists"]
    assert state["Group[sudo]"] == {"exists": True, "gid": 27}
    assert state["Command[a]"]["done"] and not state["Command[b]"]["done"]
    assert state["AptRepository[x]"] == {"files": [""], "fetched": False}


def test_a_service_is_stale_when_its_file_changed_after_it_started(lab: Lab) -> None:
    service = Service(name="cron.service", restart_on=("/etc/aiprov-stale",))
    unit = "/run/systemd/system/cron.service"
    text = "[Service]\nExecStart=/bin/sleep infinity\n"
    script = f"mkdir -p /run/systemd/system; printf '{text}' > {unit}; touch /etc/aiprov-stale"
    lab.run("deb12b", ["sh", "-c", f"{script}; systemctl daemon-reload; systemctl start cron"])
    try:
        assert state_of(lab, service)["stale"] == []
        lab.run("deb12b", ["sh", "-c", f"touch /etc/aiprov-stale; echo >> {unit}"])
        found = state_of(lab, service)
        assert found["stale"] == ["/etc/aiprov-stale"]
        assert found["reload_needed"] and found["running"]
        lab.run("deb12b", ["sh", "-c", "systemctl daemon-reload; systemctl restart cron"])
        found = state_of(lab, service)
        assert found["stale"] == [] and not found["reload_needed"]
    finally:
        lab.run("deb12b", ["sh", "-c", f"systemctl stop cron; rm {unit} /etc/aiprov-stale"])
        lab.run("deb12b", ["systemctl", "daemon-reload"])


def state_of(lab: Lab, service: Service) -> Any:
    session = open_session(connect(lab, "deb12b"))
    try:
        found = survey_state(session, survey_facts(session, "deb12b"), (service,))
    finally:
        session.close()
    return found[f"Service[{service.name}]"]


def test_the_survey_leaves_the_host_as_it_is(lab: Lab) -> None:
    # What the login itself writes (journal, wtmp, lastlog, utmp) is not the survey's.
    volatile = " -o ".join(f"-path /{name}" for name in ("proc", "sys", "run", "dev", "var/log"))
    shown = r"'%p %y %s %m %u %g %T@ %C@ %l\n'"
    listing = rf"find / -xdev \( {volatile} \) -prune -o -printf {shown}"
    connection = connect(lab, "deb12a", "admin")
    open_and_ask(connection)  # sudo's lecture and the user's first login happen once
    before = lab.run("deb12a", ["sh", "-c", listing]).stdout
    session = open_session(connection)
    survey_state(session, survey_facts(session, "deb12a"), RESOURCES)
    session.close()
    after = lab.run("deb12a", ["sh", "-c", listing]).stdout
    changed = set(before.splitlines()) ^ set(after.splitlines())
    assert changed == set()


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
    assert time.monotonic() - started < 8
    error = failing(replace(ops, become_password=Secret(lab.ops_password), become_user="nobody2"))
    assert isinstance(error, BecomeError) and "no user nobody2" in str(error)
    error = failing(replace(ops, become_user="root; reboot"))
    assert isinstance(error, BecomeError) and "not a user name" in str(error)


@contextmanager
def file_on(lab: Lab, name: str, path: str, text: str) -> Iterator[None]:
    script = 'umask 027; cat > "$0.new"; chmod 0440 "$0.new"; mv "$0.new" "$0"'
    lab.run(name, ["sh", "-c", script, path], stdin=text.encode())
    try:
        yield
    finally:
        lab.run(name, ["rm", "-f", path])


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


# ---------------------------------------------------------------- Python


def test_a_host_without_python_is_told_so_and_gets_it(make_host: Callable[..., Any]) -> None:
    host = make_host("bare", python=False)
    connection = connect(host.lab, "bare")
    error = failing(connection)
    assert isinstance(error, NoPythonError) and "--bootstrap" in str(error.hint)
    transport = transport_for(connection)
    try:
        bootstrap(connection, transport)
    finally:
        transport.close()
    assert root_of(connection) == 0


def test_installing_python_waits_for_apt_and_says_who_holds_it(lab: Lab) -> None:
    connection = connect(lab, "deb12b", "ops", become_password=Secret(lab.ops_password))
    transport = transport_for(connection)
    try:
        with lab.apt_lock("deb12b"):
            with pytest.raises(ApplyError, match=r"process \d+ \(python3\) has held /var/lib"):
                bootstrap(connection, transport, lock_wait_s=1.0)
            waiting = threading.Thread(target=bootstrap, args=(connection, transport))
            waiting.start()
            waiting.join(3.0)
            assert waiting.is_alive()
        waiting.join(60.0)
        assert not waiting.is_alive()
    finally:
        transport.close()


def test_a_python_that_is_not_there(lab: Lab) -> None:
    error = failing(connect(lab, "deb12a", python="/opt/python/bin/python3"))
    assert isinstance(error, NoPythonError) and "/opt/python/bin/python3" in str(error)
    error = failing(connect(lab, "deb12a", python="/bin/sh -c reboot"))
    assert isinstance(error, NoPythonError) and "not a path" in str(error)


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
    error = failing(connect(lab, "deb12a", port=9, transport=transport))
    assert isinstance(error, UnreachableError) and "refused" in str(error).lower()
    assert time.monotonic() - started < 5


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
    count = "grep -c 'Accepted publickey for root' || true"
    logins = f"journalctl -u ssh --no-pager | {count}"
    before = int(lab.run("deb12a", ["sh", "-c", logins]).stdout)
    connections = [
        Connection(
            name=f"h{number}",
            address=lab.hosts["deb12b"].address,
            ssh_args=("-F", str(config), "-J", address),
        )
        for number in range(5)
    ]
    results = list(survey_many(connections, lambda c, s: s.ask({"ask": "facts"})["uname"][1]))
    assert [result for _, result in results] == ["deb12b"] * 5
    assert int(lab.run("deb12a", ["sh", "-c", logins]).stdout) - before == 1


# ---------------------------------------------------------------- faults


@contextmanager
def mute_server() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_hung_host_ends_by_its_time_and_delays_nobody(lab: Lab, transport: str) -> None:
    with mute_server() as port:
        hosts = [
            replace(connect(lab, "deb12a", transport=transport), name=f"h{n}") for n in range(9)
        ]
        hung = replace(hosts[0], name="hung", address="127.0.0.1", port=port, timeout_s=4.0)
        started = time.monotonic()
        ended = {
            connection.name: (time.monotonic() - started, result)
            for connection, result in survey_many(
                [hung, *hosts], lambda c, s: s.ask({"ask": "facts"})["uid"]
            )
        }
    assert all(ended[host.name][1] == 0 for host in hosts)
    assert isinstance(ended["hung"][1], UnreachableError)
    assert 3.5 < ended["hung"][0] < 8
    assert max(ended[host.name][0] for host in hosts) < ended["hung"][0]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_host_that_hangs_during_the_survey(lab: Lab, transport: str) -> None:
    session = open_session(connect(lab, "deb12b", transport=transport), timeout_s=3)
    session.ask({"ask": "facts"})
    lab.hang("deb12b")
    try:
        started = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            session.ask({"ask": "state"})
        assert time.monotonic() - started < 5
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
            way.run("kill -9 $(ps -o ppid= -p $PPID) $PPID", timeout_s=20)
    finally:
        way.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_put(lab: Lab, transport: str) -> None:
    way = transport_for(connect(lab, "deb12a", "admin", transport=transport))
    path = "/tmp/a file's name"
    data = bytes(range(256)) * 4000
    try:
        way.connect()
        way.put(data, path, 0o640)
        shown = way.run(f'stat -c \'%a %s\' "{path}"; md5sum < "{path}"', timeout_s=20).stdout
        assert shown.startswith(f"640 {len(data)}\n".encode())
        with pytest.raises(ApplyError):
            way.put(b"again", path)
        way.run(f'rm "{path}"; ln -s /tmp/elsewhere "{path}"', timeout_s=20)
        with pytest.raises(ApplyError):
            way.put(b"through a link", path)
        assert way.run("test -e /tmp/elsewhere", timeout_s=20).rc == 1
        way.run(f'rm "{path}"', timeout_s=20)
    finally:
        way.close()
    lab.run("deb12a", ["rm", "-f", path])
