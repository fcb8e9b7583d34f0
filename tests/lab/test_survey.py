"""The survey on real hosts: facts, state, Python, and leaving no trace."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from aiprov.errors import (
    ApplyError,
    NoPythonError,
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
from aiprov.survey.bootstrap import bootstrap
from aiprov.survey.session import open_session, survey_facts, survey_state
from aiprov.survey.transport import transport_for
from tests.lab.surveys import (
    TRANSPORTS,
    connect,
    failing,
    nothing_stays_open,  # noqa: F401  # a fixture, used by name
    open_and_ask,
    root_of,
)

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("nothing_stays_open")]


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
        waiting.join(300.0)
        assert not waiting.is_alive()
    finally:
        transport.close()


def test_a_python_that_is_not_there(lab: Lab) -> None:
    error = failing(connect(lab, "deb12a", python="/opt/python/bin/python3"))
    assert isinstance(error, NoPythonError) and "/opt/python/bin/python3" in str(error)
    error = failing(connect(lab, "deb12a", python="/bin/sh -c reboot"))
    assert isinstance(error, NoPythonError) and "not a path" in str(error)
