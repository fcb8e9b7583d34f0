"""The pyinfra engine on real hosts: what is its own when things go wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aiprov.connection import Connection
from aiprov.engines import Outcome
from aiprov.engines.pyinfra import PyinfraEngine
from aiprov.errors import BecomeError, UnreachableError
from aiprov.lab import Lab
from aiprov.plan import NEWEST, Change
from aiprov.resources import (
    Command,
    Directory,
    File,
    Package,
    PathExists,
    Secret,
)
from tests.changes import change
from tests.lab.conftest import LabHost
from tests.lab.engine_hosts import (
    ABSENT,
    FILE,
    archive_on,
    connection,
    holds,
    package,
    statuses,
    until,
    write_file,
)

pytestmark = pytest.mark.lab


def apply(host: LabHost, *changes: Change, lock_wait_s: float = 300) -> Sequence[Outcome]:
    engine = PyinfraEngine(connection(host.lab, host.name), lock_wait_s=lock_wait_s)
    return engine.apply(changes, lambda change: None)


@pytest.fixture
def deb12(lab: Lab) -> LabHost:
    return LabHost(lab, "deb12a")


# ---------------------------------------------------------------- files


def test_a_missing_folder_is_named(deb12: LabHost) -> None:
    (outcome,) = apply(deb12, change(File(path="/srv/no/such", content=""), ABSENT))
    assert "the folder /srv/no does not exist" in outcome.message
    assert "Directory[/srv/no]" in outcome.message


CONTROLLER = """
import sys
from tests.changes import change
from tests.lab.engine_hosts import ABSENT, FILE, connection, package
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
    worker.join(timeout=300)
    assert statuses(outcomes) == ["failed", "not run"]
    assert "lost" in outcomes[0].message or "closed" in outcomes[0].message
    deb12.run(["pkill", "-f", "sleep 321"], check=False)
    deb12.run(["rm", mark])


def test_a_host_that_does_not_answer_holds_up_nobody(deb12: LabHost) -> None:
    """Twenty engines in one process; nineteen of their hosts are one machine's folders.

    The twentieth is silent until the others are done: whoever waits for it, waits in vain.
    """
    write_file(deb12, "/etc/ssh/sshd_config.d/many.conf", "MaxStartups 100\n")
    deb12.run(["systemctl", "restart", "ssh"])

    def wishes(number: int) -> list[Change]:
        path = f"/srv/many/{number}"
        directory = change(Directory(path=path), ABSENT)
        names = [f"{path}/{name}" for name in "abcde"]
        return [directory, *(change(File(path=name, content=name), ABSENT) for name in names)]

    def work(way: Connection, number: int) -> list[str]:
        return statuses(PyinfraEngine(way).apply(wishes(number), lambda change: None))

    good = connection(deb12.lab, deb12.name, timeout_s=120)
    with ThreadPoolExecutor(20) as pool:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            hung = Connection(
                name="hung", address="127.0.0.1", port=port, user="root", timeout_s=300
            )
            stuck = pool.submit(work, hung, 19)
            silent.settimeout(120)
            with silent.accept()[0]:
                others = [pool.submit(work, good, number) for number in range(19)]
                assert [one.result() for one in others] == [["done"] * 6] * 19
                assert not stuck.done()
        with pytest.raises(UnreachableError):
            stuck.result()
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

    holder = hold(240)  # far longer than the engine, and ended once it has given up
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


def test_what_no_repository_offers_is_told(deb12: LabHost) -> None:
    now = {"version": None, "hold": False, "candidates": []}
    wish = change(Package(name="aiprov-nowhere"), now, after={"version": NEWEST})
    other = change(Package(name="aiprov-elsewhere"), now, after={"version": NEWEST})
    first, second = apply(deb12, wish, other)
    assert "Unable to locate package aiprov-nowhere" in first.message
    assert "hint: no repository of the host offers it now" in first.message
    assert second.status == "failed"
    assert "Package[aiprov-nowhere]" in second.message


# ---------------------------------------------------------------- commands


def test_a_failing_command_is_told_with_its_words(deb12: LabHost) -> None:
    argv = ("sh", "-c", "seq 100; echo it\\'s over >&2; exit 7")
    command = Command(name="fails", argv=argv, unless=PathExists(path="/nowhere"))
    (outcome,) = apply(deb12, change(command, {"done": False}))
    assert "exit status 7" in outcome.message
    assert "it's over" in outcome.message
    assert "    81\n" not in outcome.message  # the last 20 lines only
