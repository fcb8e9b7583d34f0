"""The lab itself: its hosts are real, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aiprov.errors import LabError
from aiprov.lab import HostSpec, Lab, PciDevice, cgroups, down
from aiprov.lab.machine import Process
from aiprov.lab.state import Folder, Intent

pytestmark = [pytest.mark.lab, pytest.mark.alone]

H200 = PciDevice(
    address="0000:1b:00.0",
    vendor=0x10DE,
    device=0x2335,
    subsystem_vendor=0x10DE,
    subsystem_device=0x18BE,
    numa_node=1,
)


def machine_side() -> dict[str, set[str]]:
    """What labs of any kind could leave on the machine, wherever they keep their files."""
    nspawn = Path("/run/systemd/nspawn")
    return {
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "nspawn": {str(path) for path in nspawn.rglob("*")},
        "temporary": {str(path) for path in Path("/tmp").glob("nspawn-*")},
    }


def traces(directory: Path, intents: list[Intent]) -> list[str]:
    """What is left of one lab: processes, interfaces, groups, files."""
    found = [str(directory)] if directory.exists() else []
    for intent in intents:
        address = Path("/sys/class/net") / intent.name / "address"
        if intent.kind == "bridge" and address.exists():
            ours = address.read_text().strip() == intent.mark
            found += [f"interface {intent.name}"] if ours else []
        if intent.kind == "group":
            roots = [root / intent.name for root in cgroups.hierarchies()]
            found += [str(group) for group in roots if group.exists()]
            found += [str(p) for p in Path("/sys/class/net").glob(f"*{intent.name}-*")]
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(place.name) != os.getpid() and any(str(directory).encode() in w for w in words):
            found.append(f"process {place.name}: {b' '.join(words)!r}")
    return found


def test_hosts_answer_plain_ssh_with_strict_host_keys(lab: Lab) -> None:
    for name in lab.hosts:
        argv = ["ssh", "-F", str(lab.ssh_config), "-o", "BatchMode=yes", name, "cat /etc/hostname"]
        done = subprocess.run(argv, capture_output=True, check=True, timeout=30)
        assert done.stdout.decode().strip() == name
    assert {status.state for status in lab.status()} == {"running"}


def test_users_for_every_kind_of_become(lab: Lab) -> None:
    assert lab.ssh("deb12a", "id -un").stdout == b"root\n"
    assert lab.ssh("deb12a", "sudo -n id -un", user="admin").stdout == b"root\n"
    assert lab.ssh("deb12a", "sudo -n id -un", user="ops").returncode == 1
    answer = f"printf '%s\\n' {lab.ops_password} | sudo -S id -un"
    assert lab.ssh("deb12a", answer, user="ops").stdout == b"root\n"


def test_a_host_reboots_as_itself(make_host: Callable[..., object]) -> None:
    host = make_host(gpus=[H200])
    before = host.lab.boot_id(host.name)
    host.text("sh", "-c", "echo 17 >/proc/sys/vm/swappiness; echo kept >/root/file; sync")
    host.lab.reboot(host.name)
    assert host.lab.boot_id(host.name) != before
    assert host.text("cat", "/root/file") == "kept"
    assert host.text("cat", "/proc/sys/vm/swappiness") != "17", "a sysctl outlived the boot"
    assert "10de:2335" in host.text("lspci", "-nn")
    assert host.text("systemctl", "is-system-running") == "running"
    assert host.lab.ssh(host.name, "true").returncode == 0


def test_sysctls_of_a_host_are_its_own(lab: Lab) -> None:
    mine = Path("/proc/sys/vm/swappiness").read_text()
    lab.run("deb12a", ["sh", "-c", "echo 3 >/proc/sys/vm/swappiness"])
    assert lab.run("deb12a", ["cat", "/proc/sys/vm/swappiness"]).stdout == b"3\n"
    assert lab.run("deb12b", ["cat", "/proc/sys/vm/swappiness"]).stdout.decode() == mine
    assert Path("/proc/sys/vm/swappiness").read_text() == mine
    lab.run("deb12a", ["sh", "-c", f"echo {mine.strip()} >/proc/sys/vm/swappiness"])


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_containers_run_and_their_limits_hold(make_host: Callable[..., object], suite: str) -> None:
    host = make_host(suite=suite)
    host.run(["apt-get", "update"])
    host.run(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-qy", "docker.io"])
    host.run(["mkdir", "-p", "/etc/docker"])
    told = b'{"exec-opts": ["native.cgroupdriver=systemd"]}\n'
    host.run(["tee", "/etc/docker/daemon.json"], stdin=told)
    host.run(["systemctl", "restart", "docker"])
    image = host.lab.import_image(host.name)
    assert host.text("docker", "info", "--format", "{{.CgroupDriver}}") == "systemd"
    assert host.text("docker", "run", "--rm", image, "busybox", "echo", "hello") == "hello"
    oom = ["docker", "run", "--rm", "--oom-score-adj=-998", image, "busybox", "true"]
    host.run(oom)
    limited = ["docker", "run", "--rm", "--memory=64m", image, "/bin/sh", "-c"]
    ask = "busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    assert str(64 << 20) in host.run([*limited, ask], check=False).stdout.decode()
    host.lab.import_image(host.name, "containerd")
    run = ["ctr", "-n", "k8s.io", "run", "--rm", "--runc-systemd-cgroup"]
    run += ["--cgroup", "system.slice:ctr:one", image, "one", "busybox", "echo", "hello"]
    assert host.text(*run) == "hello"
    host.run(["docker", "run", "-d", "--restart=always", image, "busybox", "sleep", "1000"])


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_host_without_python(make_host: Callable[..., object], suite: str) -> None:
    host = make_host(suite=suite, python=False)
    assert host.run(["python3", "--version"], check=False).returncode == 127
    install = ["apt-get", "install", "-qy", "python3-minimal"]
    host.run(["env", "DEBIAN_FRONTEND=noninteractive", *install])
    assert host.text("python3", "--version").startswith("Python 3.")


def test_a_host_shows_exactly_its_devices(make_host: Callable[..., object]) -> None:
    host = make_host(gpus=[H200])
    shown = host.text("lspci", "-nn")
    assert shown.splitlines() == [shown]
    assert shown.startswith("1b:00.0 3D controller [0302]: NVIDIA Corporation")
    assert "[10de:2335]" in shown
    assert host.text("cat", "/sys/bus/pci/devices/0000:1b:00.0/numa_node") == "1"


def test_hosts_reach_packages_and_each_other_and_nothing_else(lab: Lab) -> None:
    other = lab.hosts["deb12b"].address
    net = Folder(lab.directory).network()

    def reached(address: str, port: int) -> bool:
        argv = ["timeout", "2", "bash", "-c", f"</dev/tcp/{address}/{port}"]
        return lab.run("deb12a", argv, check=False).returncode == 0

    assert reached(other, 22)
    assert reached(net.gateway, 3142)
    assert not reached("198.51.100.1", 80)
    refused = (
        'exec 3<>/dev/tcp/$0/3142; printf "GET http://example.com/ HTTP/1.0\\n\\n" >&3; cat <&3'
    )
    answer = lab.run("deb12a", ["bash", "-c", refused, net.gateway]).stdout
    assert b" 403 " in answer.splitlines()[0]


def test_distance(lab: Lab) -> None:
    def least_of(tries: int) -> float:
        """Until ssh's server has said its name: two round trips, and what the machine adds."""
        return min(greeted(lab.hosts["deb12a"].address) for _ in range(tries))

    assert least_of(20) < 0.15
    lab.link_delay(100)
    assert least_of(3) >= 0.15
    lab.link_delay(0)
    assert least_of(20) < 0.15


