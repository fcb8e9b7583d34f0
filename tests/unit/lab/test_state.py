"""What a lab writes down is read back as it was, also after a crash in the middle of a line."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from aiprov.errors import LabError
from aiprov.lab import base, build, cgroups, inventory, machine, network
from aiprov.lab.build import HostSpec
from aiprov.lab.machine import Process, replace
from aiprov.lab.state import Folder, Host, Intent, Journal, Network, locked

NET = Network(bridge="aplab7", mark="02:00:00:00:00:01", prefix="10.213.7")
HOST = Host(
    name="one",
    index=0,
    address="10.213.7.10",
    suite="trixie",
    python=True,
    machine="aplab7-0",
    group="aplab7/0",
    groups=("workers", "gpu"),
    variables=(("ansible_user", "ops"), ("note", "a: b # 'c'")),
)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "lab")
    made.root.mkdir()
    return made


def test_journal(folder: Folder) -> None:
    journal = folder.journal
    assert journal.intents() == []
    bridge = Intent("bridge", "aplab7", "02:00")
    journal.record(bridge)
    journal.record(Intent("group", "aplab7"))
    journal.record(bridge)
    assert journal.intents() == [bridge, Intent("group", "aplab7")]


def test_a_torn_line_announced_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.record(Intent("group", "aplab7"))
    with journal.path.open("a") as out:
        out.write('{"kind": "bridge", "na')
    assert journal.intents() == [Intent("group", "aplab7")]


def test_hosts_and_network_come_back(folder: Folder) -> None:
    folder.write_network(NET)
    folder.write_host(HOST)
    assert folder.network() == NET
    assert folder.read_hosts() == [HOST]
    assert folder.read_host("one") == HOST
    with pytest.raises(LabError, match="no host 'two'") as caught:
        folder.read_host("two")
    assert caught.value.hint == "its hosts are: one"


def test_no_lab(folder: Folder) -> None:
    with pytest.raises(LabError, match="there is no lab"):
        folder.network()
    build.down(folder.root / "nowhere")


def test_inventory_is_what_ansible_reads(folder: Folder) -> None:
    text = inventory.inventory_text(folder, [HOST], {"cluster": "demo"})
    read = yaml.safe_load(text)["all"]
    assert read["vars"]["cluster"] == "demo"
    assert "StrictHostKeyChecking=yes" in read["vars"]["ansible_ssh_common_args"]
    lab = read["children"]["lab"]["hosts"]["one"]
    assert lab == {"ansible_host": "10.213.7.10", "ansible_user": "ops", "note": "a: b # 'c'"}
    assert read["children"]["gpu"]["hosts"] == {"one": {}}


def test_inventory_of_an_empty_lab(folder: Folder) -> None:
    read = yaml.safe_load(inventory.inventory_text(folder, [], {}))
    assert read["all"]["children"]["lab"]["hosts"] == {}


def test_ssh_config_names_every_host(folder: Folder) -> None:
    text = inventory.ssh_config_text(folder, [HOST])
    assert "Host one\n    HostName 10.213.7.10\n" in text
    assert text.index("Host one") < text.index("Host *")


@pytest.mark.parametrize("name", ["", "-a", "A", "a.b", "a_b", "x" * 64])
def test_bad_names(name: str, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "require", lambda: None)
    with pytest.raises(LabError, match="not a host name"):
        build.up([HostSpec(name=name)], folder.root)


def test_twice_the_same_name(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "require", lambda: None)
    with pytest.raises(LabError, match="same name"):
        build.up([HostSpec(name="a"), HostSpec(name="a")], folder.root)


def test_unknown_suite() -> None:
    with pytest.raises(LabError, match="no lab hosts of suite 'sid'"):
        base.ensure("sid")


def test_a_slot_is_free_only_where_nothing_overlaps() -> None:
    assert network.free(3, [ipaddress.IPv4Network("10.0.0.0/16")])
    assert not network.free(3, [ipaddress.IPv4Network("10.0.0.0/8")])
    assert not network.free(3, [ipaddress.IPv4Network("10.213.3.128/25")])


def test_names_fit_the_kernel() -> None:
    longest = f"{network.PREFIX}{max(network._SLOTS)}"
    assert len(network.port(f"{longest}-{build._MOST - 1}")) <= 15


def test_hierarchies() -> None:
    mounts = (
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
        "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    )
    assert [path.name for path in cgroups.hierarchies(mounts)] == ["pids", "unified"]


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The group of a pod below a host's group, which has this process in it, not the pod."""
    made = tmp_path / "host/pods/one"
    made.mkdir(parents=True)
    (tmp_path / "host/cgroup.procs").write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [tmp_path])
    return made


def test_a_group_that_vanishes_while_a_host_is_searched_has_nobody(pod, monkeypatch):
    """The kubelet removes the group of a pod that ended just when the host's power is cut."""
    looked_into, real = [], os.scandir

    def scan(path: str | Path) -> Iterator[os.DirEntry[str]]:
        looked_into.append(Path(path))
        if Path(path) == pod:
            pod.rmdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert list(cgroups.processes("host")) == [Process.of(os.getpid())]
    assert pod in looked_into


def test_a_group_that_vanishes_while_it_is_read_has_nobody(pod, monkeypatch):
    listing = pod / "cgroup.procs"
    listing.touch()
    real = Path.read_text

    def read(path: Path, *args: str, **named: str) -> str:
        if path == listing:
            raise OSError(errno.ENODEV, "No such device", str(path))
        return real(path, *args, **named)

    monkeypatch.setattr(Path, "read_text", read)
    assert list(cgroups.processes("host")) == [Process.of(os.getpid())]


def test_a_group_that_cannot_be_read_does_not_pass_for_an_empty_one(pod, monkeypatch):
    def refused(path: str | Path) -> Iterator[os.DirEntry[str]]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError):
        list(cgroups.processes("host"))


def test_a_process_is_known_by_its_start(tmp_path: Path) -> None:
    own = Process.of(os.getpid())
    assert own is not None
    assert own.alive()
    assert not Process(own.pid, own.start + 1).alive()
    own.write(tmp_path / "pid")
    assert Process.read(tmp_path / "pid") == own
    assert Process.read(tmp_path / "none") is None


@pytest.mark.parametrize("number", [errno.ESRCH, errno.EINVAL])
def test_a_process_that_has_just_gone_needs_no_signal(monkeypatch, number: int) -> None:
    """Linux before 6.16 says EINVAL of a number that its group still has."""

    def gone(pid: int) -> int:
        raise OSError(number, os.strerror(number))

    own = Process.of(os.getpid())
    assert own is not None
    monkeypatch.setattr(os, "pidfd_open", gone)
    own.signal(signal.SIGKILL)


def test_only_the_known_process_is_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        known = Process.of(child.pid)
        assert known is not None
        Process(known.pid, known.start + 1).signal(signal.SIGKILL)
        assert child.poll() is None
        known.signal(signal.SIGKILL)
        assert child.wait(timeout=10) == -signal.SIGKILL
    known.signal(signal.SIGKILL)


def test_oom_scores_need_a_capability() -> None:
    assert machine.may_lower_oom_scores("Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n")
    assert not machine.may_lower_oom_scores("Name:\tx\nCapEff:\t000001fffeffffff\nCapBnd:\t0\n")


def test_replace_keeps_the_mode(tmp_path: Path) -> None:
    replace(tmp_path / "secret", "x", mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_lock_is_one_holders(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "lock"),
        pytest.raises(LabError, match="held by another"),
        locked(tmp_path / "lock", wait=False),
    ):
        pass
