"""The vaulted file: what ansible-vault reads of it, what is refused, and what is never lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.parsing.vault import VaultLib, VaultSecretsContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from aiprov import inventory
from aiprov.cluster_secrets import ClusterSecrets, document, make, store
from aiprov.errors import InventoryError
from aiprov.resources import Secret
from tests.unit.cluster_secrets.conftest import NOW, PASSWORD, vault

BIN = Path(sys.executable).parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "group_vars" / store.NAME


@pytest.fixture
def saved(path: Path, cluster: ClusterSecrets) -> Path:
    store.save(path, cluster, vault())
    return path


def sealed(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(VaultLib(vault()).encrypt(text))
    return path


def another(cluster: ClusterSecrets, letter: str) -> ClusterSecrets:
    return replace(cluster, bootstrap_token=Secret(f"{letter * 6}.{letter * 16}"))


def test_what_is_saved_is_loaded(saved: Path, cluster: ClusterSecrets):
    assert store.load(saved, vault(), NOW) == cluster


def test_ansible_vault_opens_it(saved: Path, cluster: ClusterSecrets, tmp_path: Path):
    (tmp_path / "password").write_text(PASSWORD)
    shown = subprocess.run(
        [BIN / "ansible-vault", "view", "--vault-password-file", tmp_path / "password", saved],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert yaml.safe_load(shown)["ca"]["certificate"] == cluster.ca.certificate
    assert cluster.ca.certificate.splitlines()[5] in map(str.strip, shown.splitlines())


def test_the_file_shows_nothing_and_is_its_owners_alone(path: Path, cluster: ClusterSecrets):
    before = os.umask(0)
    try:
        store.save(path, cluster, vault())
    finally:
        os.umask(before)
    assert path.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [store.NAME]


def test_it_is_never_overwritten(saved: Path, cluster: ClusterSecrets):
    before = saved.read_bytes()
    with pytest.raises(InventoryError, match="never overwritten") as raised:
        store.save(saved, another(cluster, "x"), vault())
    assert raised.value.path == str(saved)
    assert raised.value.hint
    assert saved.read_bytes() == before
    assert [each.name for each in saved.parent.iterdir()] == [store.NAME]


def test_of_two_that_save_at_once_one_wins(path: Path, cluster: ClusterSecrets):
    start, outcomes = threading.Barrier(4), []

    def save(letter: str) -> None:
        mine = another(cluster, letter)
        start.wait()
        try:
            store.save(path, mine, vault())
        except InventoryError:
            outcomes.append(None)
        else:
            outcomes.append(mine)

    threads = [threading.Thread(target=save, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [each for each in outcomes if each is not None]
    assert winners == [store.load(path, vault(), NOW)]


def test_a_password_that_does_not_encrypt_opens_it_too(saved: Path, cluster: ClusterSecrets):
    assert store.load(saved, vault("another", PASSWORD), NOW) == cluster


# ---------------------------------------------------------------- passwords


def test_without_a_password_nothing_is_written(path: Path, cluster: ClusterSecrets):
    with pytest.raises(InventoryError, match="never written in the open") as raised:
        store.save(path, cluster, [])
    assert "--vault-password-file" in str(raised.value.hint)
    assert not path.parent.exists()


def test_of_several_passwords_one_has_to_be_named(
    path: Path, cluster: ClusterSecrets, monkeypatch: pytest.MonkeyPatch
):
    known = [*vault("staging", name="staging"), *vault("production", name="prod")]
    with pytest.raises(
        InventoryError, match=r"several vault passwords .*: staging, prod"
    ) as raised:
        store.save(path, cluster, known)
    assert "vault_encrypt_identity" in str(raised.value.hint)
    with pytest.raises(InventoryError, match="no password for vault id 'lab'"):
        store.save(path, cluster, known, identity="lab")
    monkeypatch.setattr(constants, "DEFAULT_VAULT_ENCRYPT_IDENTITY", "prod")
    store.save(path, cluster, known)
    assert path.read_text().startswith("$ANSIBLE_VAULT;1.2;AES256;prod\n")


def test_the_same_password_twice_is_one(path: Path, cluster: ClusterSecrets):
    store.save(path, cluster, [*vault(), *vault()])


def test_the_inventorys_passwords_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(VaultSecretsContext, "_current", None)
    assert list(store.vault_secrets()) == []
    (tmp_path / "hosts.yml").write_text("all: {hosts: {n1: {}}}\n")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    for _ in range(2):
        inventory.load(
            [str(tmp_path / "hosts.yml")], vault_password_files=[str(tmp_path / "password")]
        )
    assert [(name, secret.bytes) for name, secret in store.vault_secrets()] == [
        ("default", PASSWORD.encode())
    ]


# ---------------------------------------------------------------- files that are refused


def changed(cluster: ClusterSecrets, **values: object) -> str:
    loaded = yaml.safe_load(document.text(cluster))
    return yaml.safe_dump({**loaded, **values})


def refusal(path: Path, known: object = None) -> InventoryError:
    with pytest.raises(InventoryError) as raised:
        store.load(path, vault() if known is None else known, NOW)
    assert raised.value.path == str(path)
    assert raised.value.hint, raised.value.message
    return raised.value


def test_no_file(path: Path):
    found = refusal(path)
    assert found.message == "there are no cluster secrets"
    assert "aiprov cluster secrets -i INVENTORY --vault-password-file FILE" in str(found.hint)


def test_a_folder_in_its_place(path: Path):
    path.mkdir(parents=True)
    assert "cannot be read" in refusal(path).message


def test_no_password(saved: Path):
    found = refusal(saved, [])
    assert found.message == "the cluster secrets are encrypted, and there is no vault password"
    assert "--vault-password-file" in str(found.hint)


def test_a_wrong_password(saved: Path):
    found = refusal(saved, vault("wrong"))
    assert "no vault password opens the cluster secrets" in found.message


def test_not_encrypted(saved: Path, cluster: ClusterSecrets):
    saved.write_text(document.text(cluster))
    found = refusal(saved)
    assert found.message == "the cluster secrets are not encrypted"
    assert found.hint == f"ansible-vault encrypt {saved}"


def test_a_later_format(path: Path, cluster: ClusterSecrets):
    found = refusal(sealed(path, changed(cluster, format_version=2, ca="elsewhere")))
    assert found.message.startswith("format_version 2 is later than")
    assert "later one" in str(found.hint)


def test_an_expired_authority(saved: Path):
    after = NOW + timedelta(days=3650, seconds=1)
    with pytest.raises(InventoryError, match="ca has expired on 2036-11-18") as raised:
        store.load(saved, vault(), after)
    assert "rotation" in str(raised.value.hint)
    assert store.load(saved, vault(), after - timedelta(seconds=1))


def test_a_clock_that_is_wrong(saved: Path):
    with pytest.raises(InventoryError, match="valid only from 2026-11-21 12:25") as raised:
        store.load(saved, vault(), NOW - timedelta(hours=1))
    assert raised.value.hint == "set the controller's clock"


DAMAGE = {
    "empty": ("", "it is not a mapping"),
    "not YAML": ("ca: [", "it is not YAML"),
    "a date that is none": ("created: 2026-99-99", "it is not YAML"),
    "no version": ({"format_version": None}, "format_version"),
    "a version that is a truth": ({"format_version": True}, "format_version"),
    "no CA": ({"ca": None}, "ca.certificate is missing"),
    "a CA without a key": ({"ca": {"certificate": "x"}}, "ca.key is missing"),
    "no certificate": ({"etcd_ca": {"certificate": "x", "key": "y"}}, "etcd_ca is not a cert"),
    "a token of old form": ({"bootstrap_token": "abc"}, "bootstrap_token is missing or"),
    "a short key": ({"encryption_key": "AAAA"}, "encryption_key is missing or"),
    "no encryption key": ({"encryption_key": None}, "encryption_key is missing or"),
    "a number for a key": ({"encryption_key": 12}, "encryption_key is missing or"),
    "no key pair": (
        {"service_account": {"public": "x", "private": "y"}},
        "service_account is not an RSA key pair",
    ),
    "no moment": ({"created": "yesterday"}, "created is not a time"),
    "a moment of no place": ({"created": "2026-11-21T00:00:00"}, "created has no time zone"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file(name: str, path: Path, cluster: ClusterSecrets):
    given, message = DAMAGE[name]
    text = given if isinstance(given, str) else changed(cluster, **given)
    found = refusal(sealed(path, text)).message
    assert found.startswith(f"the cluster secrets are damaged: {message}")


def test_parts_that_do_not_belong_together(path: Path, cluster: ClusterSecrets):
    other = make(NOW, years=1)
    mixed = {
        "front_proxy_ca: the key does not belong": replace(
            cluster, front_proxy_ca=replace(cluster.front_proxy_ca, key=other.ca.key)
        ),
        "service_account: the public key does not belong": replace(
            cluster, service_account=replace(cluster.service_account, public=other.ca.certificate)
        ),
    }
    for message, secrets in mixed.items():
        assert message in refusal(sealed(path, document.text(secrets))).message


def test_a_certificate_that_is_no_authoritys(path: Path, cluster: ClusterSecrets):
    from aiprov.cluster_secrets import client_certificate

    leaf = client_certificate(cluster, "ada", [], NOW, 1)
    found = refusal(sealed(path, document.text(replace(cluster, ca=leaf))))
    assert "ca is not an authority's certificate" in found.message


def test_an_error_never_quotes_the_document(path: Path, cluster: ClusterSecrets):
    token = cluster.bootstrap_token.reveal()
    for text in (f"bootstrap_token: '{token}", changed(cluster, bootstrap_token=f"{token}X")):
        found = refusal(sealed(path, text))
        assert token not in f"{found} {found.hint} {found.__cause__!r}"


FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(data=some.data())
def test_a_file_cut_or_changed_anywhere_is_refused_or_whole(
    data: some.DataObject, path: Path, cluster: ClusterSecrets
):
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        store.save(path, cluster, vault())
    whole = path.read_bytes()
    at = data.draw(some.integers(0, len(whole) - 1))
    instead = data.draw(some.one_of(some.none(), some.binary(min_size=0, max_size=3)))
    torn = path.with_name("torn.yml")
    torn.write_bytes(whole[:at] if instead is None else whole[:at] + instead + whole[at + 1 :])
    try:
        assert store.load(torn, vault(), NOW) == cluster
    except InventoryError as error:
        assert error.hint


@FUZZ
@given(
    value=some.recursive(
        some.none() | some.booleans() | some.integers() | some.text(),
        lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
        max_leaves=4,
    ),
    data=some.data(),
)
def test_any_value_in_any_place_is_refused_or_taken(
    value: object, data: some.DataObject, cluster: ClusterSecrets
):
    loaded = yaml.safe_load(document.text(cluster))
    name = data.draw(some.sampled_from(sorted(loaded)))
    try:
        document.parse(yaml.safe_dump({**loaded, name: value}), "somewhere")
    except InventoryError as error:
        assert error.hint


# ---------------------------------------------------------------- where the file is


def test_the_place_is_the_same_for_the_folder_and_its_hosts_file(tmp_path: Path):
    (tmp_path / "prod").mkdir()
    (tmp_path / "prod/hosts.yml").write_text("all: {}\n")
    wanted = tmp_path / "prod/group_vars/cluster-secrets.yml"
    assert store.place([str(tmp_path / "prod")]) == wanted
    assert store.place([str(tmp_path / "prod/hosts.yml")]) == wanted
    assert store.place(["n1,n2,", str(tmp_path / "prod")]) == wanted


def test_of_several_inventories_that_with_the_file_is_taken(
    tmp_path: Path, cluster: ClusterSecrets
):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    sources = [str(tmp_path / "one"), str(tmp_path / "two")]
    store.save(tmp_path / "two/group_vars" / store.NAME, cluster, vault())
    assert store.place(sources) == tmp_path / "two/group_vars" / store.NAME
    store.save(tmp_path / "one/group_vars" / store.NAME, cluster, vault())
    with pytest.raises(InventoryError, match="in several inventories") as raised:
        store.place(sources)
    assert raised.value.hint


def test_hosts_that_are_only_named_have_no_place():
    with pytest.raises(InventoryError, match="no place") as raised:
        store.place(["n1,n2,"])
    assert raised.value.hint


def test_ansible_passes_over_the_file(tmp_path: Path, cluster: ClusterSecrets):
    (tmp_path / "prod").mkdir()
    (tmp_path / "prod/hosts.yml").write_text("all: {hosts: {n1: {}}}\n")
    store.save(store.place([str(tmp_path / "prod")]), cluster, vault())
    listed = subprocess.run(
        [BIN / "ansible-inventory", "-i", tmp_path / "prod", "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "secrets" not in listed.stderr
    assert set(yaml.safe_load(listed.stdout)) == {"_meta", "all", "ungrouped"}


def test_a_folder_that_cannot_be_written(tmp_path: Path, cluster: ClusterSecrets):
    with pytest.raises(InventoryError, match="cannot be written") as raised:
        store.save(tmp_path / "no/such/folder" / store.NAME, cluster, vault())
    assert raised.value.hint
