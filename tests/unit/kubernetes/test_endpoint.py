"""The control plane's address: ``tests/kubernetes/endpoint/<case>.yml`` says what is made of it.

endpoint       what is asked for; ``os`` and ``addresses``: the host
resources      what the control plane cp-1 has for it
hold, notes    the address that init needs beforehand, and what users are told

``refused.yml``: what is refused, and the way out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov.errors import UnsupportedError
from aiprov.kubernetes import endpoint
from aiprov.kubernetes.endpoint import EndpointSpec, Member
from tests.unit.kubernetes.nodes import node, said

CASES = Path(__file__).parents[2] / "kubernetes" / "endpoint"
GOLDEN = sorted(path for path in CASES.glob("*.yml") if path.stem != "refused")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def made(case: dict[str, Any]) -> dict[str, Any]:
    values = dict(case["endpoint"])
    members = tuple(
        Member(**{**member, "addresses": tuple(member["addresses"])})
        for member in values.pop("members")
    )
    spec = EndpointSpec(members=members, **values)
    host = node(case.get("os", "debian 12"), case.get("addresses", ("10.0.0.1/24",)))
    return {
        "resources": said(endpoint.resources(spec, "cp-1", host)),
        "hold": endpoint.hold(spec),
        "notes": [list(note) for note in endpoint.notes(spec)],
    }


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_case(path: Path):
    case = read(path)
    assert made(case) == case["expected"]


@pytest.mark.parametrize("case", read(CASES / "refused.yml"), ids=lambda case: case["name"])
def test_refused(case: dict[str, Any]):
    with pytest.raises(UnsupportedError) as refused:
        made(case)
    assert case["error"] in str(refused.value)
    assert case["hint"] in (refused.value.hint or "")


def test_each_control_plane_has_another_priority():
    members = tuple(Member(name=f"cp-{n}", addresses=(f"10.0.0.{n}",)) for n in (1, 2, 3))
    spec = EndpointSpec(kind="haproxy", address="10.0.0.10", port=8443, members=members)
    found = []
    for number in (1, 2, 3):
        host = node(addresses=(f"10.0.0.{number}/24",))
        text = str(said(endpoint.resources(spec, f"cp-{number}", host)))
        found.append(int(text.partition("priority ")[2].partition("\\n")[0]))
    assert found == [200, 199, 198]
