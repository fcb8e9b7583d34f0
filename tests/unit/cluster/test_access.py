"""Secrets that are made once, and kubeconfigs that no host is asked for."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultSecretsContext
from click.testing import CliRunner, Result

from aiprov.cli import root
from aiprov.cluster import access
from aiprov.cluster_secrets import store
from aiprov.errors import AiprovError, InventoryError, UsageError

HOSTS = """\
all:
  vars: {aiprov_roles: [base, kubernetes], kubernetes_version: 1.36.4, MORE}
  children:
    kube_control_plane: {hosts: {cp1: {ansible_host: 10.0.0.5}, PLANES}}
    kube_worker: {hosts: {gpu1: {}}}
"""


@pytest.fixture(autouse=True)
def _own_vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Vault passwords are the process's: each test begins without any."""
    known = VaultSecretsContext.current(optional=True)
    before = list(known.secrets) if known is not None else []
    if known is not None:
        known.secrets.clear()
    yield
    known = VaultSecretsContext.current(optional=True)
    if known is not None:
        known.secrets[:] = before


@pytest.fixture
def prod(tmp_path: Path) -> Path:
    """An inventory of one control plane, and a password file beside it."""
    write(tmp_path)
    (tmp_path / "password").write_text("correct horse\n")
    return tmp_path


def write(folder: Path, more: str = "", planes: str = "") -> None:
    text = HOSTS.replace(", MORE", f", {more}" if more else "")
    folder.joinpath("hosts.yml").write_text(
        text.replace(", PLANES", f", {planes}" if planes else "")
    )


def aiprov(prod: Path, *words: str, password: bool = True) -> Result:
    flags = ["-i", str(prod / "hosts.yml")]
    if password:
        flags += ["--vault-password-file", str(prod / "password")]
    return CliRunner().invoke(root, [*words, *flags], standalone_mode=False)


def failed(result: Result) -> AiprovError:
    assert isinstance(result.exception, AiprovError), result.output
    return result.exception


@pytest.fixture(scope="session")
def laid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The secrets of one cluster, as a file: to make them takes seconds."""
    folder = tmp_path_factory.mktemp("made")
    write(folder)
    (folder / "password").write_text("correct horse\n")
    result = aiprov(folder, "cluster", "secrets")
    assert result.exception is None, result.output
    return (folder / "group_vars" / store.NAME).read_bytes()


@pytest.fixture
def made(prod: Path, laid: bytes) -> Path:
    (prod / "group_vars").mkdir()
    (prod / "group_vars" / store.NAME).write_bytes(laid)
    return prod


# ---------------------------------------------------------------- secrets


def test_secrets_are_made_and_told_where(prod: Path):
    result = aiprov(prod, "cluster", "secrets")
    file = prod / "group_vars" / store.NAME
    assert result.return_value == 0
    assert f"git add {file}" in result.output
    assert "sha256:" in result.output
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("$ANSIBLE_VAULT")


def test_secrets_that_are_there_stay(made: Path, laid: bytes):
    error = failed(aiprov(made, "cluster", "secrets"))
    assert isinstance(error, InventoryError)
    assert error.exit_code == 1
    assert "never overwritten" in error.message
    assert error.hint
    assert (made / "group_vars" / store.NAME).read_bytes() == laid


def test_without_a_password_nothing_is_made(prod: Path):
    error = failed(aiprov(prod, "cluster", "secrets", password=False))
    assert "--vault-password-file" in str(error.hint)
    assert not (prod / "group_vars" / store.NAME).exists()


def test_what_is_shown_of_secrets_is_none_of_them(made: Path):
    result = aiprov(made, "cluster", "secrets", "--show", "--json")
    document = json.loads(result.stdout)
    assert document["authorities"]["ca"]["days_left"] in (3649, 3650)
    assert document["ca_hash"].startswith("sha256:")
    assert "PRIVATE" not in result.output
    text = aiprov(made, "cluster", "secrets", "--show").output
    assert "front_proxy_ca" in text
    assert "PRIVATE" not in text


# ---------------------------------------------------------------- kubeconfig


def document(result: Result) -> dict[str, dict[str, str]]:
    """Of a kubeconfig: the cluster, the user's certificate and who that is."""
    assert result.exception is None, result.exception
    read = yaml.safe_load(result.stdout)
    own = base64.b64decode(read["users"][0]["user"]["client-certificate-data"])
    words = ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253"]
    subject = subprocess.run(words, input=own, capture_output=True, check=True).stdout.decode()
    return {
        "cluster": read["clusters"][0]["cluster"],
        "who": dict(part.split("=") for part in subject.strip()[8:].split(",")),
    }


