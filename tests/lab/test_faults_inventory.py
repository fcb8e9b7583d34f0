"""What a user is told of an inventory that is wrong: where, what, and the way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible.constants import DEFAULT_VAULT_ID_MATCH
from ansible.parsing.vault import VaultEditor, VaultLib, VaultSecret

from tests.lab.commands import Said, environment

pytestmark = pytest.mark.lab

HOSTS = """\
gpu:
  hosts:
    gpu01: {ansible_host: 192.0.2.1}
    gpu02: {ansible_host: 192.0.2.2}
  vars:
    aiprov_roles: [base, docker]
"""


def aiprov(folder: Path, verb: str, *arguments: str) -> Said:
    done = subprocess.run(
        [sys.executable, "-m", "aiprov", verb, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment(folder),
        start_new_session=True,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def inventory(folder: Path, line: str = "", hosts: str = HOSTS) -> Path:
    """An inventory whose hosts are at addresses that nobody answers at."""
    path = folder / "hosts.yml"
    path.write_text(hosts + (f"    {line}\n" if line else ""))
    return path


@pytest.mark.parametrize("verb", ["plan", "apply"])
@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("docker_log_max_sise: 1m", "docker_log_max_sise", "did you mean docker_log_max_size?"),
        ("docker_log_max_file: many", "docker_log_max_file", "not a whole number"),
        ("docker_log_max_file: 0", "docker_log_max_file", "1"),
        ("docker_source: snap", "docker_source", "docker"),
        ("base_sysctls: 7", "base_sysctls", ""),
    ],
)
def test_a_wrong_setting(tmp_path: Path, verb: str, line: str, message: str, hint: str):
    path = inventory(tmp_path, line)
    said = aiprov(tmp_path, verb, "-i", str(path))
    assert said.code == 1
    assert f"{path}:7" in said.err
    assert message in said.err
    assert hint in said.err
    assert "Traceback" not in said.out + said.err


def test_every_fault_is_told_at_once(tmp_path: Path):
    path = inventory(tmp_path, "docker_log_max_sise: 1m\n    docker_log_max_file: many")
    said = aiprov(tmp_path, "plan", "-i", str(path))
    assert said.code == 1
    assert f"{path}:7" in said.err
    assert f"{path}:8" in said.err


def test_an_unknown_role(tmp_path: Path):
    path = inventory(tmp_path, hosts=HOSTS.replace("[base, docker]", "[base, dokcer]"))
    said = aiprov(tmp_path, "apply", "-i", str(path))
    assert said.code == 1
    assert f"{path}:6" in said.err
    assert "dokcer" in said.err
    assert "did you mean docker?" in said.err
    said = aiprov(tmp_path, "apply", "-i", str(inventory(tmp_path)), "--role", "dokcer")
    assert said.code == 1
    assert "dokcer" in said.err
    assert "docker" in said.err.replace("dokcer", "")


@pytest.mark.parametrize(
    ("text", "line"),
    [("gpu:\n  hosts:\n    gpu01: {ansible_host: [\n", ":"), ("gpu:\n\thosts: {}\n", ":2")],
)
def test_yaml_that_cannot_be_read(tmp_path: Path, text: str, line: str):
    path = inventory(tmp_path, hosts=text)
    said = aiprov(tmp_path, "plan", "-i", str(path))
    assert said.code == 1
    assert f"{path}{line}" in said.err
    assert "Traceback" not in said.err


def test_a_file_that_is_not_there(tmp_path: Path):
    said = aiprov(tmp_path, "plan", "-i", str(tmp_path / "nowhere.yml"))
    assert said.code == 1
    assert str(tmp_path / "nowhere.yml") in said.err
    assert "Traceback" not in said.err


def test_a_limit_that_names_nobody(tmp_path: Path):
    said = aiprov(tmp_path, "apply", "-i", str(inventory(tmp_path)), "--limit", "gpu07")
    assert said.code == 1
    assert "gpu07" in said.err
    assert "Traceback" not in said.err


def test_a_wrong_vault_password(tmp_path: Path):
    path = inventory(tmp_path)
    vaulted = tmp_path / "group_vars" / "gpu.yml"
    vaulted.parent.mkdir()
    vaulted.write_text("docker_http_proxy: http://me:word@proxy:3128\n")
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("right one\n")
    wrong.write_text("wrong one\n")
    secret = VaultSecret(b"right one")
    VaultEditor(VaultLib([(DEFAULT_VAULT_ID_MATCH, secret)])).encrypt_file(str(vaulted), secret)
    checked = ("check", "-i", str(path), "--vault-password-file")
    assert aiprov(tmp_path, "inventory", *checked, str(right)).code == 0
    for arguments in ((), ("--vault-password-file", str(wrong))):
        said = aiprov(tmp_path, "apply", "-i", str(path), *arguments)
        assert said.code == 1
        assert str(vaulted) in said.err
        assert "vault" in said.err.lower()
        assert "--vault-password-file" in said.err
        assert "Traceback" not in said.err
    said = aiprov(tmp_path, "inventory", *checked, str(tmp_path / "nothing"))
    assert said.code == 1
    assert str(tmp_path / "nothing") in said.out + said.err
