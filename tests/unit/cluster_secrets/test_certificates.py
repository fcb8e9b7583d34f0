"""Authorities and client certificates, judged by openssl; files as kubeadm wants them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from aiprov.cluster_secrets import (
    ClusterSecrets,
    administrator,
    ca_hash,
    client_certificate,
    control_plane_files,
    kubeconfig,
    make,
)
from aiprov.cluster_secrets.model import AUTHORITIES
from aiprov.errors import UsageError
from aiprov.resources import Directory, File, Secret
from tests.unit.cluster_secrets.conftest import NOW

Lay = Callable[[str, str], Path]


def openssl(*arguments: str | Path, feed: bytes = b"") -> str:
    done = subprocess.run(["openssl", *arguments], input=feed, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def modulus_of_key(path: Path) -> str:
    return openssl("rsa", "-in", path, "-noout", "-modulus")


def described(path: Path, *what: str) -> list[str]:
    """openssl's words about the certificate, without indentation."""
    text = openssl("x509", "-in", path, "-noout", "-nameopt", "RFC2253", *what)
    return [line.strip() for line in text.splitlines()]


def after(lines: list[str], title: str) -> str:
    return lines[lines.index(title) + 1]


# ---------------------------------------------------------------- authorities


@pytest.mark.parametrize("field", AUTHORITIES)
def test_an_authority_is_one_as_kubeadm_makes_it(field: str, cluster: ClusterSecrets, laid: Lay):
    pair = cluster.authorities[field]
    certificate = laid("ca.crt", pair.certificate)
    key = laid("ca.key", pair.key.reveal())
    lines = described(certificate, "-text")
    name = AUTHORITIES[field]
    assert f"Subject: CN={name}" in lines
    assert f"Issuer: CN={name}" in lines
    assert "Public-Key: (2048 bit)" in lines
    assert "Signature Algorithm: sha256WithRSAEncryption" in lines
    usage = after(lines, "X509v3 Key Usage: critical")
    assert usage == "Digital Signature, Key Encipherment, Certificate Sign"
    assert after(lines, "X509v3 Basic Constraints: critical") == "CA:TRUE"
    assert after(lines, "X509v3 Subject Alternative Name:") == f"DNS:{name}"
    assert "X509v3 Subject Key Identifier:" in lines
    assert not any("Extended Key Usage" in line for line in lines)
    assert "Not Before: Nov 21 12:25:15 2026 GMT" in lines  # five minutes earlier
    assert "Not After : Nov 18 12:30:15 2036 GMT" in lines  # 3650 days
    assert pair.key.reveal().startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert openssl("rsa", "-in", key, "-noout", "-check") == "RSA key ok\n"
    assert openssl("x509", "-in", certificate, "-noout", "-modulus") == modulus_of_key(key)
    openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", certificate, certificate)


def test_the_hash_is_the_one_that_kubeadms_documentation_takes_with_openssl(
    cluster: ClusterSecrets, laid: Lay
):
    certificate = laid("ca.crt", cluster.ca.certificate)
    public = openssl("x509", "-in", certificate, "-noout", "-pubkey").encode()
    der = laid("ca.pub", public.decode())
    openssl("rsa", "-pubin", "-in", der, "-outform", "der", "-out", der.with_suffix(".der"))
    digest = openssl("dgst", "-sha256", "-r", der.with_suffix(".der")).split()[0]
    assert ca_hash(cluster) == f"sha256:{digest}"


def test_the_service_account_key_signs_what_its_public_key_verifies(
    cluster: ClusterSecrets, laid: Lay, tmp_path: Path
):
    pair = cluster.service_account
    private, public = laid("sa.key", pair.private.reveal()), laid("sa.pub", pair.public)
    said, signed = laid("said", "a token"), tmp_path / "signed"
    openssl("dgst", "-sha256", "-sign", private, "-out", signed, said)
    assert "OK" in openssl("dgst", "-sha256", "-verify", public, "-signature", signed, said)
    assert pair.public.startswith("-----BEGIN PUBLIC KEY-----\n")


def test_tokens_and_keys_have_the_form_that_kubeadm_asks_for(cluster: ClusterSecrets):
    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", cluster.bootstrap_token.reveal())
    assert len(base64.b64decode(cluster.encryption_key.reveal(), validate=True)) == 32


