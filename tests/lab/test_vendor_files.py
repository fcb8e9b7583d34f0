"""Stand-in packages and archives as the machine's own tools read them: dpkg-deb, gpg, gcc."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from aiprov.lab.vendor import apt, deb, elf, signing
from aiprov.lab.vendor.package import Content, Package

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("lab_root")]


def _sample(**more: object) -> Package:
    given: dict[str, object] = {
        "name": "sample",
        "version": "1.2",
        "release": "1+x",
        "summary": "a sample",
        "files": {
            "/usr/bin/sample": Content(text="#!/bin/sh\n", mode=0o755),
            "/etc/sample.conf": Content(text="a\n"),
        },
        "links": {"/usr/lib/sample": "../bin/sample"},
        "scripts": {"postinst": "true"},
        **more,
    }
    return Package(**given)  # type: ignore[arg-type]


def test_a_deb_is_what_dpkg_reads(tmp_path: Path) -> None:
    path = tmp_path / "sample.deb"
    path.write_bytes(deb.write(_sample(epoch=3, depends=("libc6",))))
    field = ["dpkg-deb", "--field", str(path), "Version", "Depends", "Description"]
    told = subprocess.run(field, check=True, capture_output=True, text=True).stdout
    assert "Version: 3:1.2-1+x\n" in told and "Depends: libc6\n" in told
    listing = ["dpkg-deb", "--contents", str(path)]
    rows = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    assert "-rwxr-xr-x root/root" in rows and "./usr/lib/sample -> ../bin/sample" in rows
    extracted = tmp_path / "control"
    subprocess.run(["dpkg-deb", "--control", path, extracted], check=True)
    assert (extracted / "conffiles").read_text() == "/etc/sample.conf\n"
    assert (extracted / "postinst").stat().st_mode & 0o111
    assert deb.write(_sample()) == deb.write(_sample())


def test_a_library_and_a_module_are_what_the_tools_read(tmp_path: Path) -> None:
    (tmp_path / "lib.so").write_bytes(elf.library("libcuda.so.1", "stand-in"))
    (tmp_path / "one.ko").write_bytes(elf.module({"name": "one", "license": "GPL"}))
    subprocess.run(["/sbin/ldconfig", "-n", tmp_path], check=True)
    assert (tmp_path / "libcuda.so.1").is_symlink()
    modinfo = shutil.which("modinfo", path="/sbin:/usr/sbin:/bin:/usr/bin")
    if modinfo is not None:
        told = subprocess.run([modinfo, tmp_path / "one.ko"], check=True, capture_output=True)
        assert b"license:        GPL" in told.stdout


def test_an_archive_is_signed_by_the_key_that_is_given_out(tmp_path: Path) -> None:
    key = signing.key(tmp_path / "key")
    try:
        apt.write_flat(tmp_path / "flat", [apt.entry(_sample())], key)
        apt.write_suite(tmp_path / "suite", "bookworm", "stable", [apt.entry(_sample())], key)
    finally:
        signing.rest(key)
    assert key.armoured.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    index = (tmp_path / "flat/Packages").read_bytes()
    digest = hashlib.sha256(index).hexdigest()
    assert digest in (tmp_path / "flat/InRelease").read_text()
    for folder in ("flat", "suite/dists/bookworm"):
        check = ["gpg", "--homedir", key.home, "--verify", tmp_path / folder / "InRelease"]
        subprocess.run(check, check=True, capture_output=True)
    text = (tmp_path / "suite/dists/bookworm/stable/binary-amd64/Packages").read_text()
    assert (tmp_path / "suite" / text.partition("Filename: ")[2].splitlines()[0]).is_file()
