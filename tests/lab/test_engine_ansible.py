"""The Ansible engine on real hosts: every kind, and what happens when things go wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
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
    Reboot,
    Secret,
    Service,
    previous_path,
)
from tests.lab import every_kind
from tests.lab.conftest import LabHost
from tests.lab.test_engine_pyinfra import (
    ABSENT,
    FILE,
    RUNS,
    archive_on,
    change,
    connection,
    fragile,
    holds,
    package,
    planned,
    statuses,
    until,
    write_file,
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


def test_a_full_disk_leaves_the_old_file(deb12: LabHost) -> None:
    deb12.run(["mkdir", "-p", "/srv/tiny"])
    deb12.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/srv/tiny"])
    try:
        write_file(deb12, "/srv/tiny/config", "old")
        big = File(path="/srv/tiny/config", content="x" * 300_000)
        first, second = apply(deb12, change(big, FILE), change(big, FILE))
        assert (first.status, second.status) == ("failed", "not run")
        assert "No space left on device" in first.message
        assert deb12.text("cat", "/srv/tiny/config") == "old"
        assert deb12.text("ls", "-A", "/srv/tiny") == "config"
    finally:
        deb12.run(["umount", "/srv/tiny"])


def test_the_former_file_is_kept_where_asked(deb12: LabHost) -> None:
    path = "/srv/kept.conf"
    write_file(deb12, path, "former")
    deb12.run(["chmod", "640", path])
    outcomes = apply(deb12, change(File(path=path, content="new"), FILE, keep_previous=True))
    assert statuses(outcomes) == ["done"]
    assert deb12.text("cat", path) == "new"
    assert deb12.text("cat", previous_path(path)) == "former"
    assert deb12.text("stat", "-c", "%a", previous_path(path)) == "640"


def test_refused_content_changes_nothing_and_no_secret_is_told(deb12: LabHost) -> None:
    path = "/srv/refused.conf"
    write_file(deb12, path, "old")
    loud = File(
        path=path, content="bad-value", validate=("sh", "-c", 'cat "$0"; exit 3', "{staged}")
    )
    (outcome,) = apply(deb12, change(loud, FILE))
    assert "failed to validate" in outcome.message
    assert "bad-value" in outcome.message
    secret = File(path=path, content=Secret("t0psecret-value"), validate=loud.validate)
    (outcome,) = apply(deb12, change(secret, FILE))
    assert outcome.status == "failed"
    assert "t0psecret" not in outcome.message
    assert deb12.text("cat", path) == "old"
    assert deb12.text("find", "/srv", "-name", ".ansible*") == ""


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
        files = [path for path in place.rglob("*") if path.is_file()]
        assert not [path for path in files if secret.encode() in path.read_bytes()]


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
    until(lambda: holds(fresh_host, "test", "-e", mark), "the command has begun", timeout=60)
    fresh_host.run(["pkill", "-KILL", "-f", "^sshd: root"])
    worker.join(timeout=60)
    assert statuses(outcomes) == ["done", "failed", "not run"]
    assert "closed" in outcomes[1].message or "lost" in outcomes[1].message


def test_a_change_that_takes_too_long_is_ended(deb12: LabHost) -> None:
    sleeper = Command(name="long", argv=("sleep", "432"), unless=PathExists(path="/nowhere"))
    slow = AnsibleEngine(
        connection(deb12.lab, deb12.name), inventory=[str(deb12.inventory)], silence_s=8
    )
    began = time.monotonic()
    (outcome,) = slow.apply([change(sleeper, {"done": False})], lambda change: None)
    assert time.monotonic() - began < 40
    assert outcome.status == "failed"
    assert "did not end within 8 s" in outcome.message
    ours = f"apply.yml --inventory {deb12.inventory}"
    left = subprocess.run(["pgrep", "-f", ours], check=False, capture_output=True)
    assert left.stdout == b""
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
        assert began.wait(30)
        worker.join(timeout=3)
        assert worker.is_alive(), outcomes
    worker.join(timeout=90)
    assert [(one.status, one.message) for one in outcomes] == [("done", "")]


CONTROLLER = """
import sys
from tests.lab.test_engine_ansible import Lab, Path, engine
from tests.lab.test_engine_pyinfra import package
engine(Lab(Path(sys.argv[1])), sys.argv[2]).apply([package("aiprov-slow", "1")], lambda c: None)
"""


def test_an_install_that_was_killed_is_finished_first(deb12: LabHost, tmp_path: Path) -> None:
    slow = "touch /run/aiprov-slow; while [ -e /run/aiprov-hold ]; do sleep 0.1; done"
    archive_on(deb12, tmp_path, {"aiprov-slow": ("1",)}, postinst=slow)
    deb12.run(["touch", "/run/aiprov-hold"])
    deb12.run(["rm", "-f", "/run/aiprov-slow"])
    argv = [sys.executable, "-c", CONTROLLER, str(deb12.lab.directory), deb12.name]
    with subprocess.Popen(argv) as process:
        until(lambda: holds(deb12, "test", "-e", "/run/aiprov-slow"), "it has begun", timeout=60)
        process.kill()
    deb12.run(["pkill", "-KILL", "apt-get|dpkg"])
    deb12.run(["rm", "/run/aiprov-hold"])
    (outcome,) = apply(deb12, package("aiprov-slow", "1"))
    assert (outcome.status, outcome.message) == ("done", "")
    assert deb12.text("dpkg", "--audit") == ""
    deb12.run(["dpkg", "--purge", "aiprov-slow"])


def test_packages_change_together(deb12: LabHost, tmp_path: Path) -> None:
    archive_on(deb12, tmp_path, {"aiprov-one": ("1", "2"), "aiprov-two": ("1",)})
    held = Package(name="aiprov-one", version="2", hold=True)
    absent = {"version": None, "hold": False, "candidates": ["2"]}
    outcomes = apply(deb12, package("aiprov-two", "1"), change(held, absent))
    assert statuses(outcomes) == ["done", "done"]
    assert deb12.text("apt-mark", "showhold") == "aiprov-one"

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
    (outcome,) = apply(deb12, wish)
    assert "aiprov-nowhere" in outcome.message


# ---------------------------------------------------------------- services, reboots


def test_a_service_that_does_not_come_back_is_told_with_its_words(deb12: LabHost) -> None:
    service = fragile(deb12)
    write_file(deb12, "/srv/fragile", "good\n")
    new = {**RUNS, "exists": False, "enabled": False, "running": False, "reload_needed": True}
    assert statuses(apply(deb12, change(service, new))) == ["done"]

    write_file(deb12, "/srv/fragile", "this is broken\n")
    restart = {"running": True, "restart": True}
    (outcome,) = apply(deb12, change(service, RUNS, after=restart))
    assert outcome.status == "failed"
    assert "did not stay up: NRestarts=0 ActiveState=failed" in outcome.message
    assert "this is broken" in outcome.message  # the journal

    write_file(deb12, "/srv/fragile", "good\n")
    (outcome,) = apply(deb12, change(service, RUNS, after=restart))
    assert outcome.status == "done"


def test_a_service_that_ends_again_and_again_is_not_up(deb12: LabHost) -> None:
    unit = "aiprov-restless.service"
    text = "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=100ms\n"
    write_file(deb12, f"/etc/systemd/system/{unit}", text + "StartLimitIntervalSec=0\n")
    stopped = {**RUNS, "enabled": False, "running": False, "reload_needed": True}
    began = time.monotonic()
    (outcome,) = apply(deb12, change(Service(name=unit, running=True), stopped))
    assert outcome.status == "failed"
    assert time.monotonic() - began < 30
    assert statuses(apply(deb12, change(Service(name=unit, running=False), RUNS))) == ["done"]


def test_a_reboot_that_does_not_happen_is_told(deb12: LabHost) -> None:
    deb12.run(["systemctl", "mask", "--runtime", "reboot.target"])
    try:
        wish = Reboot(name="never", unless=PathExists(path="/nowhere"), timeout_s=5)
        (outcome,) = apply(deb12, change(wish, {"needed": True}))
    finally:
        deb12.run(["systemctl", "unmask", "--runtime", "reboot.target"])
    assert outcome.status == "failed"
    assert "Timed out waiting for last boot time check" in outcome.message


# ---------------------------------------------------------------- every kind


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
    assert host.text("cat", f'{every_kind.HOME}/it\'s $HOME "quoted".conf') == "'$(id)' `id` \\n %s"
    assert host.text("stat", "-c", "%a %U %G", every_kind.SECRET_FILE) == "600 root root"
    places = ["/etc", "/tmp", "/var", "/root", "/run"]
    found = host.run(["grep", "-rls", every_kind.SECRET, *places], check=False)
    assert found.stdout.decode().split() == [every_kind.SECRET_FILE]
