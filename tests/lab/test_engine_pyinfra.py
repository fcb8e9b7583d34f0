"""The pyinfra engine on real hosts: every kind, and what happens when things go wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aiprov.connection import Connection
from aiprov.diff import wanted
from aiprov.engines import Outcome
from aiprov.engines.pyinfra import PyinfraEngine
from aiprov.errors import BecomeError, UnreachableError
from aiprov.lab import Lab
from aiprov.plan import NEWEST, Change, Desired, HostPlan
from aiprov.planner import plan
from aiprov.resources import (
    Command,
    Directory,
    File,
    Package,
    PathExists,
    Reboot,
    Resource,
    Secret,
    Service,
    State,
    previous_path,
)
from aiprov.survey.session import open_session, survey_facts, survey_state
from tests.lab import every_kind, local_archive
from tests.lab.conftest import LabHost

pytestmark = pytest.mark.lab

ABSENT = {"type": "absent"}
FILE = {"type": "file", "sha256": "-", "mode": 0o644, "owner": "root", "group": "root"}
RUNS = {"exists": True, "enabled": True, "running": True, "masked": False, "stale": []}


def connection(lab: Lab, name: str, user: str = "root", **given: object) -> Connection:
    """How the lab's inventory says that a host is reached."""
    options = {
        "UserKnownHostsFile": lab.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }
    return Connection(
        name=name,
        address=lab.hosts[name].address,
        user=user,
        private_key_file=str(lab.private_key),
        ssh_args=tuple(part for key, value in options.items() for part in ("-o", f"{key}={value}")),
        **given,  # type: ignore[arg-type]
    )


def change(resource: Resource, before: State, **given: object) -> Change:
    """A change from a state that the test knows."""
    after = given.pop("after", None) or wanted(resource, before)
    return Change(
        role="test",
        resource=resource,
        before=before,
        after=after,  # type: ignore[arg-type]
        reason="the test wants it",
        **given,  # type: ignore[arg-type]
    )


def apply(host: LabHost, *changes: Change, lock_wait_s: float = 300) -> Sequence[Outcome]:
    engine = PyinfraEngine(connection(host.lab, host.name), lock_wait_s=lock_wait_s)
    return engine.apply(changes, lambda change: None)


