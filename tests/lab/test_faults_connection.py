"""The way to a host: cut, hung, or ending at a host that is not the one it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov.lab import HostSpec, Lab
from aiprov.lab.machine import until
from tests.lab.commands import Site, converges, left_behind, site

pytestmark = pytest.mark.lab

HOSTS = {"pyinfra": "wiredpyinfra", "ansible": "wiredansible"}
"""A host for each engine."""

BASE: dict[str, Any] = {"aiprov_roles": ["base"]}


@pytest.fixture(scope="module")
def hosts(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A host for each engine, with a base on it."""
    own = Lab(lab_root / "wired")
    own.up([HostSpec(name=name) for name in HOSTS.values()])
    made = site(own, tmp_path_factory.mktemp("wired") / "site", BASE)
    said = made.aiprov("apply")
    assert said.code == 0, said.out + said.err
    yield made
    own.down()


# ---------------------------------------------------------------- a cut cable


def test_a_connection_that_is_cut_while_packages_are_installed(hosts: Site):
    """Both engines at once: each notices by itself that nobody answers any more."""
    hosts.set({**BASE, "base_packages": ["perl-doc", "vim"]})
    runs = {}
    for engine, host in HOSTS.items():
        runs[engine] = hosts.start("apply", "-v", "--engine", engine, "--limit", host)

    def cut(engine: str) -> None:
        host = HOSTS[engine]
        runs[engine].wait_for(r"Package\[vim\]")
        until(lambda: working(hosts.lab, host), "apt to be at work", timeout=180)
        hosts.lab.cut(host)

    try:
        with ThreadPoolExecutor() as pool:  # neither is over before it is looked at
            list(pool.map(cut, HOSTS))
        ended = {engine: run.finish() for engine, run in runs.items()}
    finally:
        for host in HOSTS.values():
            hosts.lab.restore(host)
    for engine, host in HOSTS.items():
        said = ended[engine]
        assert said.code == 4, said.out + said.err
        assert f"{host}: unreachable: " in said.out
        assert "run again" in said.out.partition("hint:")[2]
        assert "Traceback" not in said.out + said.err
        converges(hosts, host, engine)


def working(lab: Lab, host: str) -> bool:
    return lab.run(host, ["pgrep", "--full", "apt-get.*install"], check=False).returncode == 0


# ---------------------------------------------------------------- host keys


def with_known_hosts(hosts: Site, path: Path) -> None:
    """Let both engines, and the survey, know hosts from this file."""
    given = yaml.safe_load(hosts.lab.inventory.read_text())["all"]["vars"][
        "ansible_ssh_common_args"
    ]
    args = re.sub(r"UserKnownHostsFile=\S+", f"UserKnownHostsFile={path}", given)
    hosts.set({**BASE, "ansible_ssh_common_args": args, "base_sysctls": {"vm.swappiness": 7}})


@pytest.mark.parametrize("engine", HOSTS)
@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ("unknown", "the host key of {address} is not known", "ssh-keyscan {address} >> {file}"),
        ("changed", "the host key of {address} has changed", "ssh-keygen -R {address} -f {file}"),
    ],
)
def test_a_host_key(hosts: Site, tmp_path: Path, engine: str, change: str, message: str, hint: str):
    host = HOSTS[engine]
    address = hosts.lab.hosts[host].address
    known = hosts.lab.known_hosts.read_text().splitlines()
    one, other = (
        next(line for line in known if line.startswith(hosts.lab.hosts[name].address))
        for name in HOSTS.values()
    )
    theirs = other if one.startswith(address) else one
    file = tmp_path / "known_hosts"
    wrong = f"{address} {theirs.partition(' ')[2]}\n"
    file.write_text(wrong if change == "changed" else "")
    before = hosts.lab.run(host, ["ls", "/etc/sysctl.d"]).stdout
    with_known_hosts(hosts, file)
    try:
        said = hosts.aiprov("apply", "--engine", engine, "--limit", host)
    finally:
        hosts.set(BASE)
    assert said.code == 4, said.out + said.err
    words = {"address": address, "file": file}
    assert f"{host}: unreachable: {message.format(**words)}" in said.out
    assert hint.format(**words) in said.out.partition("hint:")[2]
    assert hosts.lab.run(host, ["ls", "/etc/sysctl.d"]).stdout == before
    assert file.read_text() == (wrong if change == "changed" else ""), "a key was written down"


# ---------------------------------------------------------------- a host that hangs


@pytest.fixture
def twenty(hosts: Site, tmp_path: Path) -> Site:
    """Twenty names: nineteen of one host, and one of the other."""
    # One host is nineteen here: its sshd would turn some away.
    config = ["tee", "/etc/ssh/sshd_config.d/many.conf"]
    hosts.lab.run(HOSTS["pyinfra"], config, stdin=b"MaxStartups 100\n")
    hosts.lab.run(HOSTS["pyinfra"], ["systemctl", "reload", "ssh"])
    good, bad = (hosts.lab.hosts[name].address for name in HOSTS.values())
    names = {f"node{number:02}": {"ansible_host": good} for number in range(19)}
    names["sleeper"] = {"ansible_host": bad}
    lab = yaml.safe_load(hosts.lab.inventory.read_text())
    fleet = {"all": {"vars": lab["all"]["vars"], "hosts": names}}
    many = site(hosts.lab, tmp_path / "site", {**BASE, "base_manage_hostname": False})
    (many.folder / "hosts.yml").write_text(yaml.safe_dump(fleet))
    many.set({**BASE, "base_manage_hostname": False, "base_manage_etc_hosts": False})
    return many


def test_one_that_hangs_does_not_delay_the_others(hosts: Site, twenty: Site):
    """It hangs until the others are done: whoever waits for it, waits in vain."""
    converges(hosts, HOSTS["pyinfra"], "pyinfra")
    hosts.lab.hang(HOSTS["ansible"])
    run = twenty.start("plan", "-vv", "--json", "--limit", "all:!lab", "--timeout", "600")
    try:
        for number in range(19):
            run.wait_for(rf" node{number:02}: end$")
        assert run.process.poll() is None
        assert not run.shows(" sleeper: (end|unreachable|failed)")
    finally:
        hosts.lab.resume(HOSTS["ansible"])
        said = run.finish()
    assert said.code == 0, said.out + said.err
    assert {host["status"] for host in said.document["hosts"].values()} == {"unchanged"}


def test_one_that_hangs_is_given_up_by_its_time(hosts: Site):
    host = HOSTS["ansible"]
    hosts.lab.hang(host)
    try:
        said = hosts.aiprov("plan", "--json", "--limit", host, "--timeout", "5")
    finally:
        hosts.lab.resume(host)
    assert said.code == 4, said.out + said.err
    found = said.document["hosts"][host]
    assert found["status"] == "unreachable"
    assert found["error"]["hint"]
    assert 4 < found["seconds"] < 60


def test_one_that_begins_to_hang_during_an_apply(hosts: Site):
    """The other host is done before the one that hangs has been given up."""
    host, other = HOSTS["ansible"], HOSTS["pyinfra"]
    hosts.set({**BASE, "base_packages": ["vim", "bc"]})
    run = hosts.start("apply", "-v")
    try:
        run.wait_for(rf"{host}: .*Package\[")
        hosts.lab.hang(host)
        run.wait_for(rf"{other}: (changed|unchanged)", timeout=300)
        assert run.process.poll() is None
    finally:
        run.kill(all_of_it=True)
        run.finish()
        hosts.lab.resume(host)
    converges(hosts, host, "pyinfra")
    assert left_behind(hosts.lab, other) == ""
