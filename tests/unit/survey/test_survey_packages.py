"""Packages and repositories from what apt, dpkg, dnf and rpm say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiprov.errors import SurveyError
from aiprov.resources import (
    AptRepository,
    Resource,
)
from aiprov.survey.facts import Facts, facts_from
from aiprov.survey.state import packages, state_from

HOSTS = Path(__file__).parent / "hosts"


def facts(name: str) -> Facts:
    return facts_from(json.loads((HOSTS / f"{name}.json").read_text())["answer"], "h")


DEBIAN, ROCKY = facts("debian12"), facts("rocky9")


def one(resource: Resource, host: Facts = DEBIAN, **answer: Any) -> Any:
    """The state of one resource from an answer of which only parts are given."""
    whole: dict[str, Any] = {"paths": {}, "lists": [], "ctimes": {}, "commands": {}, **answer}
    return next(iter(state_from(host, [resource], whole, answer.get("offers", {})).values()))


POLICY = """docker-ce:
  Installed: 5:28.0.0-1~debian.12~bookworm
  Candidate: 5:29.4.3-1~debian.12~bookworm
  Version table:
     5:29.4.3-1~debian.12~bookworm 500
        500 https://download.docker.com/linux/debian bookworm/stable amd64 Packages
     5:29.4.2-1~debian.12~bookworm 500
        500 https://download.docker.com/linux/debian bookworm/stable amd64 Packages
 *** 5:28.0.0-1~debian.12~bookworm 100
        100 /var/lib/dpkg/status
docker.io:
  Installed: (none)
  Candidate: 20.10.24+dfsg1-1+deb12u1+b6
  Version table:
     26.1.5 -1
         -1 http://archive.example/debian trixie/main amd64 Packages
     20.10.24+dfsg1-1+deb12u1+b6 990
        990 http://archive.example/debian bookworm/main amd64 Packages
        500 http://mirror/debian bookworm/main amd64 Packages
N: Unable to locate package nope
"""


def test_versions_on_offer_by_apt() -> None:
    offered = packages.offers(DEBIAN, {"candidates": [0, POLICY, ""]})
    assert offered == {
        "docker-ce": ["5:29.4.3-1~debian.12~bookworm", "5:29.4.2-1~debian.12~bookworm"],
        "docker.io": ["20.10.24+dfsg1-1+deb12u1+b6"],
    }


def test_versions_on_offer_by_dnf_newest_first() -> None:
    out = "a\t1.9-1.el9\na\t1.10-1.el9\n\na\t1:0.1-1.el9\na\t1.10~rc1-1.el9\na\t1.10-1.el9\n"
    offered = packages.offers(ROCKY, {"candidates": [0, out, ""]})
    assert offered["a"] == ["1:0.1-1.el9", "1.10-1.el9", "1.10~rc1-1.el9", "1.9-1.el9"]
    cold = [1, "", "Error: Cache-only enabled but no cache for 'baseos'"]
    assert packages.offers(ROCKY, {"candidates": cold}) == {}
    with pytest.raises(SurveyError, match="dnf cannot say"):
        packages.offers(ROCKY, {"candidates": [1, "", "Error: broken"]})
    with pytest.raises(SurveyError, match="did not answer in time"):
        packages.offers(DEBIAN, {"candidates": [None, "", ""]})


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("1.10-1", "1.9-1"),
        ("1:1-1", "2-1"),
        ("1.0.1-1", "1.0-1"),
        ("1.0-1", "1.0~rc1-1"),
        ("1.0^git1-1", "1.0-1"),
        ("1.0.1-1", "1.0^git1-1"),
        ("1.0-2.el9", "1.0-1.el9_6"),
        ("1.1-1", "1.a-1"),
        ("1.0b-1", "1.0a-1"),
    ],
)
def test_rpm_order(newer: str, older: str) -> None:
    assert packages.rpm_compare(newer, older) > 0
    assert packages.rpm_compare(older, newer) < 0


@given(st.text("0123456789ab.~^-:", max_size=8), st.text("0123456789ab.~^-:", max_size=8))
def test_rpm_order_is_an_order(one: str, other: str) -> None:
    assert packages.rpm_compare(one, one) == 0
    assert packages.rpm_compare(one, other) == -packages.rpm_compare(other, one)


def test_rpm_packages_and_their_locks() -> None:
    out = (
        "docker-ce\t3:29.4.3-1.el9\t1700000000\n"
        "kernel\t5.14.0-503.el9\t1700000001\nkernel\t5.14.0-570.el9\t1700000002\n"
        "package containerd.io is not installed\n"
    )
    answer = {
        "rpm": [1, out, ""],
        "locks": "# comment\ndocker-ce-3:29.4.3-1.el9.*\n!other-0:1-1.*\n",
        "locks_toml": '[[packages]]\nname = "containerd.io"\n',
        "lists_age": None,
    }
    assert packages.installed(ROCKY, answer) == {
        "docker-ce": ("3:29.4.3-1.el9", True),
        "kernel": ("5.14.0-570.el9", False),
        "containerd.io": (None, True),
    }
    with pytest.raises(SurveyError, match="rpm did not answer: error: db"):
        packages.installed(ROCKY, {**answer, "rpm": [1, "", "error: db"]})


@pytest.mark.parametrize(
    ("uri", "suite", "name"),
    [
        ("http://archive.example/debian", "bookworm", "archive.example_debian_dists_bookworm_"),
        ("https://x/d/", "bookworm/updates", "x_d_dists_bookworm_updates_"),
        ("https://x/cuda/repos/debian12/x86_64/", "/", "x_cuda_repos_debian12_x86%5f64_"),
        ("https://x/flat", "./", "x_flat_._"),
        ("https://user:pw@x:8080/d", "s", "x:8080_d_dists_s_"),
        ("file:/srv/repo", "s", "_srv_repo_dists_s_"),
        ("http://x/$(ARCH)", "s", "x_amd64_dists_s_"),
    ],
)
def test_names_of_apts_lists(uri: str, suite: str, name: str) -> None:
    repository = AptRepository(name="r", uris=(uri,), suites=(suite,))
    assert packages.list_names(repository, "amd64") == [f"{name}InRelease", f"{name}Release"]


def test_a_repository_is_fetched_when_every_suite_is() -> None:
    repository = AptRepository(name="r", uris=("http://x/d",), suites=("a", "b"))
    paths = {"/etc/apt/sources.list.d/r.sources": {"type": "file", "sha256": "s"}}
    lists = ["x_d_dists_a_InRelease", "x_d_dists_b_Release"]
    assert one(repository, paths=paths, lists=lists) == {"files": ["s"], "fetched": True}
    assert not one(repository, paths=paths, lists=lists[:1])["fetched"]
