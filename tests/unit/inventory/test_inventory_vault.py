"""Vault: whole files and single values, and what must never be seen of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible import constants
from ansible.parsing.vault import PromptVaultSecret, VaultLib, VaultSecret, VaultSecretsContext
from pydantic import SecretStr

from aiprov import inventory, settings
from aiprov.errors import InventoryErrors
from aiprov.settings.check import check
from aiprov.settings.show import show, show_text

PASSWORD = "correct horse"
HOSTS = """\
all:
  hosts:
    h1:
      aiprov_roles: [engine]
      ansible_password: "{{ ssh_secret }}"
"""


def encrypt(text: str, password: str = PASSWORD, label: str | None = None) -> str:
    library = VaultLib([(label or "default", VaultSecret(password.encode()))])
    return library.encrypt(text, vault_id=label).decode()


def inline(text: str, password: str = PASSWORD, label: str | None = None) -> str:
    return "!vault |\n" + "".join(f"  {x}\n" for x in encrypt(text, password, label).splitlines())


@pytest.fixture(autouse=True)
def passwords_of_the_process() -> Iterator[None]:
    """Ansible keeps passwords for as long as the process lives: other tests have none of these."""
    yield
    context = VaultSecretsContext.current(optional=True)
    if context is not None:
        context.secrets.clear()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_roles: None) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "group_vars/all").mkdir(parents=True)
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "group_vars/all/open.yml").write_text(
        f"engine_token: {inline('t0ken')}engine_version: {inline('1.30')}"
    )
    (tmp_path / "group_vars/all/closed.yml").write_text(
        encrypt("ssh_secret: hunter2\nengine_extra: {key: wh0le}\n")
    )
    return tmp_path


def test_values_are_decrypted_and_secrets_stay_secret(root: Path) -> None:
    found = inventory.load(["hosts.yml"], vault_password_files=["password"])
    host = found.hosts[0]
    resolved = settings.resolve("engine", host)
    assert resolved.engine_token == SecretStr("t0ken")
    assert resolved.engine_version == "1.30"
    assert resolved.engine_extra == {"key": "wh0le"}
    assert type(resolved.engine_version) is str
    assert host.connection.password is not None
    assert host.connection.password.reveal() == "hunter2"
    document = show(found)
    said = json.dumps(document) + show_text(document, defaults=True)
    assert not any(secret in said for secret in ("t0ken", "hunter2", "wh0le"))
    said = repr(found) + repr(resolved) + repr(host.connection)
    assert not any(secret in said for secret in ("t0ken", "hunter2"))
    assert host.variables.location("engine_token").line == 1


def test_a_typed_password_is_asked_for_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs of a cluster read the inventory twice: the hosts that are named, and all."""
    asked: list[str] = []

    def typed(secret: PromptVaultSecret) -> None:
        asked.append(secret.vault_id)
        secret._bytes = PASSWORD.encode()

    monkeypatch.setattr(PromptVaultSecret, "load", typed)
    for limit in ("h1", None):
        found = inventory.load(["hosts.yml"], limit=limit, ask_vault=True)
        assert settings.resolve("engine", found.hosts[0]).engine_token == SecretStr("t0ken")
    assert asked == ["default"]


def test_a_vaulted_value_that_plans_show_is_warned_of(root: Path) -> None:
    report = check(lambda: inventory.load(["hosts.yml"], vault_password_files=["password"]))
    assert [w for w in report.warnings if "vault" in w] == [
        "group_vars/all/closed.yml:2: engine_extra is in a vault, but plans show its value",
        "group_vars/all/open.yml:8: engine_version is in a vault, but plans show its value",
    ]


def test_a_fault_in_a_vault_does_not_show_the_value(root: Path) -> None:
    (root / "group_vars/all/open.yml").write_text(f"engine_size: {inline('t0ken')}")
    with pytest.raises(InventoryErrors) as caught:
        settings.resolve_all(inventory.load(["hosts.yml"], vault_password_files=["password"]))
    assert "engine_size: *** should match pattern" in str(caught.value)
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("given", [[], ["wrong"]])
def test_a_single_value_that_cannot_be_decrypted(root: Path, given: list[str]) -> None:
    (root / "group_vars/all/closed.yml").unlink()
    (root / "hosts.yml").write_text("all: {hosts: {h1: {aiprov_roles: [engine]}}}")
    (root / "group_vars/all/open.yml").write_text(f"engine_token: {inline('t0ken')}")
    (root / "wrong").write_text("another")
    if (earlier := VaultSecretsContext.current(optional=True)) is not None:
        earlier.secrets.clear()  # other tests' passwords: Ansible keeps them for the process
    report = check(lambda: inventory.load(["hosts.yml"], vault_password_files=given))
    assert [(error.path, error.line) for error in report.errors] == [("group_vars/all/open.yml", 1)]
    assert "ecrypt" in report.errors[0].message
    assert "--vault-password-file" in str(report.errors[0].hint)


def test_the_configured_password_file_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ansible reads ANSIBLE_VAULT_PASSWORD_FILE and ansible.cfg once, into this constant.
    monkeypatch.setattr(constants, "DEFAULT_VAULT_PASSWORD_FILE", str(root / "password"))
    host = inventory.load(["hosts.yml"]).hosts[0]
    assert host.variables.value("engine_version") == "1.30"


def test_a_password_script_and_a_vault_id(root: Path) -> None:
    (root / "secret.sh").write_text("#!/bin/sh\necho other\n")
    (root / "secret.sh").chmod(0o755)
    (root / "group_vars/all/open.yml").write_text(
        f"engine_token: {inline('by script', 'other', 'prod')}"
    )
    found = inventory.load(
        ["hosts.yml"], vault_password_files=["password"], vault_ids=["prod@secret.sh"]
    )
    assert found.hosts[0].variables.value("engine_token") == "by script"


def test_without_the_password_the_file_and_the_way_out_are_named(root: Path) -> None:
    report = check(lambda: inventory.load(["hosts.yml"]))
    assert len(report.errors) == 1
    assert report.errors[0].path == "group_vars/all/closed.yml"
    assert report.errors[0].hint is not None
    assert "--vault-password-file" in report.errors[0].hint


def test_a_missing_password_file(root: Path) -> None:
    report = check(lambda: inventory.load(["hosts.yml"], vault_password_files=["nowhere"]))
    assert "vault password from 'nowhere'" in report.errors[0].message
