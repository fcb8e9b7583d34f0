"""``ansible-playbook playbooks/site.yml`` on real hosts, as ops engineers use it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from aiprov import collection
from aiprov.lab import HostSpec, Lab
from tests.lab.commands import ROLES, Said, Site, site, snapshot
from tests.lab.conftest import LabHost

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = "bookone", "booktwo"
PASSWORD = "Zq4-in-a-proxy-url"
NOTHING_CHANGED = re.compile(r"^\S+ +: ok=\d+ +changed=0 .* failed=0 ", re.M)


def play(
    where: Site, *arguments: str, book: str = "site", timeout: float = 900, **settings: str
) -> Said:
    """Run a playbook of the project with the site's inventory."""
    collection.link(ROOT)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", *where.inventory),
            *(*arguments, f"playbooks/{book}.yml"),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": "ansible.cfg", **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def recap(said: Said) -> dict[str, dict[str, int]]:
    """The last lines, by host."""
    lines = said.out.partition("PLAY RECAP")[2].splitlines()
    found = (re.match(r"(\S+) +: (.*)", line) for line in lines)
    return {
        line[1]: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line[2])}
        for line in found
        if line
    }


@pytest.fixture(scope="module")
def plain(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two plain hosts, Debian 12 and 13."""
    own = Lab(lab_root / "playbooks")
    own.up([HostSpec(name=ONE), HostSpec(name=TWO, suite="trixie")])
    yield site(own, tmp_path_factory.mktemp("playbooks") / "site")
    own.down()


@pytest.fixture(scope="module")
def converged(plain: Site) -> Site:
    """The same hosts after a check, which touched nothing, and a run."""
    before = snapshot(plain.lab, ONE)
    checked = play(plain, "--check", "--diff", "--limit", ONE)
    assert checked.code == 0, checked.out + checked.err
    assert snapshot(plain.lab, ONE) == before, "--check touched the host"
    assert "+++ after: File[/etc/hosts]: content differs" in checked.out
    assert f" {TWO}\n" in checked.out, "the diff shows the new text"
    assert "unknown until" in checked.out
    assert recap(checked)[ONE]["changed"] == 3

    done = play(plain)
    assert done.code == 0, done.out + done.err
    assert {host: line["changed"] for host, line in recap(done).items()} == {ONE: 3, TWO: 3}
    return plain


def test_a_second_run_changes_nothing(converged: Site):
    for arguments in ([], ["--check", "--diff"]):
        said = play(converged, *arguments)
        assert said.code == 0
        assert len(NOTHING_CHANGED.findall(said.out)) == 2, said.out
        assert "+++" not in said.out


def test_verify_says_whether_all_is_as_wanted(converged: Site):
    assert play(converged, book="verify").code == 0
    converged.lab.run(ONE, ["truncate", "-s", "0", "/etc/docker/daemon.json"])
    said = play(converged, book="verify")
    assert said.code == 2
    assert recap(said)[ONE]["failed"] == 1
    assert recap(said)[TWO]["failed"] == 0
    assert "File[/etc/docker/daemon.json]: content differs" in said.out
    mended = play(converged, "--limit", ONE)
    assert recap(mended)[ONE]["changed"] == 1
    assert play(converged, book="verify").code == 0


def test_limit_and_tags_narrow_a_run(converged: Site):
    for host in (ONE, TWO):
        converged.lab.run(host, ["chmod", "600", "/etc/hosts", "/etc/docker/daemon.json"])
    said = play(converged, "--limit", ONE, "--tags", "docker", "--diff")
    assert recap(said) == {ONE: recap(said)[ONE]}
    assert recap(said)[ONE]["changed"] == 1
    assert "-mode: 0600\n+mode: 0644" in said.out
    modes = {
        host: converged.lab.run(host, ["stat", "-c", "%a", "/etc/hosts", "/etc/docker/daemon.json"])
        for host in (ONE, TWO)
    }
    assert modes[ONE].stdout.split() == [b"600", b"644"]
    assert modes[TWO].stdout.split() == [b"600", b"600"]
    assert {line["changed"] for line in recap(play(converged)).values()} == {1, 2}


def test_serial(converged: Site):
    said = play(converged, "-e", "aiprov_serial=1", "--tags", "base")
    assert said.out.count("PLAY [") == 2
    assert len(NOTHING_CHANGED.findall(said.out)) == 2


def test_become_with_a_password(converged: Site, tmp_path: Path):
    """As another user; with and without pipelining."""
    text = converged.lab.inventory.read_text()
    (tmp_path / "hosts.yml").write_text(text.replace('"root"', '"ops"'))
    as_ops = ["-i", str(tmp_path / "hosts.yml"), "--become", "--limit", ONE]
    as_ops += ["-e", "ansible_become_password={{ lookup('env', 'OPS_PASSWORD') }}"]
    password = converged.lab.ops_password
    for pipelining in ("true", "false"):
        converged.lab.run(ONE, ["chmod", "600", "/etc/hosts"])
        said = play(converged, *as_ops, OPS_PASSWORD=password, ANSIBLE_PIPELINING=pipelining)
        assert recap(said)[ONE]["changed"] == 1, said.out
        assert password not in said.out + said.err
    said = play(converged, *as_ops, OPS_PASSWORD="wrong")
    assert said.code == 2
    assert "privilege escalation was refused" in said.out + said.err
    assert "hint: give the password with --ask-become-pass" in said.out + said.err


def test_vault_and_secrets(converged: Site, tmp_path: Path):
    (tmp_path / "key").write_text("a vault's password\n")
    vault = ["--vault-password-file", str(tmp_path / "key")]
    url = f"http://user:{PASSWORD}@proxy.invalid:3128"
    encrypted = subprocess.run(
        [sys.executable, "-m", "ansible", "vault", "encrypt_string", *vault, url, "--name", "x"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    variables = converged.folder / "host_vars" / ONE / "proxy.yml"
    variables.parent.mkdir(parents=True)
    variables.write_text(encrypted.replace("x:", "base_https_proxy:", 1))
    try:
        first = play(converged, "--limit", ONE, "--tags", "base", "--diff", "-vvv", *vault)
        second = play(converged, "--limit", ONE, "--tags", "base", "--diff", *vault)
    finally:
        variables.unlink()
        variables.parent.rmdir()
    assert first.code == 0, first.out + first.err
    assert recap(first)[ONE]["changed"] == 1
    assert "(secret)" in first.out
    assert PASSWORD not in first.out + first.err
    assert recap(second)[ONE]["changed"] == 0
    found = converged.lab.run(ONE, ["grep", "-rl", PASSWORD, "/etc", "/root", "/tmp", "/var/log"])
    assert all(path.startswith("/etc/") for path in found.stdout.decode().split())
    log = converged.lab.run(ONE, ["journalctl", "--no-pager", "-o", "json"]).stdout
    assert PASSWORD.encode() not in log
    third = play(converged, "--limit", ONE, "--tags", "base")
    assert recap(third)[ONE]["changed"] == 1, "a proxy that is no longer asked for stays"
    assert converged.lab.run(
        ONE, ["ls", "/etc/apt/apt.conf.d/91aiprov-proxy"], check=False
    ).returncode


def test_a_variable_that_is_wrong_is_told_before_anything_is_done(converged: Site):
    said = play(converged, "--limit", ONE, "-e", '{"docker_log_max_fiel": 3}', "--tags", "docker")
    assert said.code == 2
    assert "docker_log_max_fiel: role docker has no such variable" in said.out + said.err
    assert "docker_log_max_file" in said.out + said.err


def test_a_host_that_is_gone_stops_nobody(converged: Site, tmp_path: Path):
    gone = {"all": {"hosts": {"gone": {"ansible_host": "192.0.2.1", "ansible_ssh_timeout": 2}}}}
    (tmp_path / "more.yml").write_text(yaml.safe_dump(gone))
    said = play(converged, "-i", str(tmp_path / "more.yml"), "--tags", "docker")
    assert said.code == 4
    assert recap(said)["gone"]["unreachable"] == 1
    assert all(recap(said)[host]["failed"] == 0 for host in (ONE, TWO))


def test_a_config_that_breaks_the_daemon_is_put_back(converged: Site):
    before = converged.lab.run(ONE, ["cat", "/etc/docker/daemon.json"]).stdout
    wrong = ["-e", '{"docker_config_extra": {"bridge": "none", "bip": "10.9.8.1/24"}}']
    said = play(converged, "--limit", ONE, "--tags", "docker", *wrong)
    assert said.code == 2
    assert recap(said)[ONE]["failed"] == 1
    assert converged.lab.run(ONE, ["cat", "/etc/docker/daemon.json"]).stdout == before
    assert converged.lab.run(ONE, ["systemctl", "is-active", "docker"]).stdout == b"active\n"


def test_the_survey_without_standard_input(converged: Site):
    """Become by su takes no standard input: the survey then goes as a file, and leaves none."""
    said = play(
        converged,
        *("--limit", ONE, "--become", "-e", "ansible_become_method=su"),
        *("-e", "ansible_become_user=root", "-vvv"),
        ANSIBLE_BECOME_ALLOW_SAME_USER="true",
    )
    assert said.code == 0, said.out + said.err
    assert recap(said)[ONE]["changed"] == 0
    assert re.search(r"PUT \S+ TO \S+/survey", said.out)
    left = converged.lab.run(ONE, ["find", "/root/.ansible/tmp", "-type", "f"]).stdout
    assert left == b""


def test_bootstrap_brings_python(make_host: Callable[..., LabHost], tmp_path: Path):
    host = make_host(python=False)
    bare = site(host.lab, tmp_path / "site", {**ROLES, "aiprov_roles": ["base"]})
    said = play(bare)
    assert said.code == 2
    assert "there is no Python 3.6 or later" in said.out
    assert "hint: install the system's own: ansible-playbook aiprov.core.bootstrap" in said.out
    first = play(bare, book="bootstrap")
    assert first.code == 0, first.out + first.err
    assert recap(first)[host.name]["changed"] == 2
    assert recap(play(bare, book="bootstrap"))[host.name]["changed"] == 0
    assert play(bare).code == 0