def test_no_two_keys_are_the_same(cluster: ClusterSecrets):
    keys = [pair.key.reveal() for pair in cluster.authorities.values()]
    keys.append(cluster.service_account.private.reveal())
    assert len(set(keys)) == 4


def test_nothing_secret_is_shown(cluster: ClusterSecrets):
    told = repr(cluster) + repr(asdict(cluster)) + repr(control_plane_files(cluster))
    assert "PRIVATE KEY" not in told
    for secret in (cluster.bootstrap_token, cluster.encryption_key):
        assert secret.reveal() not in told
    with pytest.raises(TypeError, match="Secret"):
        json.dumps(asdict(replace(cluster, created=None)))


def test_times_are_of_utc_wherever_the_controller_stands(laid: Lay):
    there = timezone(timedelta(hours=-7))
    made = make(NOW.astimezone(there), years=1)
    lines = described(laid("ca.crt", made.ca.certificate), "-text")
    assert "Not After : Nov 21 12:30:15 2027 GMT" in lines
    assert made.created == NOW
    assert made.created.utcoffset() == timedelta(0)


def test_an_authority_for_no_time_is_refused():
    with pytest.raises(UsageError, match="0 years"):
        make(NOW, years=0)


# ---------------------------------------------------------------- who uses the cluster


def test_a_client_is_known_by_user_and_groups(cluster: ClusterSecrets, laid: Lay):
    own = client_certificate(cluster, "ada", ["ops", "gpu users"], NOW, 30)
    authority = laid("ca.crt", cluster.ca.certificate)
    certificate, key = laid("own.crt", own.certificate), laid("own.key", own.key.reveal())
    lines = described(certificate, "-text")
    assert "Subject: CN=ada,O=gpu users,O=ops" in lines
    assert "Issuer: CN=kubernetes" in lines
    usage = after(lines, "X509v3 Key Usage: critical")
    assert usage == "Digital Signature, Key Encipherment"
    assert after(lines, "X509v3 Extended Key Usage:") == "TLS Web Client Authentication"
    assert after(lines, "X509v3 Basic Constraints: critical") == "CA:FALSE"
    assert "Not Before: Nov 21 12:25:15 2026 GMT" in lines
    assert "Not After : Dec 21 12:30:15 2026 GMT" in lines
    assert openssl("x509", "-in", certificate, "-noout", "-modulus") == modulus_of_key(key)
    moment = str(int(NOW.timestamp()))
    verify = ("verify", "-x509_strict", "-attime", moment, "-purpose", "sslclient")
    openssl(*verify, "-CAfile", authority, certificate)
    other = laid("etcd.crt", cluster.etcd_ca.certificate)
    with pytest.raises(AssertionError, match="unable to get local issuer"):
        openssl(*verify, "-CAfile", other, certificate)


def test_a_client_is_never_valid_before_its_authority(cluster: ClusterSecrets, laid: Lay):
    own = client_certificate(cluster, "ada", [], NOW - timedelta(minutes=4), 1)
    lines = described(laid("own.crt", own.certificate), "-text")
    assert "Not Before: Nov 21 12:25:15 2026 GMT" in lines


