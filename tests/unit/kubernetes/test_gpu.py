"""GPUs in Kubernetes: ``tests/kubernetes/gpu/<case>.yml`` says what is wanted, and what is made.

gpus, cluster   what is asked for; of the cluster, what matters here
nodes           the MIG layouts of nodes, by name
expected        the objects that are applied, the charts, and what users are told

``refused.yml``: changes of good values, what they are refused for, and the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from aiprov.catalog import kubernetes, kubernetes_gpu
from aiprov.errors import AiprovError, CatalogError
from aiprov.kubernetes import gpu
from aiprov.kubernetes.model import ClusterSpec

CASES = Path(__file__).parents[2] / "kubernetes" / "gpu"
GOLDEN = sorted(path for path in CASES.glob("*.yml") if path.stem != "refused")
BASE = {
    "endpoint": "192.0.2.10:6443",
    "pod_cidrs": ("10.244.0.0/16",),
    "service_cidrs": ("10.96.0.0/16",),
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


REFUSED = read(CASES / "refused.yml")


def values(case: Mapping[str, Any]) -> tuple[gpu.Gpus, ClusterSpec, list[gpu.NodeMig]]:
    nodes = [
        gpu.NodeMig(name=name, layouts=tuple(layouts))
        for name, layouts in case.get("nodes", {}).items()
    ]
    return gpu.Gpus(**case["gpus"]), ClusterSpec(**BASE, **case["cluster"]), nodes


def chart(found: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(found).items() if value is not None}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_case(path: Path):
    case = read(path)
    gpus, cluster, nodes = values(case)
    expected = case["expected"]
    assert gpu.manifests(gpus, cluster, nodes) == expected["manifests"]
    assert [chart(one) for one in gpu.charts(gpus, cluster)] == expected.get("charts", [])
    assert gpu.notes(gpus, cluster) == expected["notes"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_case_links_to_upstream(path: Path):
    assert "# https://" in path.read_text()


@pytest.mark.parametrize("case", REFUSED["cases"], ids=lambda case: case["name"])
def test_refused(case: dict[str, Any]):
    given = {part: {**REFUSED[part], **case.get(part, {})} for part in ("gpus", "cluster")}
    if "invalid" in case:
        with pytest.raises(ValidationError) as invalid:
            values(given)
        assert case["invalid"] in str(invalid.value)
        return
    gpus, cluster, nodes = values({**given, "nodes": case.get("nodes", {})})
    with pytest.raises(AiprovError) as refused:
        gpu.manifests(gpus, cluster, nodes)
    assert case["error"] in refused.value.message
    assert case["hint"] in (refused.value.hint or "")


def made(**gpus: Any) -> list[dict[str, Any]]:
    return gpu.manifests(gpu.Gpus(**gpus), ClusterSpec(version="1.36.4", **BASE))


def test_pods_are_made_anew_when_their_configuration_changes():
    def annotation(**gpus: Any) -> str:
        (plugin,) = (one for one in made(**gpus) if one["kind"] == "DaemonSet")
        return plugin["spec"]["template"]["metadata"]["annotations"]["aiprov.io/config-sha256"]

    assert annotation() == annotation()
    assert annotation() != annotation(device_ids="index")


def test_objects_are_found_again_when_they_are_no_longer_wanted():
    for stack in ("device-plugin", "dra", "operator"):
        for made_object in made(stack=stack):
            found = made_object["metadata"]["labels"]
            assert found["app.kubernetes.io/managed-by"] == "aiprov"
            assert found["aiprov.io/addon"] == gpu.ADDON


def test_one_stack_alone_offers_the_gpus():
    assert not any(one["kind"] == "DaemonSet" for one in made(stack="dra"))
    assert [one["kind"] for one in made(stack="operator")] == ["Namespace"]
    assert gpu.charts(gpu.Gpus(), ClusterSpec(version="1.36.4", **BASE)) == []


def test_every_image_comes_from_the_mirror():
    objects = made(
        registry="registry.example.org",
        feature_discovery=True,
        sharing={"by": "mps", "resources": [{"replicas": 2}]},
    )
    pods = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "DaemonSet"]
    images = {
        container["image"]
        for pod in pods
        for container in (*pod.get("initContainers", ()), *pod["containers"])
    }
    assert images == {"registry.example.org/nvidia/k8s-device-plugin:v0.20.0"}


def test_another_version_of_a_chart_has_another_checksum():
    digest = "0" * 64
    cluster = ClusterSpec(version="1.37.1", **BASE)
    (own,) = gpu.charts(
        gpu.Gpus(stack="operator", chart_version="v26.11.0", chart_sha256=digest), cluster
    )
    assert (own.version, own.sha256) == ("v26.11.0", digest)
    (unknown,) = gpu.charts(gpu.Gpus(stack="operator", chart_version="v26.11.0"), cluster)
    assert unknown.sha256 is None


def test_every_supported_version_has_a_way_to_offer_gpus():
    for line in kubernetes.all_lines():
        cluster = ClusterSpec(version=f"{line.version}.0", **BASE)
        assert gpu.manifests(gpu.Gpus(), cluster)


def test_the_catalog_says_what_it_does_not_know():
    with pytest.raises(CatalogError) as unknown:
        kubernetes_gpu.chart("gpu-operater")
    assert "gpu-operator" in (unknown.value.hint or "")


def test_every_setting_is_documented():
    text = (CASES.parents[2] / "docs" / "kubernetes-gpus.md").read_text()
    for name in (*gpu.Gpus.model_fields, *gpu.Sharing.model_fields):
        assert f"`{name}`" in text or f"{name}:" in text, (
            f"{name} is not in docs/kubernetes-gpus.md"
        )
