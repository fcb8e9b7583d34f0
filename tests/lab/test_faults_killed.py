"""An apply that is killed, interrupted or run twice: no half file, and a rerun converges."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiprov.lab import HostSpec, Lab
from aiprov.lab.machine import until
from tests.lab.commands import ROLES, Running, Site, converges, environment, site

pytestmark = pytest.mark.lab

HOSTS = {"pyinfra": "killedpyinfra", "ansible": "killedansible"}
"""A host for each engine."""

UNPACKING, CONFIGURING = "dpkg.*--unpack", "dpkg.*--configure"

Moment = tuple[str, str | None]

MOMENTS: tuple[Moment, ...] = (
    (r"File\[/etc/apt/apt.conf.d/90aiprov\]", None),
    (r"File\[/etc/hosts\]", None),
    (r"Package\[containerd\]", None),
    (r"Package\[containerd\]", UNPACKING),
    (r"Directory\[/etc/containerd\]", None),
    (r"File\[/etc/containerd/config.toml\]", None),
    (r"Package\[docker.io\]", UNPACKING),
    (r"Package\[docker.io\]", CONFIGURING),
    (r"File\[/etc/docker/daemon.json\]", None),
    (r"Service\[containerd.service\]", None),
    (r"Service\[docker.service\]", None),
    (r"Absent\[/etc/.*aiprov-previous\]", None),
)
"""What the progress shows, and what then runs on the host, when the controller is killed."""

FEW = (MOMENTS[0], MOMENTS[3], MOMENTS[5], MOMENTS[7], MOMENTS[8])

SOUND = """
import glob, json, os, subprocess, tomllib
def text(path):
    return open(path).read() if os.path.exists(path) else None
daemon = text("/etc/docker/daemon.json")
if daemon is not None:
    assert isinstance(json.loads(daemon), dict)
    assert json.loads(daemon), "daemon.json is empty"
config = text("/etc/containerd/config.toml")
if config is not None:
    tomllib.loads(config)
    assert config.strip(), "config.toml is empty"
subprocess.run(["apt-config", "dump"], check=True, stdout=subprocess.DEVNULL)
for path in glob.glob("/etc/apt/sources.list.d/*.sources") + glob.glob("/etc/*/90*aiprov*"):
    assert text(path).endswith("\\n"), path
assert "localhost" in text("/etc/hosts")
assert text("/etc/hostname").strip()
"""


@pytest.fixture(scope="module")
def hosts(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    own = Lab(lab_root / "killed")
    own.up([HostSpec(name=name) for name in HOSTS.values()])
    yield site(own, tmp_path_factory.mktemp("killed") / "site")
    own.down()


def sound(lab: Lab, host: str) -> None:
    """No file that aiprov writes is half there."""
    lab.run(host, ["/usr/bin/python3", "-"], stdin=SOUND.encode())


def running(lab: Lab, host: str, pattern: str) -> bool:
    return lab.run(host, ["pgrep", "--full", pattern], check=False).returncode == 0


def orphans(hosts: Site) -> list[str]:
    """Processes of this site's killed controllers that are still at work here.

    What Ansible's ssh keeps open for a minute is among them.
    """
    history = environment(hosts.folder)["AIPROV_HISTORY"]
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            variables = (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended, or is a kernel's
        engines = any(one.startswith(b"AIPROV_CHANGES_FD=") for one in variables)
        if engines and f"AIPROV_HISTORY={history}".encode() in variables:
            found.append(place.name)
    return found


def killed_at(hosts: Site, engine: str, moments: tuple[Moment, ...], *, tree: bool) -> bool:
    """Apply, and kill it at the first moment, or at a later one where that was done before.

    False when the run came to its end without any.
    """
    pattern, on_host = moments[0]
    host = HOSTS[engine]
    run = hosts.start("apply", "-v", "--engine", engine, "--limit", host)
    reached = run.reaches("|".join(dict(moments)))
    if run.shows(pattern) and on_host is not None:
        until(
            lambda: running(hosts.lab, host, on_host) or run.process.poll() is not None,
            f"{on_host} on {host}",
            timeout=180,
        )
    reached = reached and run.process.poll() is None
    if reached:
        run.kill(all_of_it=tree)
    said = run.finish()
    assert said.code == (-signal.SIGKILL if reached else 0), said.out + said.err
    return reached


def apply_killed(hosts: Site, engine: str, moments: tuple[Moment, ...]) -> int:
    kills = 0
    for number in range(len(moments)):
        kills += killed_at(hosts, engine, moments[number:], tree=number % 2 == 1)
        sound(hosts.lab, HOSTS[engine])
    return kills


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("engine", "moments"), [("pyinfra", MOMENTS), ("ansible", FEW)])
def test_a_controller_that_is_killed_at_many_moments(
    hosts: Site, engine: str, moments: tuple[Moment, ...]
):
    host = HOSTS[engine]
    kills = apply_killed(hosts, engine, moments)
    assert kills >= len(moments) - 3, "the moments are no longer those of an apply"
    until(lambda: not orphans(hosts), "killed controllers to be gone", timeout=600, every=0.5)
    converges(hosts, host, engine)
    # And where files are replaced whose service has to come back with them.
    hosts.set({**ROLES, "docker_log_max_size": "17m"}, host)
    kills = apply_killed(hosts, engine, MOMENTS[8:9] + MOMENTS[10:])
    assert kills >= 2
    converges(hosts, host, engine)
    active = hosts.lab.run(host, ["systemctl", "is-active", "docker", "containerd"]).stdout
    assert active == b"active\nactive\n"


@pytest.mark.parametrize("engine", HOSTS)
def test_an_apply_that_is_interrupted(hosts: Site, engine: str):
    """Ctrl-C: what is under way is brought to an end and told."""
    host = HOSTS[engine]
    hosts.set({**ROLES, "docker_log_max_size": "23m", "base_packages": ["bc"]}, host)
    run = hosts.start("apply", "-v", "--engine", engine, "--limit", host)
    run.wait_for(r"Package\[bc\]")
    os.killpg(run.process.pid, signal.SIGINT)
    said = run.finish()
    assert said.code == 130, said.out + said.err
    assert host in said.out
    assert "Traceback" not in said.out + said.err
    sound(hosts.lab, host)
    converges(hosts, host, engine)


@pytest.mark.parametrize("engines", [("pyinfra", "pyinfra"), ("pyinfra", "ansible")])
def test_two_applies_at_once(hosts: Site, engines: tuple[str, str]):
    host = HOSTS["pyinfra"]
    size = "31m" if engines[0] == engines[1] else "32m"
    package = "tree" if engines[0] == engines[1] else "gawk"
    hosts.set({**ROLES, "docker_log_max_size": size, "base_packages": [package]}, host)
    runs: list[Running] = [
        hosts.start("apply", "--engine", engine, "--limit", host) for engine in engines
    ]
    said = [run.finish() for run in runs]
    assert all(one.code in (0, 1, 3) for one in said), said
    assert "Traceback" not in "".join(one.out + one.err for one in said)
    assert any(one.code == 0 for one in said), said
    sound(hosts.lab, host)
    converges(hosts, host, "pyinfra")
