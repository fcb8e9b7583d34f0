"""Debian's archives are found among a machine's apt sources, in both formats."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiprov.errors import LabError
from aiprov.lab import sources
from aiprov.lab.sources import Source

ONE_LINE = """\
# deb http://off.example/debian bookworm main
deb http://mirror.example/debian/ bookworm main contrib  # a comment
deb-src http://mirror.example/debian/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/other.gpg] https://other.example/debian bookworm main
deb [ signed-by=/etc/apt/debian-archive-keyring.gpg ] https://s.example/s bookworm-security main
deb cdrom:[Debian]/ bookworm main
"""
DEB822 = """\
Types: deb deb-src
URIs: https://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
# a comment in a paragraph
 non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


def test_one_line() -> None:
    found = list(sources.parse_one_line(ONE_LINE))
    assert [source.uri for source in found] == [
        "http://mirror.example/debian/",
        "https://other.example/debian",
        "https://s.example/s",
        "cdrom:[Debian]/",
    ]
    assert found[0].components == ("main", "contrib")
    assert found[1].signed_by == "/usr/share/keyrings/other.gpg"


def test_deb822() -> None:
    found = list(sources.parse_deb822(DEB822))
    assert [(source.uri, source.suite) for source in found] == [
        ("https://mirror.example/debian", "bookworm"),
        ("https://mirror.example/debian", "bookworm-updates"),
    ]
    assert found[0].components == ("main", "non-free-firmware")


def test_another_suite_from_the_same_mirror() -> None:
    chosen = sources.for_suite(sources.parse_one_line(ONE_LINE), "bookworm", "trixie")
    assert [(source.uri, source.suite) for source in chosen] == [
        ("http://mirror.example/debian", "trixie"),
        ("https://s.example/s", "trixie-security"),
    ]


def test_the_main_archive_comes_first() -> None:
    listed = [
        Source(uri="http://m.example/s", suite="bookworm-security", components=("main",)),
        Source(uri="http://m.example/d", suite="bookworm", components=("main",)),
    ]
    assert sources.for_suite(listed, "bookworm", "bookworm")[0].suite == "bookworm"


def test_hosts_speak_http_to_the_proxy() -> None:
    text = sources.deb822([Source(uri="https://m.example/d", suite="trixie", components=("main",))])
    assert "URIs: http://m.example/d\n" in text
    assert next(sources.parse_deb822(text)).suite == "trixie"


def test_a_machine_that_is_not_debian_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIPROV_LAB_MIRROR", raising=False)
    monkeypatch.setattr(sources, "machine_sources", lambda: [])
    with pytest.raises(LabError) as caught:
        sources.debian("bookworm")
    assert "AIPROV_LAB_MIRROR" in (caught.value.hint or "")
    monkeypatch.setenv("AIPROV_LAB_MIRROR", "http://m.example/debian/")
    assert sources.debian("trixie")[0].uri == "http://m.example/debian"


def test_all_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/d bookworm main\n")
    (tmp_path / "sources.list.d/b.list").write_text("deb http://b.example/d bookworm main\n")
    (tmp_path / "sources.list.d/c.sources").write_text(DEB822)
    hosts = {source.uri.split("/")[2] for source in sources.machine_sources(tmp_path)}
    assert hosts == {"a.example", "b.example", "mirror.example"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("VERSION_CODENAME=bookworm\n", "bookworm"),
        ('VERSION_CODENAME="noble"\n', "noble"),
        ("", ""),
    ],
)
def test_codename(text: str, name: str) -> None:
    assert sources.codename(f"ID=x\n{text}") == name


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    list(sources.parse_one_line(text))
    list(sources.parse_deb822(text))
