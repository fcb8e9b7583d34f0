"""The program signing-key: what is not the known key changes nothing."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pythons import find

PROGRAM = Path("aiprov/programs/signing_key.py").resolve()
PYTHONS = [sys.executable, *filter(None, [find("3.6")])]
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBFnNWDEBEACiX68rxIWv\n"
CHECKSUM = hashlib.sha256(KEY.encode()).hexdigest()


@pytest.fixture(params=PYTHONS, ids=["now", "3.6"][: len(PYTHONS)])
def run(request, tmp_path):
    def start(*flags: str, served: str | None = KEY) -> subprocess.CompletedProcess[str]:
        if served is not None:
            (tmp_path / "served").write_text(served)
        url = (tmp_path / "served").as_uri()
        argv = [request.param, "-B", str(PROGRAM), url, str(tmp_path / "key"), CHECKSUM, *flags]
        return subprocess.run(argv, env={}, capture_output=True, text=True, check=False)

    return start


def test_the_known_key_is_put_in_place(run, tmp_path):
    assert run("--there").returncode == 1
    assert run().returncode == 0
    assert (tmp_path / "key").read_text() == KEY
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o644
    assert run("--there").returncode == 0


def test_its_version_line_does_not_matter(run, tmp_path):
    first, rest = KEY.split("\n", 1)
    assert run(served=f"{first}\nVersion: GnuPG v2\n{rest}").returncode == 0
    assert (tmp_path / "key").read_text() == KEY


def test_another_key_changes_nothing(run, tmp_path):
    (tmp_path / "key").write_text("the old one")
    done = run(served=KEY.replace("mQIN", "mQIM"))
    assert done.returncode == 1
    assert "is not the one that is known" in done.stderr
    assert CHECKSUM in done.stderr
    assert (tmp_path / "key").read_text() == "the old one"


def test_a_server_without_it_is_named(run):
    done = run(served=None)
    assert done.returncode == 1
    assert "/served cannot be fetched" in done.stderr