REFUSED = {
    "no time": ({"days": 0}, "0 days"),
    "longer than the CA": ({"days": 3651}, "outlives"),
    "after the CA": ({"days": 1, "now": NOW + timedelta(days=3650)}, "outlives"),
    "no user": ({"user": ""}, "user's name"),
    "a long name": ({"user": "a" * 65}, "user's name"),
    "a name of long letters": ({"user": "é" * 33}, "user's name"),
    "a group without a name": ({"groups": [""]}, "group without a name"),
    "no port": ({"endpoint": "k8s.example.org"}, "not the endpoint"),
    "a scheme": ({"endpoint": "https://k8s.example.org:6443"}, "not the endpoint"),
    "a path": ({"endpoint": "k8s.example.org:6443/api"}, "not the endpoint"),
    "IPv6 without brackets": ({"endpoint": "fd00::1"}, "not the endpoint"),
    "no host": ({"endpoint": ":6443"}, "not the endpoint"),
}
ADA = {
    "endpoint": "k8s.example.org:6443",
    "cluster_name": "prod",
    "user": "ada",
    "groups": ["ops"],
    "now": NOW,
    "days": 7,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_with_a_hint(name: str, cluster: ClusterSecrets):
    given, message = REFUSED[name]
    with pytest.raises(UsageError, match=message) as raised:
        kubeconfig(cluster, **{**ADA, **given})
    assert raised.value.hint


@pytest.mark.parametrize("endpoint", ["k8s.example.org:6443", "10.0.0.1:443", "[fd00::1]:6443"])
def test_a_kubeconfig_holds_the_chain(endpoint: str, cluster: ClusterSecrets, laid: Lay):
    document = yaml.safe_load(kubeconfig(cluster, **{**ADA, "endpoint": endpoint}))
    assert (document["apiVersion"], document["kind"]) == ("v1", "Config")
    assert document["current-context"] == "ada@prod"
    assert document["contexts"] == [
        {"name": "ada@prod", "context": {"cluster": "prod", "user": "ada"}}
    ]
    (there,), (user,) = document["clusters"], document["users"]
    assert (there["name"], user["name"]) == ("prod", "ada")
    assert there["cluster"]["server"] == f"https://{endpoint}"

    def part(of: dict[str, str], name: str) -> Path:
        return laid(name, base64.b64decode(of[name], validate=True).decode())

    authority = part(there["cluster"], "certificate-authority-data")
    certificate = part(user["user"], "client-certificate-data")
    key = part(user["user"], "client-key-data")
    assert authority.read_text() == cluster.ca.certificate
    openssl("verify", "-no_check_time", "-CAfile", authority, certificate)
    assert openssl("x509", "-in", certificate, "-noout", "-modulus") == modulus_of_key(key)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    user=some.text(some.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1),
    group=some.text(some.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1),
)
def test_a_name_comes_through_unchanged_or_is_refused(
    user: str, group: str, cluster: ClusterSecrets
):
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        text = kubeconfig(cluster, **{**ADA, "user": user, "groups": [group]})
    except UsageError:
        assert len(user.encode()) > 64
        return
    (entry,) = yaml.safe_load(text)["users"]
    pem = base64.b64decode(entry["user"]["client-certificate-data"])
    subject = x509.load_pem_x509_certificate(pem).subject
    assert entry["name"] == user
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [group]


ADMINISTRATORS = {
    # version, emergency: user, groups
    ("1.20.2", False): ("kubernetes-admin", ("system:masters",)),
    ("1.28.15", True): ("kubernetes-admin", ("system:masters",)),
    ("1.29", False): ("kubernetes-admin", ("kubeadm:cluster-admins",)),
    ("v1.37.1", False): ("kubernetes-admin", ("kubeadm:cluster-admins",)),
    ("1.37.1", True): ("kubernetes-super-admin", ("system:masters",)),
}


@pytest.mark.parametrize(("version", "emergency"), ADMINISTRATORS)
def test_the_administrator_is_kubeadms(version: str, emergency: bool):
    found = administrator(version, emergency=emergency)
    assert (found.user, found.groups) == ADMINISTRATORS[version, emergency]


def test_no_version_no_administrator():
    with pytest.raises(UsageError, match="'latest' is not a version"):
        administrator("latest")


# ---------------------------------------------------------------- files of a control plane node

FILES = {
    "ca.key": 0o600,
    "ca.crt": 0o644,
    "front-proxy-ca.key": 0o600,
    "front-proxy-ca.crt": 0o644,
    "etcd/ca.key": 0o600,
    "etcd/ca.crt": 0o644,
    "sa.pub": 0o600,
    "sa.key": 0o600,
}


def test_a_control_plane_node_has_the_files_that_kubeadm_shares(cluster: ClusterSecrets):
    listed = control_plane_files(cluster)
    files = {each.path: each for each in listed if isinstance(each, File)}
    assert {path: file.mode for path, file in files.items()} == {
        f"/etc/kubernetes/pki/{name}": mode for name, mode in FILES.items()
    }
    assert all((file.owner, file.group) == ("root", "root") for file in files.values())
    for path, file in files.items():
        assert isinstance(file.content, Secret) == path.endswith(".key"), path
    made: set[str] = {"/etc"}
    for each in listed:
        assert str(Path(each.path).parent) in made, f"{each.path} comes before its folder"
        if isinstance(each, Directory):
            made.add(each.path)


def test_the_moment_of_making_is_whole_seconds():
    assert make(datetime(2026, 1, 1, 0, 0, 0, 999, NOW.tzinfo)).created.microsecond == 0
