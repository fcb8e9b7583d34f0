"""What both engines do alike on real hosts: every kind, and what happens when things go wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiprov.diff import wanted
from aiprov.engines import Outcome
from aiprov.engines.ansible.process import AnsibleEngine
from aiprov.engines.pyinfra import PyinfraEngine
from aiprov.lab import Lab
from aiprov.plan import Change
from aiprov.resources import File, Package, PathExists, Reboot, Secret, Service, previous_path
from tests.changes import change
from tests.lab import every_kind
from tests.lab.conftest import LabHost
from tests.lab.engine_hosts import (
    FILE,
    RUNS,
    archive_on,
    connection,
    package,
    planned,
    statuses,
    write_file,
)

pytestmark = pytest.mark.lab

SAYS = {
    "pyinfra": {
        "full disk": "hint: a disk of the host is full",
        "refused": "sh refuses the new content of /srv/refused.conf",
        "failed": "aiprov-fragile.service is failed (exit-code), wanted active",
        "restless": "wanted active",
        "no reboot": "has not rebooted within 5 s: the host still runs the boot it had",
    },
    "ansible": {
        "full disk": "No space left on device",
        "refused": "failed to validate",
        "failed": "did not stay up: NRestarts=0 ActiveState=failed",
        "restless": "did not stay up",
        "no reboot": "Timed out waiting for last boot time check",
    },
}
"""The words of each, for what it says in words of its own."""


@dataclass(frozen=True)
class Engine:
    """One of them."""

    name: str

    @property
    def says(self) -> Mapping[str, str]:
        return SAYS[self.name]

    def apply(self, host: LabHost, *changes: Change) -> Sequence[Outcome]:
        way = connection(host.lab, host.name)
        if self.name == "pyinfra":
            return PyinfraEngine(way).apply(changes, lambda change: None)
        return AnsibleEngine(way, inventory=[str(host.lab.inventory)]).apply(
            changes, lambda change: None
        )


@pytest.fixture(params=SAYS)
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(request.param)


@pytest.fixture
def deb12(lab: Lab) -> LabHost:
    return LabHost(lab, "deb12a")


# ---------------------------------------------------------------- files


def test_a_full_disk_leaves_the_old_file(deb12: LabHost, engine: Engine) -> None:
    deb12.run(["mkdir", "-p", "/srv/tiny"])
    deb12.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/srv/tiny"])
    try:
        write_file(deb12, "/srv/tiny/config", "old")
        big = File(path="/srv/tiny/config", content="x" * 300_000)
        first, second = engine.apply(deb12, change(big, FILE), change(big, FILE))
        assert (first.status, second.status) == ("failed", "not run")
        assert "No space left on device" in first.message
        assert engine.says["full disk"] in first.message
        assert deb12.text("cat", "/srv/tiny/config") == "old"
        assert deb12.text("ls", "-A", "/srv/tiny") == "config"
    finally:
        deb12.run(["umount", "/srv/tiny"])


def test_the_former_file_is_kept_where_asked(deb12: LabHost, engine: Engine) -> None:
    path = "/srv/kept.conf"
    write_file(deb12, path, "former")
    deb12.run(["chmod", "640", path])
    outcomes = engine.apply(deb12, change(File(path=path, content="new"), FILE, keep_previous=True))
    assert statuses(outcomes) == ["done"]
    assert deb12.text("cat", path) == "new"
    assert deb12.text("cat", previous_path(path)) == "former"
    assert deb12.text("stat", "-c", "%a", previous_path(path)) == "640"


def test_refused_content_changes_nothing_and_no_secret_is_told(
    deb12: LabHost, engine: Engine
) -> None:
    path = "/srv/refused.conf"
    write_file(deb12, path, "old")
    loud = File(
        path=path, content="bad-value", validate=("sh", "-c", 'cat "$0"; exit 3', "{staged}")
    )
    (outcome,) = engine.apply(deb12, change(loud, FILE))
    assert engine.says["refused"] in outcome.message
    assert "bad-value" in outcome.message
    secret = File(path=path, content=Secret("t0psecret-value"), validate=loud.validate)
    (outcome,) = engine.apply(deb12, change(secret, FILE))
    assert outcome.status == "failed"
    assert "t0psecret" not in outcome.message
    assert deb12.text("cat", path) == "old"
    left = deb12.text("ls", "-A", "/srv")
    assert "aiprov-staged" not in left and ".ansible" not in left


# ---------------------------------------------------------------- packages


def test_packages_change_together(deb12: LabHost, engine: Engine, tmp_path: Path) -> None:
    archive_on(deb12, tmp_path, {"aiprov-one": ("1", "2"), "aiprov-two": ("1",)})
    held = Package(name="aiprov-one", version="2", hold=True)
    absent = {"version": None, "hold": False, "candidates": ["2"]}
    outcomes = engine.apply(deb12, package("aiprov-two", "1"), change(held, absent))
    assert statuses(outcomes) == ["done", "done"]
    assert deb12.text("apt-mark", "showhold") == "aiprov-one"

    # Down, though it is on hold, which stays; the other goes in the same call.
    down = Package(name="aiprov-one", version="1", hold=True)
    gone = change(Package(name="aiprov-two", absent=True), {"version": "1", "hold": False})
    now = {"version": "2", "hold": True, "candidates": ["1"]}
    outcomes = engine.apply(deb12, gone, change(down, now))
    assert statuses(outcomes) == ["done", "done"]
    assert deb12.text("apt-mark", "showhold") == "aiprov-one"
    versions = deb12.text("dpkg-query", "-W", "-f", "${Package} ${Version};", "aiprov-*")
    assert "aiprov-one 1;" in versions
    assert "aiprov-two 1;" not in versions


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


def test_a_service_that_does_not_come_back_is_told_with_its_words(
    deb12: LabHost, engine: Engine
) -> None:
    service = fragile(deb12)
    write_file(deb12, "/srv/fragile", "good\n")
    new = {**RUNS, "exists": False, "enabled": False, "running": False, "reload_needed": True}
    assert statuses(engine.apply(deb12, change(service, new))) == ["done"]

    write_file(deb12, "/srv/fragile", "this is broken\n")
    restart = {**wanted(service, RUNS), "restart": True}
    (outcome,) = engine.apply(deb12, change(service, RUNS, after=restart))
    assert outcome.status == "failed"
    assert engine.says["failed"] in outcome.message
    assert "this is broken" in outcome.message  # the journal

    write_file(deb12, "/srv/fragile", "good\n")
    (outcome,) = engine.apply(deb12, change(service, RUNS, after=restart))
    assert outcome.status == "done"


def test_a_service_that_ends_again_and_again_is_not_up(deb12: LabHost, engine: Engine) -> None:
    unit = "aiprov-restless.service"
    text = "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=100ms\n"
    write_file(deb12, f"/etc/systemd/system/{unit}", text + "StartLimitIntervalSec=0\n")
    stopped = {**RUNS, "enabled": False, "running": False, "reload_needed": True}
    (outcome,) = engine.apply(deb12, change(Service(name=unit, running=True), stopped))
    assert outcome.status == "failed"
    assert engine.says["restless"] in outcome.message
    assert statuses(engine.apply(deb12, change(Service(name=unit, running=False), RUNS))) == [
        "done"
    ]


def test_a_reboot_that_does_not_happen_is_told(deb12: LabHost, engine: Engine) -> None:
    deb12.run(["systemctl", "mask", "--runtime", "reboot.target"])
    try:
        wish = Reboot(name="never", unless=PathExists(path="/nowhere"), timeout_s=5)
        (outcome,) = engine.apply(deb12, change(wish, {"needed": True}))
    finally:
        deb12.run(["systemctl", "unmask", "--runtime", "reboot.target"])
    assert outcome.status == "failed"
    assert engine.says["no reboot"] in outcome.message


# ---------------------------------------------------------------- every kind


@pytest.mark.parametrize(("suite", "host_os"), [("bookworm", "debian12"), ("trixie", "debian13")])
def test_every_kind(
    make_host: Callable[..., LabHost], engine: Engine, tmp_path: Path, suite: str, host_os: str
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
        outcomes = engine.apply(host, *todo.changes)
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