def greeted(address: str) -> float:
    begun = time.monotonic()
    with socket.create_connection((address, 22), timeout=30) as connection:
        assert connection.recv(4) == b"SSH-"
    return time.monotonic() - begun


def test_cut_hang_and_power(make_host: Callable[..., object]) -> None:
    host = make_host()
    lab, name = host.lab, host.name
    probe = [*lab.ssh_argv(name), "true"]
    probe[1:1] = ["-oConnectTimeout=3"]

    def ssh() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(probe, capture_output=True, check=False, timeout=60)

    lab.cut(name)
    assert b"timed out" in ssh().stderr
    lab.restore(name)
    assert ssh().returncode == 0
    lab.hang(name)
    assert b"banner exchange" in ssh().stderr
    lab.resume(name)
    lab.kill(name)
    assert lab.status()[0].state == "off"
    with pytest.raises(LabError, match="is not running"):
        lab.run(name, ["true"])
    lab.start(name)
    assert ssh().returncode == 0
    lab.hang(name)
    lab.down()
    assert not lab.status()


def test_full_disk_and_held_lock(lab: Lab) -> None:
    with lab.full_disk("deb12a", "/etc/sudoers.d"):
        done = lab.run("deb12a", ["tee", "/etc/sudoers.d/x"], stdin=b"more", check=False)
        assert b"No space left on device" in done.stderr
        assert lab.ssh("deb12a", "sudo -n true", user="admin").returncode == 0
    lab.run("deb12a", ["test", "!", "-e", "/etc/sudoers.d/x"])
    with lab.apt_lock("deb12a") as pid:
        done = lab.run("deb12a", ["apt-get", "install", "-y", "hello"], check=False)
        assert f"held by process {pid} (python3)".encode() in done.stderr


