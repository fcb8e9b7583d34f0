"""Hosts with something wrong in them: a held lock, a full disk, no Python, a power cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiprov.lab import HostSpec, Lab
from aiprov.lab.machine import until
from tests.lab.commands import Site, converges, left_behind, site
from tests.lab.conftest import LabHost

pytestmark = pytest.mark.lab

ENGINES = {"pyinfra": "sickpyinfra", "ansible": "sickansible"}
"""A host for each engine."""

BASE: dict[str, Any] = {"aiprov_roles": ["base"], "base_apt_lock_timeout_s": 5}


@pytest.fixture(scope="module")
def hosts(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A host for each engine, with a base on it."""
    own = Lab(lab_root / "sick")
    own.up([HostSpec(name=name) for name in ENGINES.values()])
    for name in ENGINES.values():
        # The image may be days old, and lists that are would be what is refreshed first.
        own.run(name, ["apt-get", "update"])
    made = site(own, tmp_path_factory.mktemp("sick") / "site", BASE)
    said = made.aiprov("apply")
    assert said.code == 0, said.out + said.err
    yield made
    own.down()


# ---------------------------------------------------------------- a held lock


@pytest.mark.parametrize("engine", ENGINES)
def test_who_holds_the_lock_is_said(hosts: Site, engine: str):
    host = ENGINES[engine]
    hosts.set({**BASE, "base_packages": ["tree"]}, host)
    with hosts.lab.apt_lock(host) as holder:
        said = hosts.aiprov("apply", "--engine", engine, "--limit", host)
        assert said.code == 1
        assert f"{host}: failed: Package[tree]" in said.out
        assert f"process {holder}" in said.out
        assert "lock_ex" in said.out.lower(), "the holder's command is not named"
        assert "run again" in said.out.partition("hint:")[2]
    converges(hosts, host, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lock_is_waited_for(hosts: Site, engine: str):
    host = ENGINES[engine]
    hosts.set({**BASE, "base_packages": ["bc"], "base_apt_lock_timeout_s": 120}, host)
    tried = tries(hosts.lab, host)
    with hosts.lab.apt_lock(host):
        run = hosts.start("apply", "--engine", engine, "--limit", host)
        # pyinfra leaves the waiting to apt, Ansible's modules ask again and again.
        argv = ["pgrep", "--full", "apt-get.*Lock::Timeout=120.*bc"]
        until(
            lambda: (
                hosts.lab.run(host, argv, check=False).returncode == 0
                or tries(hosts.lab, host) >= tried + 2
            ),
            "apt or dpkg to wait for the lock",
            timeout=300,
            every=0.2,
        )
    said = run.finish()
    assert said.code == 0, said.out + said.err
    converges(hosts, host, engine)


def tries(lab: Lab, host: str) -> int:
    """How often Ansible's modules have asked dpkg to finish what is unfinished."""
    log = lab.run(host, ["journalctl", "--boot", "--quiet", "--no-pager"]).stdout.decode()
    return sum("Invoked with" in line and "'--configure'" in line for line in log.splitlines())


# ---------------------------------------------------------------- a full disk


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk_leaves_the_old_file(hosts: Site, engine: str):
    host = ENGINES[engine]
    hosts.set({**BASE, "base_etc_hosts_extra": {"192.0.2.9": ["before"]}}, host)
    converges(hosts, host, engine)
    before = hosts.lab.run(host, ["cat", "/etc/hosts"]).stdout
    many = {f"192.0.2.{n}": [f"name-{n}-{i}" for i in range(60)] for n in range(1, 200)}
    hosts.set({**BASE, "base_etc_hosts_extra": many}, host)
    with hosts.lab.full_disk(host, "/etc"):
        said = hosts.aiprov("apply", "--engine", engine, "--limit", host)
        assert said.code == 1
        assert f"{host}: failed: File[/etc/hosts]" in said.out
        assert "No space left on device" in said.out
        assert "disk of the host is full" in said.out.partition("hint:")[2]
        assert hosts.lab.run(host, ["cat", "/etc/hosts"]).stdout == before
        assert left_behind(hosts.lab, host) == ""
    converges(hosts, host, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_packages_that_find_no_space(hosts: Site, engine: str):
    host = ENGINES[engine]
    hosts.set({**BASE, "base_packages": ["tree", "bc", "gawk"]}, host)
    with hosts.lab.full_disk(host, "/var/cache/apt/archives", free=4096):
        said = hosts.aiprov("apply", "--engine", engine, "--limit", host)
        assert said.code == 1
        assert f"{host}: failed: Package[" in said.out
        assert "/var/cache/apt/archives" in said.out
        assert "disk of the host is full" in said.out.partition("hint:")[2]
    converges(hosts, host, engine)


# ---------------------------------------------------------------- power and reboots


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", ["power", "reboot"])
def test_a_host_that_goes_down_while_packages_are_unpacked(hosts: Site, fault: str, engine: str):
    host = ENGINES[engine]
    packages = {
        "power": ["gcc-12-base", "vim-runtime", "vim"],
        "reboot": ["emacs-common", "perl-doc"],
    }
    hosts.set({**BASE, "base_packages": packages[fault]}, host)
    run = hosts.start("apply", "-v", "--engine", engine, "--limit", host)
    run.wait_for(r"Package\[")
    unpacking = ["pgrep", "--full", "dpkg.*--unpack"]
    until(
        lambda: hosts.lab.run(host, unpacking, check=False).returncode == 0,
        "packages to be unpacked",
        timeout=300,
    )
    try:
        (hosts.lab.kill if fault == "power" else hosts.lab.reboot)(host)
        said = run.finish()
    finally:
        hosts.lab.start(host)
    assert said.code == 4, said.out + said.err
    assert f"{host}: unreachable: " in said.out
    assert "run again" in said.out.partition("hint:")[2]
    assert "Traceback" not in said.out + said.err
    converges(hosts, host, engine)


# ---------------------------------------------------------------- no Python


def test_a_host_without_python(make_host: Callable[..., LabHost], tmp_path: Path):
    host = make_host(python=False)
    bare = site(host.lab, tmp_path / "site", {"aiprov_roles": ["base"]})
    for verb in ("plan", "apply"):
        said = bare.aiprov(verb)
        assert said.code == 1
        assert f"{host.name}: failed: there is no Python 3.6 or later" in said.out
        assert "aiprov apply --bootstrap" in said.out.partition("hint:")[2]
    said = bare.aiprov("apply", "--bootstrap")
    assert said.code == 0, said.out + said.err
    assert bare.aiprov("plan").code == 0
