"""Pod networks: ``tests/kubernetes/network/<case>.yml`` says what is wanted, and what is made.

network, os    what is asked for, and of which host
node           what every node has before it joins
settled        what says that it is as it should be
manifests      objects for the cluster
fetched        what the first control plane fetches
charts         charts for the cluster
notes          what users are told

``refused.yml``: what is refused, and the way out.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov.catalog import networks
from aiprov.errors import AiprovError
from aiprov.kubernetes import network
from aiprov.kubernetes.network import NetworkSpec
from tests.unit.kubernetes.nodes import node, said

CASES = Path(__file__).parents[2] / "kubernetes" / "network"
GOLDEN = sorted(path for path in CASES.glob("*.yml") if path.stem != "refused")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def spec(**values: Any) -> NetworkSpec:
    values["pod_cidrs"] = tuple(values.get("pod_cidrs", ("10.244.0.0/16",)))
    return NetworkSpec(**{"version": "1.36.4", "node": "cp-1", **values})


def made(wanted: NetworkSpec, os: str) -> dict[str, Any]:
    """All that a network asks for, as a case has it."""
    host = node(os)
    charts = [asdict(chart) for chart in network.charts(wanted)]
    return {
        "bin_dir": network.bin_dir(wanted, host),
        "node": said(network.node_resources(wanted, host)),
        "settled": said(network.settled(wanted, "Command[join]")),
        "manifests": network.manifests(wanted),
        "fetched": said(network.fetched(wanted, host)),
        "charts": charts,
        "notes": [list(note) for note in network.notes(wanted)],
    }


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_case(path: Path):
    case = read(path)
    assert made(spec(**case["network"]), case.get("os", "debian 12")) == case["expected"]


@pytest.mark.parametrize("case", read(CASES / "refused.yml"), ids=lambda case: case["name"])
def test_refused(case: dict[str, Any]):
    with pytest.raises(AiprovError) as refused:
        made(spec(**case["network"]), case.get("os", "debian 12"))
    assert case["error"] in str(refused.value)
    assert case["hint"] in (refused.value.hint or "")


@pytest.mark.parametrize("name", ["flannel", "calico"])
@pytest.mark.parametrize(
    "cidrs", [("10.1.0.0/16",), ("10.1.0.0/16", "fd01::/56"), ("fd01::/56",)], ids=len
)
def test_what_is_changed_of_a_manifest_is_no_part_of_another_change(
    name: str, cidrs: tuple[str, ...]
):
    """Edits are made one after the other: none may find its text in what another one brought."""
    from aiprov.kubernetes import pinned

    edits = pinned.edits(name, cidrs, 1400)
    olds = [edit.old for edit in edits]
    assert len(set(olds)) == len(olds)
    for edit in edits:
        assert edit.new != edit.old
        assert not any(old in edit.new for old in olds if old != edit.old)


def test_every_row_is_whole():
    for name in ("flannel", "calico", "cilium"):
        for row in networks.pod_networks(name):
            assert len(row.sha256) == 64
            assert row.url.startswith("https://")
            assert row.kind == "chart" or f"v{row.version}/" in row.url
            assert row.tested
