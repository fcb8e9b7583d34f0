"""The catalog: every row is readable and sourced, and the keys are the ones that are pinned."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from datetime import date

import pytest

from aiprov import catalog
from aiprov.catalog import Key, kubernetes_repositories
from aiprov.errors import CatalogError, UnsupportedError

KEYS = (*catalog.keys(), *kubernetes_repositories.signing_keys())


def test_every_os_has_docker_and_its_packages():
    for os in catalog.operating_systems():
        repository = catalog.docker_repository(os)
        assert catalog.key(repository.key).text
        assert catalog.package_versions("containerd", "containerd.io", os)
        assert catalog.package_versions("docker", "docker-ce", os)
        if os.family == "debian":
            row = catalog.package_versions("containerd", "containerd", os)
            assert catalog.containerd_line(row.oldest)
            assert catalog.package_versions("docker", "docker.io", os)


def test_every_row_says_where_it_is_from():
    rows = [*catalog.operating_systems(), *catalog.containerd_lines(), *catalog.keys()]
    assert all(row.source and isinstance(row.date, date) for row in rows)


def test_an_os_is_found_by_its_release():
    assert catalog.operating_system("rhel", "9.6").name == "RHEL 9"
    assert catalog.operating_system("ubuntu", "24.04").codename == "noble"


@pytest.mark.parametrize("release", [("debian", "11"), ("ubuntu", "24.10"), ("fedora", "43")])
def test_an_unknown_os_is_refused(release: tuple[str, str]):
    with pytest.raises(UnsupportedError, match="is not supported"):
        catalog.operating_system(*release)


def test_lines_are_in_order_and_their_schema_never_falls():
    lines = catalog.containerd_lines()
    versions = [tuple(int(part) for part in line.version.split(".")) for line in lines]
    assert versions == sorted(versions)
    assert [line.schema for line in lines] == sorted(line.schema for line in lines)


@pytest.mark.parametrize(
    ("version", "schema"),
    [("1.6.20", 2), ("1.7", 2), ("2.0.5", 3), ("2.2.1", 3), ("2.3", 4), ("2.3.4", 4)],
)
def test_a_version_has_its_lines_schema(version: str, schema: int):
    assert catalog.containerd_line(version).schema == schema


def test_an_unknown_line_is_refused():
    with pytest.raises(CatalogError, match="of no line"):
        catalog.containerd_line("0.9.1")


@pytest.mark.parametrize(
    ("version", "validates"), [("20.10.24", False), ("23.0", True), ("29.4.3", True)]
)
def test_docker_validates_from_23_on(version: str, validates: bool):
    assert catalog.docker_has("validate", version) is validates


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_key_is_the_pinned_one(key: Key):
    assert hashlib.sha256(key.text.encode()).hexdigest() == key.sha256
    assert fingerprint(key.text) == key.fingerprint


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_gpg_reads_the_same_fingerprint(key: Key, tmp_path):
    argv = ["gpg", "--homedir", tmp_path, "--batch", "--with-colons", "--show-keys"]
    shown = subprocess.run(argv, input=key.text, capture_output=True, text=True, check=True)
    found = [line.split(":")[9] for line in shown.stdout.splitlines() if line.startswith("fpr:")]
    assert found[0] == key.fingerprint


def fingerprint(armoured: str) -> str:
    """A version 4 key's fingerprint: SHA-1 of its first packet, the public key (RFC 9580)."""
    lines = armoured.split("\n\n", 1)[1].splitlines()
    body = base64.b64decode("".join(line for line in lines if not line.startswith(("=", "-"))))
    assert body[0] == 0x99, "not an old-format public key packet with a two-byte length"
    length = int.from_bytes(body[1:3], "big")
    return hashlib.sha1(b"\x99" + body[1 : 3 + length], usedforsecurity=False).hexdigest().upper()
