"""Objects that aiprov renders, held against the API schemas of every Kubernetes that it supports.

The schemas are kubernetes-validate's, made from each version's own OpenAPI document, in the strict
form that knows no field which is not there: a misspelt field is left out by an API server with a
warning at best, and nobody sees it. 1.20, the lab's, is older than all of them: what is rendered
for it is held against the oldest here, and in the lab against a real API server.

Charts render their objects themselves. What kubeadm, kubelet and API server read as files are no
objects of the API: tests/kubeadm holds them against upstream's types.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from aiprov.catalog import kubernetes
from aiprov.errors import AiprovError
from aiprov.kubernetes import bridge, gpu
from aiprov.kubernetes.endpoint import EndpointSpec, Member, kube_vip
from aiprov.kubernetes.model import ClusterSpec
from aiprov.resources import File
from tests.unit.roles import test_role_cases

ROOT = Path(__file__).parents[3]
Object = dict[str, Any]
BASE = {
    "endpoint": "192.0.2.10:6443",
    "pod_cidrs": ("10.244.0.0/16",),
    "service_cidrs": ("10.96.0.0/16",),
}
KNOWN = [".".join(version.split(".")[:2]) for version in utils.all_versions()]
SUPPORTED = [line.version for line in kubernetes.all_lines()]
NEWEST = SUPPORTED[-1]

TIME_SLICING = {"by": "time-slicing", "resources": [{"replicas": 4}]}
GPUS: dict[str, Object] = {
    "plain": {},
    "other-plugin": {
        "runtime_class": None,
        "device_plugin_image": "example.org/plugin:1",
        "device_plugin_command": ["/plugin"],
        "device_plugin_args": ["-v"],
    },
    "mixed": {"mig_strategy": "mixed", "feature_discovery": True, "sharing": TIME_SLICING},
    "mps": {"cpu_manager": True, "sharing": {**TIME_SLICING, "by": "mps"}},
    "cdi": {"device_list": ["cdi-cri"]},
    "dra": {"stack": "dra"},
    "operator": {"stack": "operator"},
}
PLANES = (
    Member(name="c1", addresses=("192.0.2.11",)),
    Member(name="c2", addresses=("192.0.2.12",)),
)


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """The validator reads a version's schemas anew for each object, which is most of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


def gpu_objects(wanted: Object, minor: str) -> list[Object] | None:
    """The objects of GPUs; None where this version is refused them."""
    cluster = ClusterSpec(version=f"{minor}.0", **BASE)
    try:
        return gpu.manifests(gpu.Gpus(**wanted), cluster)
    except AiprovError:
        return None


def rendered(minor: str) -> dict[str, list[Object]]:
    """Everything that aiprov renders for a version, by a name."""
    endpoint = EndpointSpec(kind="kube-vip", address="192.0.2.10", port=6443, members=PLANES)
    pod = ("example.org/cuda:13", ["nvidia-smi", "-L"])
    found = {
        "bridge": bridge.manifests(),
        "kube-vip": [kube_vip.manifest(endpoint, PLANES[0], "eth0")],
        "gpu-pod": [gpu.gpu_pod("smoke", *pod, node_selector={"nvidia.com/gpu.present": "true"})],
    }
    for name, wanted in GPUS.items():
        if (made := gpu_objects(wanted, minor)) is not None:
            found[f"gpu-{name}"] = made
    return found


def schema_of(minor: str) -> str:
    """The version whose schemas a version is held against."""
    return minor if minor in KNOWN else KNOWN[0]


def check(made: Object, minor: str) -> None:
    """Raises ``ValidationError`` for an object that is not of its schema."""
    version = schema_of(minor)
    assert kubernetes_validate.validate(made, version, strict=True) == version


CASES = [
    pytest.param(minor, made, id=f"{minor}-{name}-{made['kind']}-{made['metadata']['name']}")
    for minor in SUPPORTED
    for name, objects in rendered(minor).items()
    for made in objects
]


@pytest.mark.parametrize(("minor", "made"), CASES)
def test_object_is_of_its_schema(minor: str, made: Object):
    check(made, minor)


