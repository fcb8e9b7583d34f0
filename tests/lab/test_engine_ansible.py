"""The Ansible engine on real hosts: what is its own when things go wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from aiprov.connection import Connection
from aiprov.engines import Outcome
from aiprov.engines.ansible.process import AnsibleEngine
from aiprov.errors import BecomeError, HostKeyError, UnreachableError
from aiprov.lab import Lab
from aiprov.plan import NEWEST, Change
from aiprov.resources import (
    Absent,
    Command,
    Directory,
    File,
    Package,
    PathExists,
    Secret,
)
from tests.changes import change
from tests.lab.commands import contents
from tests.lab.conftest import LabHost
from tests.lab.engine_hosts import (
    ABSENT,
    archive_on,
    connection,
    holds,
    package,
    statuses,
    until,
)

pytestmark = pytest.mark.lab


def engine(lab: Lab, name: str, **given: object) -> AnsibleEngine:
    way = replace(connection(lab, name), **given)  # type: ignore[arg-type]
    return AnsibleEngine(way, inventory=[str(lab.inventory)])


def apply(host: LabHost, *changes: Change) -> Sequence[Outcome]:
    return engine(host.lab, host.name).apply(changes, lambda change: None)


@pytest.fixture
def deb12(lab: Lab) -> LabHost:
    return LabHost(lab, "deb12b")


# ---------------------------------------------------------------- files


def test_a_full_directory_is_never_removed(deb12: LabHost) -> None:
    deb12.run(["mkdir", "-p", "/srv/full/of"])
    (outcome,) = apply(deb12, change(Absent(path="/srv/full"), {"type": "directory"}))
    assert outcome.status == "failed"
    assert "not empty" in outcome.message
    deb12.run(["rmdir", "/srv/full/of", "/srv/full"])


def test_secrets_are_nowhere_but_in_their_file(deb12: LabHost, tmp_path: Path) -> None:
    """Not in a process list, a log or a temporary file, on either side."""
    secret = "Gr7-never-told-x9"
    seen = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for line in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if secret.encode() in line.read_bytes():
                        seen.set()
                except OSError:
                    continue

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        todo = [
            change(File(path="/srv/token", content=Secret(f"{secret}\n"), mode=0o600), ABSENT),
            change(
                Command(
                    name="fail", argv=("grep", "zzz", "/srv/token"), unless=PathExists(path="/")
                ),
                {"done": False},
            ),
        ]
        outcomes = apply(deb12, *todo)
    finally:
        done.set()
        watcher.join()
    assert statuses(outcomes) == ["done", "failed"]
    assert not seen.is_set()
    assert deb12.text("stat", "-c", "%a", "/srv/token") == "600"
    found = deb12.run(["grep", "-rls", secret, "/root", "/tmp", "/var", "/run"], check=False)
    assert found.stdout == b""
    log = deb12.run(["journalctl", "--no-pager", "-o", "json"]).stdout
    assert secret.encode() not in log
    for place in (Path("/dev/shm"), Path.home() / ".ansible" / "tmp"):
        assert not [path for path, data in contents(place) if secret.encode() in data]


# ---------------------------------------------------------------- the connection


def test_an_unreachable_host(deb12: LabHost, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts"
    inventory.write_text("gone ansible_host=192.0.2.1 ansible_ssh_timeout=2\n")
    todo = change(Directory(path="/srv/x"), ABSENT)
    gone = AnsibleEngine(Connection(name="gone", address="192.0.2.1"), inventory=[str(inventory)])
    with pytest.raises(UnreachableError) as error:
        gone.apply([todo], lambda change: None)
    assert "192.0.2.1" in error.value.message
    assert error.value.hint


def test_a_host_with_another_key(deb12: LabHost, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "k"], check=True
    )
    kind, key, *_ = (tmp_path / "k.pub").read_text().split()
    known.write_text(f"{deb12.address} {kind} {key}\n")
    inventory = tmp_path / "hosts"
    inventory.write_text(
        f"other ansible_host={deb12.address} ansible_user=root "
        "ansible_ssh_args='-o ControlPath=none' "  # no connection that another test has open
        f"ansible_ssh_common_args='-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes'\n"
    )
    other = AnsibleEngine(Connection(name="other", address=""), inventory=[str(inventory)])
    with pytest.raises(HostKeyError, match="verification failed"):
        other.apply([change(Directory(path="/srv/x"), ABSENT)], lambda change: None)


def test_a_lost_connection_is_a_failed_change(fresh_host: LabHost) -> None:
    mark = "/run/aiprov-has-begun"
    sleeper = Command(
        name="long",
        argv=("sh", "-c", f"touch {mark}; exec sleep 321"),
        unless=PathExists(path="/nowhere"),
    )
    todo = change(sleeper, {"done": False})
    outcomes: list[Outcome] = []
    first = change(Directory(path="/srv/before"), ABSENT)
    worker = threading.Thread(target=lambda: outcomes.extend(apply(fresh_host, first, todo, todo)))
    worker.start()
    until(lambda: holds(fresh_host, "test", "-e", mark), "the command has begun")
    fresh_host.run(["pkill", "-KILL", "-f", "^sshd: root"])
    worker.join(timeout=300)
    assert statuses(outcomes) == ["done", "failed", "not run"]
    assert "closed" in outcomes[1].message or "lost" in outcomes[1].message


def test_a_change_that_takes_too_long_is_ended(deb12: LabHost) -> None:
    sleeper = Command(name="long", argv=("sleep", "432"), unless=PathExists(path="/nowhere"))
    slow = AnsibleEngine(
        connection(deb12.lab, deb12.name), inventory=[str(deb12.inventory)], silence_s=8
    )
    began = time.monotonic()
    (outcome,) = slow.apply([change(sleeper, {"done": False})], lambda change: None)
    assert time.monotonic() - began < 120
    assert outcome.status == "failed"
    assert "did not end within 8 s" in outcome.message
    ours = f"apply.yml --inventory {deb12.inventory}"

    def gone() -> bool:
        found = subprocess.run(["pgrep", "-f", ours], check=False, capture_output=True)
        return found.returncode == 1

    until(gone, "its processes have ended", 120)
    deb12.run(["pkill", "-f", "sleep 432"], check=False)


def test_many_at_once(deb12: LabHost) -> None:
    def one(number: int) -> list[str]:
        path = f"/srv/many/{number}"
        todo = [change(Directory(path="/srv/many"), ABSENT), change(Directory(path=path), ABSENT)]
        todo.append(change(File(path=f"{path}/name", content=str(number)), ABSENT))
        return statuses(apply(deb12, *todo))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [["done"] * 3] * 4
    assert len(deb12.text("find", "/srv/many", "-name", "name").splitlines()) == 4


def test_root_by_sudo(deb12: LabHost, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts"
    text = deb12.inventory.read_text().replace('ansible_user: "root"', 'ansible_user: "ops"')
    inventory.write_text(text)
    todo = change(File(path="/etc/by-sudo", content=Secret("x\n"), mode=0o600), ABSENT)

    def with_password(password: str) -> Sequence[Outcome]:
        way = connection(
            deb12.lab, deb12.name, "ops", become=True, become_password=Secret(password)
        )
        return AnsibleEngine(way, inventory=[str(inventory)]).apply([todo], lambda change: None)

    (outcome,) = with_password(deb12.lab.ops_password)
    assert (outcome.status, outcome.message) == ("done", "")
    assert deb12.text("stat", "-c", "%U %a", "/etc/by-sudo") == "root 600"
    with pytest.raises(BecomeError, match="Incorrect sudo password") as error:
        with_password("wrong")
    assert error.value.hint


# ---------------------------------------------------------------- packages


def test_a_held_lock_is_waited_for(deb12: LabHost, tmp_path: Path) -> None:
    archive_on(deb12, tmp_path, {"aiprov-patient": ("1",)})
    with deb12.lab.apt_lock(deb12.name):
        began = threading.Event()
        outcomes: list[Outcome] = []

        def work() -> None:
            todo = package("aiprov-patient", "1")
            outcomes.extend(engine(deb12.lab, deb12.name).apply([todo], lambda c: began.set()))

        worker = threading.Thread(target=work)
        worker.start()
        assert began.wait(180)
        worker.join(timeout=3)
        assert worker.is_alive(), outcomes
    worker.join(timeout=300)
    assert [(one.status, one.message) for one in outcomes] == [("done", "")]


CONTROLLER = """
import sys
from tests.lab.test_engine_ansible import Lab, Path, engine
from tests.lab.engine_hosts import package
engine(Lab(Path(sys.argv[1])), sys.argv[2]).apply([package("aiprov-slow", "1")], lambda c: None)
"""


def test_an_install_that_was_killed_is_finished_first(deb12: LabHost, tmp_path: Path) -> None:
    slow = "touch /run/aiprov-slow; while [ -e /run/aiprov-hold ]; do sleep 0.1; done"
    archive_on(deb12, tmp_path, {"aiprov-slow": ("1",)}, postinst=slow)
    deb12.run(["touch", "/run/aiprov-hold"])
    deb12.run(["rm", "-f", "/run/aiprov-slow"])
    argv = [sys.executable, "-c", CONTROLLER, str(deb12.lab.directory), deb12.name]
    with subprocess.Popen(argv) as process:
        until(lambda: holds(deb12, "test", "-e", "/run/aiprov-slow"), "it has begun")
        process.kill()
    deb12.run(["pkill", "-KILL", "apt-get|dpkg"])
    deb12.run(["rm", "/run/aiprov-hold"])
    (outcome,) = apply(deb12, package("aiprov-slow", "1"))
    assert (outcome.status, outcome.message) == ("done", "")
    assert deb12.text("dpkg", "--audit") == ""
    deb12.run(["dpkg", "--purge", "aiprov-slow"])


def test_what_no_repository_offers_is_told(deb12: LabHost) -> None:
    now = {"version": None, "hold": False, "candidates": []}
    wish = change(Package(name="aiprov-nowhere"), now, after={"version": NEWEST})
    (outcome,) = apply(deb12, wish)
    assert "aiprov-nowhere" in outcome.message
