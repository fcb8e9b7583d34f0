"""What users are promised, seen on real hosts through the real command line."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiprov.lab import HostSpec, Lab
from tests.lab.commands import ROLES, Site, environment, site, snapshot

pytestmark = pytest.mark.lab

PYINFRA, ANSIBLE, TRIXIE = "viapyinfra", "viaansible", "trixie"


@pytest.fixture(scope="module")
def plain(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three plain hosts: one for each engine, and Debian 13."""
    own = Lab(lab_root / "pipeline")
    own.up([HostSpec(name=PYINFRA), HostSpec(name=ANSIBLE), HostSpec(name=TRIXIE, suite="trixie")])
    yield site(own, tmp_path_factory.mktemp("pipeline") / "site")
    own.down()


@pytest.fixture(scope="module")
def converged(plain: Site) -> Site:
    """The same hosts, brought to their roles: each by the engine that it is named for."""
    before = snapshot(plain.lab, PYINFRA)
    planned = plain.aiprov("plan", "--json", "--limit", PYINFRA)
    assert planned.code == 2, planned.err
    assert snapshot(plain.lab, PYINFRA) == before, "plan touched the host"
    for engine, hosts in (("pyinfra", f"{PYINFRA},{TRIXIE}"), ("ansible", ANSIBLE)):
        said = plain.aiprov("apply", "--engine", engine, "--limit", hosts, "-v")
        assert said.code == 0, said.out + said.err
    return plain


def test_a_second_run_changes_nothing(converged: Site):
    for verb in ("plan", "apply", "verify", "drift"):
        said = converged.aiprov(verb, "--json")
        assert said.code == 0, said.out + said.err
        assert said.document["summary"]["unchanged"] == 3
        assert said.document["summary"]["changes_made"] == 0


def test_the_daemons_run_as_they_were_asked_to(converged: Site):
    for host in (PYINFRA, ANSIBLE, TRIXIE):
        shown = converged.lab.run(
            host, ["docker", "info", "--format", "{{.CgroupDriver}} {{.LoggingDriver}}"]
        )
        assert shown.stdout.decode().split() == ["systemd", "json-file"]
        config = converged.lab.run(host, ["containerd", "config", "dump"]).stdout.decode()
        assert "SystemdCgroup = true" in config


def test_both_engines_leave_the_same_host(converged: Site):
    """Files that the roles speak of, to the byte, and packages with their holds."""
    folders = ("/etc/docker", "/etc/containerd", "/etc/apt/apt.conf.d", "/etc/sysctl.d")
    # Docker makes itself a key of its own on every host.
    found = ("-type", "f", "-not", "-name", "key.json", "-printf", "%p %m %u %g ")
    files = ("find", *folders, *found, "-exec", "sha256sum", "{}", ";")
    packages = ("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Want}\n")
    for question in (files, packages):
        one, other = (converged.lab.run(host, question).stdout for host in (PYINFRA, ANSIBLE))
        assert one == other


def test_keys_of_others_survive(converged: Site):
    path = "/etc/docker/daemon.json"
    read = json.loads(converged.lab.run(PYINFRA, ["cat", path]).stdout)
    theirs = {**read, "labels": ["theirs=1"], "debug": True}
    converged.lab.run(PYINFRA, ["tee", path], stdin=json.dumps(theirs).encode())
    converged.set({**ROLES, "docker_log_max_size": "33m"}, PYINFRA)
    said = converged.aiprov("apply", "--limit", PYINFRA)
    assert said.code == 0, said.out + said.err
    now = json.loads(converged.lab.run(PYINFRA, ["cat", path]).stdout)
    assert now["labels"] == ["theirs=1"]
    assert now["log-opts"]["max-size"] == "33m"
    assert converged.aiprov("plan", "--limit", PYINFRA).code == 0


@pytest.mark.parametrize(("host", "engine"), [(PYINFRA, "pyinfra"), (ANSIBLE, "ansible")])
def test_a_config_that_breaks_the_daemon_is_put_back(converged: Site, host: str, engine: str):
    path = "/etc/docker/daemon.json"
    before = converged.lab.run(host, ["cat", path]).stdout
    converged.set({**ROLES, "docker_storage_driver": "zfs"}, host)
    converged.set({**ROLES, "docker_log_max_size": "44m"}, TRIXIE)
    try:
        said = converged.aiprov("apply", "--engine", engine, "--limit", f"{host},{TRIXIE}")
        assert said.code == 1
        assert f"{path} was put back" in said.out
        assert converged.lab.run(host, ["cat", path]).stdout == before
        active = converged.lab.run(host, ["systemctl", "is-active", "docker"]).stdout
        assert active == b"active\n"
        other = json.loads(converged.lab.run(TRIXIE, ["cat", path]).stdout)
        assert other["log-opts"]["max-size"] == "44m", "another host was held up by the bad one"
    finally:
        converged.set({}, host)
        converged.set({}, TRIXIE)
    assert converged.aiprov("apply").code == 0


def test_an_unreachable_host_stops_nobody(converged: Site):
    converged.set({"ansible_ssh_timeout": 4}, TRIXIE)
    converged.lab.cut(TRIXIE)
    try:
        said = converged.aiprov("plan", "--json", "--timeout", "60")
    finally:
        converged.lab.restore(TRIXIE)
        converged.set({}, TRIXIE)
    assert said.code == 4
    hosts = said.document["hosts"]
    assert hosts[TRIXIE]["status"] == "unreachable"
    assert hosts[TRIXIE]["error"]["hint"]
    assert hosts[PYINFRA]["status"] == hosts[ANSIBLE]["status"] == "unchanged"


def test_drift_is_seen_and_mended(converged: Site):
    converged.lab.run(ANSIBLE, ["chmod", "600", "/etc/docker/daemon.json"])
    said = converged.aiprov("drift", "--json")
    assert said.code == 2
    assert converged.aiprov("verify").code == 3
    (change,) = said.document["hosts"][ANSIBLE]["plan"]["stages"][0]["changes"][:1]
    assert change["reason"] == "mode is 0600"
    assert converged.aiprov("apply").code == 0
    assert converged.aiprov("verify").code == 0


def test_the_last_run_can_be_reported(converged: Site, tmp_path: Path):
    assert converged.aiprov("verify").code == 0
    page, xml = tmp_path / "run.html", tmp_path / "run.xml"
    subprocess.run(
        [sys.executable, "-m", "aiprov", "report", "--html", page, "--junit", xml],
        check=True,
        env=environment(converged.folder),
    )
    text = page.read_text()
    assert PYINFRA in text
    assert "http" not in text, "the page asks for something that is not in it"
    suites = ET.parse(xml).getroot()
    assert {suite.get("name") for suite in suites} == {PYINFRA, ANSIBLE, TRIXIE}
