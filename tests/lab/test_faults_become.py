"""Root on a host by sudo: with and without a password, and every way in which it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.constants import DEFAULT_VAULT_ID_MATCH
from ansible.parsing.vault import VaultEditor, VaultLib, VaultSecret

from aiprov.lab import HostSpec, Lab
from tests.lab.commands import Site, site

pytestmark = pytest.mark.lab

HOST = "sudoer"
ENGINES = ("pyinfra", "ansible")
_NUMBERS = iter(range(1, 1000))


@pytest.fixture(scope="module")
def sudoers(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One host, with users ops (password), admin (no password) and guest (not in sudoers)."""
    own = Lab(lab_root / "sudoers")
    own.up([HostSpec(name=HOST)])
    own.run(HOST, ["useradd", "--create-home", "--shell", "/bin/bash", "guest"])
    own.run(HOST, ["cp", "-r", "/home/ops/.ssh", "/home/guest/"])
    own.run(HOST, ["chown", "-R", "guest:", "/home/guest/.ssh"])
    own.run(HOST, ["chpasswd"], stdin=b"guest:guests-password\n")
    yield site(own, tmp_path_factory.mktemp("sudoers") / "site")
    own.down()


KEY = "net.ipv4.tcp_fin_timeout"


def wanted(sudoers: Site, user: str, **more: Any) -> str:
    """Ask for a change by this user; returns the value that the host then has."""
    value = str(100 + next(_NUMBERS))
    given = {"ansible_become": True, **more}
    variables = {"ansible_user": user, **{k: v for k, v in given.items() if v is not None}}
    sudoers.set({"aiprov_roles": ["base"], "base_sysctls": {KEY: value}, **variables})
    return value


def now(sudoers: Site) -> str:
    path = f"/proc/sys/{KEY.replace('.', '/')}"
    return sudoers.lab.run(HOST, ["cat", path]).stdout.decode().strip()


@pytest.mark.parametrize("engine", ENGINES)
def test_sudo_without_a_password(sudoers: Site, engine: str):
    value = wanted(sudoers, "admin")
    said = sudoers.aiprov("apply", "--engine", engine)
    assert said.code == 0, said.out + said.err
    assert now(sudoers) == value
    assert sudoers.aiprov("plan").code == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_vaulted_sudo_password(sudoers: Site, tmp_path: Path, engine: str):
    value = wanted(sudoers, "ops")
    word = tmp_path / "vault-word"
    word.write_text("open sesame\n")
    vaulted = sudoers.folder / "host_vars" / f"{HOST}.yml"
    sudoers.set({"ansible_become_password": sudoers.lab.ops_password}, HOST)
    secret = VaultSecret(b"open sesame")
    VaultEditor(VaultLib([(DEFAULT_VAULT_ID_MATCH, secret)])).encrypt_file(str(vaulted), secret)
    try:
        given = ("--vault-password-file", str(word))
        said = sudoers.aiprov("apply", "--engine", engine, *given)
        assert said.code == 0, said.out + said.err
        assert sudoers.aiprov("plan", *given).code == 0
        assert now(sudoers) == value
        value = wanted(sudoers, "ops")
        typed = "open sesame\n"
        said = sudoers.aiprov("apply", "--engine", engine, "--ask-vault-pass", stdin=typed)
        assert said.code == 0, said.out + said.err
    finally:
        vaulted.unlink()
    assert now(sudoers) == value


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sudo_password_that_is_typed(sudoers: Site, engine: str):
    value = wanted(sudoers, "ops", ansible_become=None)
    typed = f"{sudoers.lab.ops_password}\n"
    said = sudoers.aiprov("apply", "-b", "-K", "--engine", engine, stdin=typed)
    assert said.code == 0, said.out + said.err
    assert now(sudoers) == value
    assert sudoers.aiprov("plan", "-b", "-K", stdin=typed).code == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("user", "password", "message", "hint"),
    [
        ("ops", "not the password", "wrong password for sudo", "ansible_become_password"),
        ("ops", None, "sudo to root wants a password", "ansible_become_password"),
        ("guest", "guests-password", "guest may not become root", "/etc/sudoers.d"),
    ],
)
def test_refused(
    sudoers: Site, engine: str, user: str, password: str | None, message: str, hint: str
):
    before = now(sudoers)
    given = {} if password is None else {"ansible_become_password": password}
    wanted(sudoers, user, **given)
    said = sudoers.aiprov("apply", "--engine", engine)
    assert said.code == 1
    assert f"{HOST}: failed: {message}" in said.out
    assert hint in said.out.partition("hint:")[2]
    assert "Traceback" not in said.out + said.err
    assert now(sudoers) == before


def test_a_login_that_is_not_root_and_may_not_become_it(sudoers: Site):
    before = now(sudoers)
    wanted(sudoers, "admin", ansible_become=False)
    said = sudoers.aiprov("apply")
    assert said.code == 1
    assert HOST in said.out
    assert "ansible_become" in said.out.partition("hint:")[2]
    assert now(sudoers) == before