ROLE_CASES = sorted((ROOT / "tests" / "roles" / "kubernetes").glob("*.yml"))


@pytest.mark.parametrize("path", ROLE_CASES, ids=lambda path: path.stem)
def test_objects_that_the_role_lays_are_of_their_schemas(path: Path):
    """Add-ons and static pods, in the files that the role brings onto a host."""
    case = test_role_cases.read(path)
    if {"error", "invalid", "skip"} & set(case):
        return
    minor = ".".join(case["vars"]["kubernetes_version"].split(".")[:2])
    for resource in test_role_cases.wanted("kubernetes", case):
        if isinstance(resource, File) and "/manifests/" in resource.path:
            for made in yaml.safe_load_all(test_role_cases.whole_text(resource)):
                check(made, minor)


def test_every_product_version_has_schemas_of_its_own():
    assert {line.version for line in kubernetes.lines()} <= set(KNOWN)


def test_nothing_is_rendered_that_is_not_checked_here():
    """Whoever adds a function that makes objects adds it here."""
    folder = ROOT / "aiprov" / "kubernetes"
    makers = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and re.fullmatch(r"manifests?|gpu_pod", node.name)
    }
    through_gpu = {f"gpu/{name}.py" for name in (
        "__init__", "device_plugin", "feature_discovery", "pod", "runtime_class", "sharing",
    )}  # fmt: skip
    through_bridge = {"bridge.py", "network.py"}
    assert makers == through_gpu | through_bridge | {"endpoint/kube_vip.py"}


# ---------------------------------------------------------------- the check itself

FREE = {
    "annotations",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
}
"""Mappings whose keys are users' words."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field of an object that the API has a name for."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            if key not in FREE:
                yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def changed(made: Object, path: tuple[Any, ...], *, misspell: bool) -> Object:
    """The object with one field under another name, or with a value that no field has."""
    mutant = copy.deepcopy(made)
    inner: Any = mutant
    for step in path[:-1]:
        inner = inner[step]
    if misspell:
        inner[f"{path[-1]}x"] = inner.pop(path[-1])
    else:
        inner[path[-1]] = {"no": ["field", "is", "like", "this"]}
    return mutant


MUTANTS = [
    pytest.param(made, path, id=f"{name}-{made['metadata']['name']}-{'.'.join(map(str, path))}")
    for name, objects in rendered(NEWEST).items()
    if name in ("bridge", "kube-vip", "gpu-pod", "gpu-mixed", "gpu-mps")
    for made in objects
    if name != "gpu-mixed" or made["kind"] in ("ServiceAccount", "Role", "RoleBinding")
    for path in places(made)
    if path[0] not in ("apiVersion", "kind")  # by them the schema is found
]


@pytest.mark.parametrize("misspell", [True, False], ids=["misspelt", "another-kind-of-value"])
def test_every_wrong_field_is_found(misspell: bool):
    """One test for all: there are hundreds of them."""
    unseen = []
    for mutant in MUTANTS:
        made, path = mutant.values
        try:
            check(changed(made, path, misspell=misspell), NEWEST)
        except kubernetes_validate.ValidationError:
            continue
        unseen.append(mutant.id)
    assert unseen == []
    assert len(MUTANTS) > 250


def test_a_kind_that_a_version_does_not_serve_is_found():
    claim = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "gpu"},
        "spec": {},
    }
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        check(claim, "1.33")
    check(claim, "1.34")


# ---------------------------------------------------------------- what the documentation shows


def documented() -> Iterator[Any]:
    """The objects of the API in the documentation's YAML blocks."""
    for page in sorted((ROOT / "docs").glob("kubernetes*.md")):
        blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S)
        for block in blocks:
            for made in yaml.safe_load_all(block):
                if isinstance(made, dict) and {"apiVersion", "kind"} <= set(made):
                    yield pytest.param(made, id=f"{page.stem}-{made['kind']}")


@pytest.mark.parametrize("made", list(documented()))
def test_documented_object_is_of_its_schema(made: Object):
    if made["apiVersion"].startswith("kubeadm.k8s.io"):
        pytest.fail("kubeadm's documents are no objects: show them in another block")
    check(made, NEWEST)