def test_two_labs_at_once_and_down_twice(lab: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path / "second")
    other.up([HostSpec(name="deb12a")])
    assert other.hosts["deb12a"].address != lab.hosts["deb12a"].address
    assert other.ssh("deb12a", "hostname").stdout == b"deb12a\n"
    intents = Folder(other.directory).journal.intents()
    other.down()
    other.down()
    assert traces(other.directory, intents) == []
    assert lab.ssh("deb12a", "true").returncode == 0


@pytest.mark.parametrize("after", [0.25, 0.45, 0.7, 1.0, 1.4, 1.8, 2.4, 3.2, None])
def test_down_after_a_killed_up_leaves_nothing(
    lab: Lab, tmp_path: Path, after: float | None
) -> None:
    """``lab`` has built the bases; the kills fall into copying, booting and waiting."""
    before = machine_side()
    place = tmp_path / "killed"
    argv = [sys.executable, "-m", "aiprov", "lab", "up", "--directory", str(place)]
    with subprocess.Popen([*argv, "one", "two:trixie"], stderr=subprocess.DEVNULL) as up:
        if after is not None:
            time.sleep(after)
            up.send_signal(signal.SIGKILL)
    intents = Folder(place).journal.intents()
    down(place)
    time.sleep(0.5)  # would an orphan come back, it would now
    assert traces(place, intents) == []
    assert machine_side() == before


def test_down_goes_on_where_a_killed_down_stopped(lab: Lab, tmp_path: Path) -> None:
    before = machine_side()
    place = tmp_path / "twice"
    Lab(place).up([HostSpec(name="one"), HostSpec(name="two")])
    intents = Folder(place).journal.intents()
    argv = [sys.executable, "-m", "aiprov", "lab", "down", "--directory", str(place)]
    with subprocess.Popen(argv) as interrupted:
        time.sleep(0.3)
        interrupted.send_signal(signal.SIGKILL)
    down(place)
    assert traces(place, intents) == []
    assert machine_side() == before


def test_a_killed_keeper_is_no_way_out(lab: Lab, tmp_path: Path) -> None:
    place = tmp_path / "orphaned"
    own = Lab(place)
    own.up([HostSpec(name="one")])
    intents = Folder(place).journal.intents()
    keeper = Process.read(Folder(place).host("one") / "pid")
    assert keeper is not None
    keeper.signal(signal.SIGKILL)
    own.up([HostSpec(name="one")])
    assert own.ssh("one", "true").returncode == 0
    own.down()
    assert traces(place, intents) == []
