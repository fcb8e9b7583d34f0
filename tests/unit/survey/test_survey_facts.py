"""Facts from hosts' raw answers: each file in ``hosts`` is one host, captured or made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiprov.errors import SurveyError
from aiprov.survey import facts as parsing
from aiprov.survey.facts import as_json, facts_from

HOSTS = sorted((Path(__file__).parent / "hosts").glob("*.json"))


@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_host(path: Path) -> None:
    case = json.loads(path.read_text())
    if "error" in case:
        with pytest.raises(SurveyError) as caught:
            facts_from(case["answer"], "h")
        assert case["error"] in str(caught.value)
        assert caught.value.hint
        return
    found = as_json(facts_from(case["answer"], "h"))
    shown = {key: json.loads(json.dumps(found[key])) for key in case["facts"]}
    assert shown == case["facts"]


def test_there_are_hosts_of_every_supported_system() -> None:
    stems = {path.stem for path in HOSTS}
    names = ("debian12", "debian13", "ubuntu2204", "ubuntu2404", "ubuntu2604")
    assert stems >= {*names, "rocky8", "rocky9", "rocky10", "rhel9"}


@given(
    raw=st.dictionaries(
        st.sampled_from(["uname", "files", "pci", "net", "ip", "efi", "virtualization", "cpus"]),
        st.none() | st.text() | st.integers() | st.lists(st.text()),
    )
)
def test_nonsense_is_an_error_that_names_the_host(raw: dict[str, Any]) -> None:
    with pytest.raises(SurveyError, match=r"^h: "):
        facts_from(raw, "h")


@given(text=st.text())
def test_parsers_of_text_take_any_text(text: str) -> None:
    parsing.os_release(text)
    parsing.memory_bytes(text)
    parsing.swap_bytes(text)
    parsing.time_zone(text, text)
    parsing.virtualization([0, text, ""])


@pytest.mark.parametrize(
    ("efi", "variable", "expected"),
    [
        (False, "", None),
        (True, "", False),
        (True, "0600000001", True),
        (True, "0600000000", False),
    ],
)
def test_secure_boot(efi: bool, variable: str, expected: bool | None) -> None:
    assert parsing.secure_boot(efi=efi, variable=variable) is expected


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"ID": "debian"}, "debian"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "debian"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "redhat"),
        ({"ID": "scientific", "ID_LIKE": "rhel centos"}, "redhat"),
    ],
)
def test_family(release: dict[str, str], expected: str) -> None:
    assert parsing.family(release, "h") == expected