@pytest.mark.parametrize(
    ("more", "words", "who"),
    [
        ("", (), {"CN": "kubernetes-admin", "O": "kubeadm:cluster-admins"}),
        ("", ("--emergency",), {"CN": "kubernetes-super-admin", "O": "system:masters"}),
        ("", ("--user", "ada", "--group", "dev"), {"CN": "ada", "O": "dev"}),
        ("", ("--user", "ada"), {"CN": "ada"}),
    ],
)
def test_whose_it_is(made: Path, more: str, words: tuple[str, ...], who: dict[str, str]):
    assert document(aiprov(made, "kubeconfig", *words))["who"] == who


ENDPOINTS = {
    "the only one's address": ("", "", "10.0.0.5:6443"),
    "its port": ("kubernetes_api_port: 7443", "", "10.0.0.5:7443"),
    "its own address": ("kubernetes_node_address: ['fd00::5']", "", "[fd00::5]:6443"),
    "given": (
        "kubernetes_endpoint: 'k8s.example.org:443'", "cp2: {}, cp3: {}", "k8s.example.org:443",
    ),
    "haproxy": (
        "kubernetes_vip: 10.0.0.9, kubernetes_endpoint_by: haproxy", "", "10.0.0.9:8443",
    ),
    "kube-vip": (
        "kubernetes_vip: 10.0.0.9, kubernetes_endpoint_by: kube-vip", "", "10.0.0.9:6443",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDPOINTS)
def test_where_it_leads(made: Path, name: str):
    more, planes, wanted = ENDPOINTS[name]
    write(made, more, planes)
    assert document(aiprov(made, "kubeconfig"))["cluster"]["server"] == f"https://{wanted}"


def test_another_way_may_be_given(made: Path):
    found = document(aiprov(made, "kubeconfig", "--server", "localhost:16443"))
    assert found["cluster"]["server"] == "https://localhost:16443"


REFUSED = {
    "no endpoint": ("", "cp2: {}, cp3: {}", (), "no endpoint"),
    "groups of nobody": ("", "", ("--group", "dev"), "--group without --user"),
    "nobody": ("", "", ("--user", ""), "nobody's"),
    "a limit": ("", "", ("-l", "cp1"), "--limit"),
    "two at once": ("", "", ("--emergency", "--user", "ada"), "--emergency"),
    "too long": ("", "", ("--days", "3650"), "outlives"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_said(made: Path, name: str):
    more, planes, words, said = REFUSED[name]
    write(made, more, planes)
    error = failed(aiprov(made, "kubeconfig", *words))
    assert said in error.message
    assert error.hint


def test_without_a_cluster_there_is_no_access(prod: Path):
    (prod / "hosts.yml").write_text("all: {hosts: {web1: {}}}\n")
    error = failed(aiprov(prod, "kubeconfig"))
    assert "kube_control_plane" in error.message


def test_a_file_is_its_owners_alone_and_renewed_at_will(made: Path):
    file = made / "kubeconfig"
    for _ in range(2):
        result = aiprov(made, "kubeconfig", "-o", str(file))
        assert result.return_value == 0
        assert result.stdout == ""
        assert file.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in made.iterdir()} == {
        "group_vars", "hosts.yml", "kubeconfig", "password",
    }  # fmt: skip


OTHERS = {
    "another cluster": (
        "clusters: [{name: a, cluster: {server: 'https://other:6443', "
        "certificate-authority-data: eA==}}]\n",
        "https://other:6443",
    ),
    "no kubeconfig": ("hello\n", "no kubeconfig"),
    "no text": ("\udcff", "no kubeconfig"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_of_something_else_is_never_replaced(made: Path, name: str):
    text, said = OTHERS[name]
    file = made / "kubeconfig"
    file.write_text(text, errors="surrogateescape")
    error = failed(aiprov(made, "kubeconfig", "-o", str(file)))
    assert isinstance(error, UsageError)
    assert said in error.message
    assert "-o" in str(error.hint)
    assert file.read_text(errors="surrogateescape") == text


def test_a_folder_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(UsageError) as caught:
        access.write_kubeconfig(tmp_path / "no" / "file", "clusters: []\n")
    assert os.strerror(2) in caught.value.message