def statuses(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def write_file(host: LabHost, path: str, text: str) -> None:
    host.run(["sh", "-c", 'cat >"$0"', path], stdin=text.encode())


def until(question: Callable[[], bool], what: str, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not question():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)


def holds(host: LabHost, *argv: str) -> bool:
    return host.run(argv, check=False).returncode == 0


@pytest.fixture
def deb12(lab: Lab) -> LabHost:
    return LabHost(lab, "deb12a")


def archive_on(
    host: LabHost, work: Path, packages: dict[str, tuple[str, ...]], **scripts: str
) -> None:
    """Packages that the host's apt can install, without a key: the repository is not the point."""
    folder = work / "debs"
    local_archive.unsigned(folder, packages, **scripts)
    tar = subprocess.run(["tar", "-C", folder, "-c", "."], check=True, capture_output=True).stdout
    host.run(["mkdir", "-p", "/srv/debs"])
    host.run(["tar", "-C", "/srv/debs", "--no-same-owner", "-xf", "-"], stdin=tar)
    write_file(host, "/etc/apt/sources.list.d/debs.list", "deb [trusted=yes] file:///srv/debs ./\n")
    only = ("-o", "Dir::Etc::sourcelist=sources.list.d/debs.list", "-o", "Dir::Etc::sourceparts=-")
    host.run(["apt-get", *only, "-o", "APT::Get::List-Cleanup=0", "update"])


def package(name: str, version: str, now: str | None = None) -> Change:
    before = {"version": now, "hold": False, "candidates": [version]}
    return change(Package(name=name, version=version), before)


# ---------------------------------------------------------------- files


def test_a_full_disk_leaves_the_old_file(deb12: LabHost) -> None:
    deb12.run(["mkdir", "-p", "/srv/tiny"])
    deb12.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/srv/tiny"])
    try:
        write_file(deb12, "/srv/tiny/config", "old")
        big = File(path="/srv/tiny/config", content="x" * 300_000)
        first, second = apply(deb12, change(big, FILE), change(big, FILE))
        assert (first.status, second.status) == ("failed", "not run")
        assert "No space left on device" in first.message
        assert "hint: a disk of the host is full" in first.message
        assert deb12.text("cat", "/srv/tiny/config") == "old"
        assert deb12.text("ls", "-A", "/srv/tiny") == "config"
    finally:
        deb12.run(["umount", "/srv/tiny"])


def test_the_former_file_is_kept_where_asked(deb12: LabHost) -> None:
    path = "/srv/kept.conf"
    write_file(deb12, path, "former")
    outcomes = apply(deb12, change(File(path=path, content="new"), FILE, keep_previous=True))
    assert statuses(outcomes) == ["done"]
    assert deb12.text("cat", path) == "new"
    assert deb12.text("cat", previous_path(path)) == "former"


def test_refused_content_changes_nothing_and_no_secret_is_told(deb12: LabHost) -> None:
    path = "/srv/refused.conf"
    write_file(deb12, path, "old")
    loud = File(
        path=path, content="bad-value", validate=("sh", "-c", 'cat "$0"; exit 3', "{staged}")
    )
    (outcome,) = apply(deb12, change(loud, FILE))
    assert outcome.message.startswith(f"sh refuses the new content of {path}")
    assert "bad-value" in outcome.message
    secret = File(path=path, content=Secret("t0psecret-value"), validate=loud.validate)
    (outcome,) = apply(deb12, change(secret, FILE))
    assert outcome.status == "failed"
    assert "t0psecret" not in outcome.message
    assert deb12.text("cat", path) == "old"
    assert "aiprov-staged" not in deb12.text("ls", "-A", "/srv")


def test_a_missing_folder_is_named(deb12: LabHost) -> None:
    (outcome,) = apply(deb12, change(File(path="/srv/no/such", content=""), ABSENT))
    assert "the folder /srv/no does not exist" in outcome.message
    assert "Directory[/srv/no]" in outcome.message


CONTROLLER = """
import sys
from tests.lab.test_engine_pyinfra import ABSENT, FILE, change, connection, package
from aiprov.engines.pyinfra import PyinfraEngine
from aiprov.lab import Lab
from aiprov.resources import File
from pathlib import Path
engine = PyinfraEngine(connection(Lab(Path(sys.argv[1])), sys.argv[2]))
if sys.argv[3] == "file":
    changes = [change(File(path="/srv/big", content="n" * 200_000_000), FILE)]
else:
    changes = [package("aiprov-slow", "1")]
print("begins", flush=True)
print(engine.apply(changes, lambda change: None)[0].message[:2000])
"""


def controller(host: LabHost, what: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", CONTROLLER, str(host.lab.directory), host.name, what]
    return subprocess.Popen(argv, stdout=subprocess.PIPE)


def test_a_controller_killed_while_it_writes(deb12: LabHost) -> None:
    write_file(deb12, "/srv/big", "old")

    def staged() -> str:
        return deb12.text("find", "/srv", "-name", ".big.aiprov-staged-*", "-size", "+1M")

    with controller(deb12, "file") as process:
        until(lambda: bool(staged()), "the upload has begun")
        process.kill()
    assert deb12.text("cat", "/srv/big") == "old"
    (outcome,) = apply(deb12, change(File(path="/srv/big", content="new"), FILE))
    assert outcome.status == "done"
    assert deb12.text("cat", "/srv/big") == "new"
    assert "aiprov-staged" not in deb12.text("ls", "-A", "/srv")


# ---------------------------------------------------------------- the connection


def test_a_lost_connection_is_a_failed_change(deb12: LabHost) -> None:
    mark = "/run/aiprov-has-begun"
    sleeper = Command(
        name="long",
        argv=("sh", "-c", f"touch {mark}; exec sleep 321"),
        unless=PathExists(path="/nowhere"),
    )
    todo = change(sleeper, {"done": False})
    outcomes: list[Outcome] = []
    worker = threading.Thread(target=lambda: outcomes.extend(apply(deb12, todo, todo)))
    worker.start()
    until(lambda: holds(deb12, "test", "-e", mark), "the command has begun")
    deb12.run(["pkill", "-KILL", "-f", "^sshd: root"])
    worker.join(timeout=60)
    assert statuses(outcomes) == ["failed", "not run"]
    assert "lost" in outcomes[0].message or "closed" in outcomes[0].message
    deb12.run(["pkill", "-f", "sleep 321"], check=False)
    deb12.run(["rm", mark])


def test_a_host_that_does_not_answer_holds_up_nobody(deb12: LabHost) -> None:
    """Twenty engines in one process; nineteen of their hosts are one machine's folders."""
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    hung = Connection(name="hung", address="127.0.0.1", port=port, user="root", timeout_s=10)
    write_file(deb12, "/etc/ssh/sshd_config.d/many.conf", "MaxStartups 100\n")
    deb12.run(["systemctl", "restart", "ssh"])

    def wishes(number: int) -> list[Change]:
        path = f"/srv/many/{number}"
        directory = change(Directory(path=path), ABSENT)
        names = [f"{path}/{name}" for name in "abcde"]
        return [directory, *(change(File(path=name, content=name), ABSENT) for name in names)]

    def one(number: int) -> float:
        began = time.monotonic()
        if number == 7:
            with pytest.raises(UnreachableError):
                PyinfraEngine(hung).apply(wishes(number), lambda change: None)
        else:
            assert statuses(apply(deb12, *wishes(number))) == ["done"] * 6
        return time.monotonic() - began

    with silent, ThreadPoolExecutor(20) as pool:
        seconds = list(pool.map(one, range(20)))
    waited = seconds.pop(7)
    assert max(seconds) < waited < 30
    listed = deb12.text("grep", "-r", "", "/srv/many").splitlines()
    assert len(listed) == 19 * 5
    assert all(line.partition(":")[0] == line.partition(":")[2] for line in listed)


def test_root_by_sudo(deb12: LabHost) -> None:
    password = Secret(deb12.lab.ops_password)
    ways = {"become": True, "become_password": password}
    todo = change(File(path="/etc/by-sudo", content="x", mode=0o600), ABSENT)
    engine = PyinfraEngine(connection(deb12.lab, deb12.name, "ops", **ways))
    assert statuses(engine.apply([todo], lambda change: None)) == ["done"]
    assert deb12.text("stat", "-c", "%U %a", "/etc/by-sudo") == "root 600"
    ways["become_password"] = Secret("wrong")
    with pytest.raises(BecomeError, match="wrong password"):
        PyinfraEngine(connection(deb12.lab, deb12.name, "ops", **ways)).apply(
            [todo], lambda change: None
        )
    with pytest.raises(BecomeError, match="not as root"):
        PyinfraEngine(connection(deb12.lab, deb12.name, "ops")).apply([todo], lambda change: None)


# ---------------------------------------------------------------- packages

LOCKER = """
import fcntl, os, sys, time
lock = open(sys.argv[1], "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
os.close(os.open("/run/aiprov-locked", os.O_CREAT))
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("lock", "todo"),
    [
        ("/var/lib/dpkg/lock-frontend", package("aiprov-late", "1")),
        (
            "/var/lib/apt/lists/lock",
            change(
                Command(
                    name="refresh",
                    argv=("apt-get", "update", "-o", "Dir::Etc::sourceparts=-"),
                    unless=PathExists(path="/x"),
                ),
                {"done": False},
            ),
        ),
    ],
)
def test_a_held_lock_is_waited_for_and_its_holder_told(
    deb12: LabHost, tmp_path: Path, lock: str, todo: Change
) -> None:
    archive_on(deb12, tmp_path, {"aiprov-late": ("1",)})

    def hold(seconds: float) -> threading.Thread:
        deb12.run(["rm", "-f", "/run/aiprov-locked"])
        argv = ["python3", "-c", LOCKER, lock, str(seconds)]
        thread = threading.Thread(target=deb12.run, args=(argv,), kwargs={"check": False})
        thread.start()
        until(lambda: holds(deb12, "test", "-e", "/run/aiprov-locked"), "the lock is held")
        return thread

    holder = hold(60)
    (outcome,) = apply(deb12, todo, lock_wait_s=2)
    assert outcome.status == "failed"
    assert f"lock {lock} was not free within 2 s: held by process " in outcome.message
    assert "python3 -c" in outcome.message
    deb12.run(["pkill", "-f", "aiprov-locked"])
    holder.join()

    holder = hold(4)
    (outcome,) = apply(deb12, todo, lock_wait_s=60)
    assert (outcome.status, outcome.message) == ("done", "")
    holder.join()


@pytest.mark.parametrize("script", ["preinst", "postinst"])
def test_an_install_that_was_killed_is_finished_first(
    deb12: LabHost, tmp_path: Path, script: str
) -> None:
    slow = "touch /run/aiprov-slow; while [ -e /run/aiprov-hold ]; do sleep 0.1; done"
    archive_on(deb12, tmp_path, {"aiprov-slow": ("1",)}, **{script: slow})
    deb12.run(["touch", "/run/aiprov-hold"])
    deb12.run(["rm", "-f", "/run/aiprov-slow"])

    with controller(deb12, "package") as process:
        until(lambda: holds(deb12, "test", "-e", "/run/aiprov-slow"), "the install has begun")
        process.kill()
    deb12.run(["pkill", "-KILL", "apt-get|dpkg"])
    deb12.run(["rm", "/run/aiprov-hold"])
    (outcome,) = apply(deb12, package("aiprov-slow", "1"))
    assert (outcome.status, outcome.message) == ("done", "")
    assert deb12.text("dpkg", "--audit") == ""
    assert deb12.text("dpkg-query", "-W", "-f", "${db:Status-Status}", "aiprov-slow") == "installed"
    deb12.run(["dpkg", "--purge", "aiprov-slow"])


def test_packages_change_together(deb12: LabHost, tmp_path: Path) -> None:
    archive_on(deb12, tmp_path, {"aiprov-one": ("1", "2"), "aiprov-two": ("1",)})
    held = Package(name="aiprov-one", version="2", hold=True)
    absent = {"version": None, "hold": False, "candidates": ["2"]}
    outcomes = apply(deb12, package("aiprov-two", "1"), change(held, absent))
    assert statuses(outcomes) == ["done", "done"]
    assert deb12.text("apt-mark", "showhold") == "aiprov-one"

    # Down, though it is on hold, which stays; the other goes in the same call.
    down = Package(name="aiprov-one", version="1", hold=True)
    gone = change(Package(name="aiprov-two", absent=True), {"version": "1", "hold": False})
    now = {"version": "2", "hold": True, "candidates": ["1"]}
    outcomes = apply(deb12, gone, change(down, now))
    assert statuses(outcomes) == ["done", "done"]
    assert deb12.text("apt-mark", "showhold") == "aiprov-one"
    versions = deb12.text("dpkg-query", "-W", "-f", "${Package} ${Version};", "aiprov-*")
    assert "aiprov-one 1;" in versions
    assert "aiprov-two 1;" not in versions


def test_what_no_repository_offers_is_told(deb12: LabHost) -> None:
    now = {"version": None, "hold": False, "candidates": []}
    wish = change(Package(name="aiprov-nowhere"), now, after={"version": NEWEST})
    other = change(Package(name="aiprov-elsewhere"), now, after={"version": NEWEST})
    first, second = apply(deb12, wish, other)
    assert "Unable to locate package aiprov-nowhere" in first.message
    assert "hint: no repository of the host offers it now" in first.message
    assert second.status == "failed"
    assert "Package[aiprov-nowhere]" in second.message


# ---------------------------------------------------------------- services, reboots

UNIT = "aiprov-fragile.service"


def fragile(host: LabHost) -> Service:
    """A service that runs as long as its configuration is not broken."""
    write_file(
        host,
        f"/etc/systemd/system/{UNIT}",
        "[Service]\nExecStart=/bin/sh -c '! grep broken /srv/fragile && exec sleep infinity'\n"
        "[Install]\nWantedBy=multi-user.target\n",
    )
    return Service(name=UNIT, enabled=True, running=True, restart_on=("/srv/fragile",))


def test_a_service_that_does_not_come_back_is_told_with_its_words(deb12: LabHost) -> None:
    service = fragile(deb12)
    write_file(deb12, "/srv/fragile", "good\n")
    new = {**RUNS, "exists": False, "enabled": False, "running": False, "reload_needed": True}
    assert statuses(apply(deb12, change(service, new))) == ["done"]

    write_file(deb12, "/srv/fragile", "this is broken\n")
    restart = {**wanted(service, RUNS), "restart": True}
    (outcome,) = apply(deb12, change(service, RUNS, after=restart))
    assert outcome.status == "failed"
    assert f"{UNIT} is failed (exit-code), wanted active" in outcome.message
    assert "this is broken" in outcome.message  # the journal

    write_file(deb12, "/srv/fragile", "good\n")
    (outcome,) = apply(deb12, change(service, RUNS, after=restart))
    assert outcome.status == "done"


def test_a_service_that_ends_again_and_again_is_not_up(deb12: LabHost) -> None:
    unit = "aiprov-restless.service"
    text = "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=100ms\n"
    write_file(deb12, f"/etc/systemd/system/{unit}", text + "StartLimitIntervalSec=0\n")
    stopped = {**RUNS, "enabled": False, "running": False, "reload_needed": True}
    (outcome,) = apply(deb12, change(Service(name=unit, running=True), stopped))
    assert outcome.status == "failed"
    assert "wanted active" in outcome.message
    assert statuses(apply(deb12, change(Service(name=unit, running=False), RUNS))) == ["done"]


def test_a_reboot_that_does_not_happen_is_told(deb12: LabHost) -> None:
    deb12.run(["systemctl", "mask", "--runtime", "reboot.target"])
    try:
        wish = Reboot(name="never", unless=PathExists(path="/nowhere"), timeout_s=5)
        (outcome,) = apply(deb12, change(wish, {"needed": True}))
    finally:
        deb12.run(["systemctl", "unmask", "--runtime", "reboot.target"])
    assert outcome.status == "failed"
    assert "has not rebooted within 5 s" in outcome.message
    assert "still runs the boot it had" in outcome.message


def test_a_failing_command_is_told_with_its_words(deb12: LabHost) -> None:
    argv = ("sh", "-c", "seq 100; echo it\\'s over >&2; exit 7")
    command = Command(name="fails", argv=argv, unless=PathExists(path="/nowhere"))
    (outcome,) = apply(deb12, change(command, {"done": False}))
    assert "exit status 7" in outcome.message
    assert "it's over" in outcome.message
    assert "    81\n" not in outcome.message  # the last 20 lines only


# ---------------------------------------------------------------- every kind


def planned(host: LabHost, resources: Sequence[Resource]) -> HostPlan:
    """What the survey and the planner find to do."""
    session = open_session(connection(host.lab, host.name))
    try:
        facts = survey_facts(session, host.name)
        state = survey_state(session, facts, resources)
    finally:
        session.close()
    return plan(host.name, [Desired(role="every", resource=one) for one in resources], state)


@pytest.mark.parametrize(("suite", "host_os"), [("bookworm", "debian12"), ("trixie", "debian13")])
def test_every_kind(
    make_host: Callable[..., LabHost], tmp_path: Path, suite: str, host_os: str
) -> None:
    host = make_host(suite=suite)
    scenario = every_kind.scenario(tmp_path)
    host.run(["tar", "-C", "/", "-xf", "-"], stdin=scenario.archive)
    for argv in scenario.prepare:
        host.run(argv)
    resources = every_kind.resources(host_os, key=scenario.key)
    boot = host.text("cat", "/proc/sys/kernel/random/boot_id")

    todo = planned(host, resources)
    for _stage in range(4):
        outcomes = apply(host, *todo.changes)
        assert [o.message for o in outcomes if o.status != "done"] == []
        todo = planned(host, resources)
        if todo.empty:
            break
    assert todo.empty, todo

    assert host.text("cat", "/proc/sys/kernel/random/boot_id") != boot
    assert host.text("apt-mark", "showhold") == "aiprov-probe"
    assert host.text("cat", "/usr/share/aiprov-probe/version") == "1.1-2"
    assert host.text("cat", f'{every_kind.HOME}/it\'s $HOME "quoted".conf') == "'$(id)' `id` \\n %s"
    assert host.text("stat", "-c", "%a %U %G", every_kind.SECRET_FILE) == "600 root root"
    assert host.text("cat", "/proc/sys/net/ipv4/conf/all/log_martians") == "1"
    found = host.run(
        ["grep", "-rls", every_kind.SECRET, "/etc", "/tmp", "/var", "/root", "/run"], check=False
    )
    assert found.stdout.decode().split() == [every_kind.SECRET_FILE]
