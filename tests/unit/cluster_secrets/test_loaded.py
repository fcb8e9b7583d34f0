"""What a node is handed to join with: as openssl and the API server see it, and made once a run."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from aiprov import settings
from aiprov.cluster_secrets import ClusterSecrets, LoadedSecrets, make, store
from aiprov.errors import InventoryError, UsageError
from tests.unit.cluster_secrets.conftest import NOW, vault
from tests.unit.cluster_secrets.test_certificates import Lay, after, described, openssl

ENDPOINT = "api.example.org:6443"


def user_of(text: str) -> dict[str, str]:
    (user,) = yaml.safe_load(text)["users"]
    return {key: base64.b64decode(value).decode() for key, value in user["user"].items()}


def test_a_node_is_known_as_one_that_asks_to_be_let_in(cluster: ClusterSecrets, laid: Lay):
    loaded = LoadedSecrets(secrets=cluster, now=NOW)
    text = loaded.bootstrap_kubeconfig(ENDPOINT, "prod").reveal()
    own = user_of(text)
    certificate = laid("own.crt", own["client-certificate-data"])
    lines = described(certificate, "-text")
    assert (
        "Subject: CN=system:bootstrap:aiprov,"
        "O=system:bootstrappers:kubeadm:default-node-token,O=system:bootstrappers"
    ) in lines
    assert "Not Before: Nov 21 12:25:15 2026 GMT" in lines
    assert "Not After : Nov 21 14:30:15 2026 GMT" in lines
    assert "ASN1 OID: prime256v1" in lines
    assert after(lines, "X509v3 Key Usage: critical") == "Digital Signature"
    assert after(lines, "X509v3 Extended Key Usage:") == "TLS Web Client Authentication"
    assert own["client-key-data"].startswith("-----BEGIN EC PRIVATE KEY-----\n")
    key = laid("own.key", own["client-key-data"])
    public = openssl("x509", "-in", certificate, "-noout", "-pubkey")
    assert openssl("ec", "-in", key, "-pubout") == public
    at = ("-attime", str(int(NOW.timestamp())))
    authority = laid("ca.crt", cluster.ca.certificate)
    openssl("verify", *at, "-purpose", "sslclient", "-CAfile", authority, certificate)
    (known,) = yaml.safe_load(text)["clusters"]
    assert known["name"] == "prod"
    assert known["cluster"]["server"] == f"https://{ENDPOINT}"
    assert base64.b64decode(known["cluster"]["certificate-authority-data"]).decode() == (
        cluster.ca.certificate
    )


def test_it_is_the_same_for_a_whole_run(cluster: ClusterSecrets):
    loaded = LoadedSecrets(secrets=cluster, now=NOW)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: loaded.bootstrap_kubeconfig(ENDPOINT, "prod"), range(32)))
    assert len(set(found)) == 1
    elsewhere = loaded.bootstrap_kubeconfig("[fd00::1]:6443", "prod")
    assert user_of(elsewhere.reveal()) == user_of(found[0].reveal())
    assert loaded.bootstrap_kubeconfig(ENDPOINT, "prod", hours=3) != found[0]


def test_only_its_key_is_secret(cluster: ClusterSecrets):
    loaded = LoadedSecrets(secrets=cluster, now=NOW)
    given = loaded.bootstrap_kubeconfig(ENDPOINT, "prod")
    assert "api.example.org" not in "".join(given.hidden())
    key = user_of(given.reveal())["client-key-data"]
    assert set(given.hidden()) == {key, base64.b64encode(key.encode()).decode()}
    assert "PRIVATE" not in repr(loaded) + repr(given)


def test_what_cannot_work_is_refused(cluster: ClusterSecrets):
    end = LoadedSecrets(secrets=cluster, now=NOW + timedelta(days=3650, hours=-1))
    for loaded, endpoint, hours in (
        (end, ENDPOINT, 2),
        (LoadedSecrets(secrets=cluster, now=NOW), ENDPOINT, 0),
        (LoadedSecrets(secrets=cluster, now=NOW), "api.example.org", 2),
    ):
        with pytest.raises(UsageError) as raised:
            loaded.bootstrap_kubeconfig(endpoint, "prod", hours)
        assert raised.value.hint
    assert end.bootstrap_kubeconfig(ENDPOINT, "prod", 1)


def test_a_run_loads_them_once_and_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "hosts.yml").write_text("all: {hosts: {n1: {}}}\n")
    sources = (str(tmp_path / "hosts.yml"),)
    opened = settings.secrets_of(sources)
    with pytest.raises(InventoryError, match="there are no cluster secrets") as raised:
        opened()
    assert str(tmp_path / "group_vars" / store.NAME) in str(raised.value)
    made = make(datetime.now(UTC))
    store.save(tmp_path / "group_vars" / store.NAME, made, vault())
    monkeypatch.setattr(store, "vault_secrets", vault)
    with ThreadPoolExecutor(8) as pool:
        found = {id(one): one for one in pool.map(lambda _: opened(), range(16))}
    (loaded,) = found.values()
    assert loaded.secrets == made
