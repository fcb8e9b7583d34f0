"""kubeadm cases: ``tests/kubeadm/<case>.yml`` says a cluster, a node, and what kubeadm is told.

cluster, node, join   the model's values
expected              what is made of them, by name: the whole text of a document, or a program's
                      arguments

``refused.yml``: changes of one good cluster, node and join, what they are refused for, and the way
out; ``invalid`` where the values themselves are not of their form. ``fields/*.yml``: every field of
upstream's types, with which each document is compared: a field that is not there is left out with a
warning at best.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from aiprov.catalog import kubernetes
from aiprov.errors import AiprovError
from aiprov.kubernetes import kubeadm, kubelet
from aiprov.kubernetes.model import ClusterSpec, Join, NodeSpec

CASES = Path(__file__).parents[2] / "kubeadm"
GOLDEN = sorted(path for path in CASES.glob("*.yml") if path.stem != "refused")
AT = "/etc/kubernetes/aiprov/kubeadm.yaml"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


REFUSED = read(CASES / "refused.yml")


def values(case: Mapping[str, Any]) -> tuple[ClusterSpec, NodeSpec, Join]:
    return ClusterSpec(**case["cluster"]), NodeSpec(**case["node"]), Join(**case["join"])


def made(name: str, cluster: ClusterSpec, node: NodeSpec, join: Join) -> Any:
    """What is made of a cluster, a node and a join: a text, arguments, or None."""
    match name:
        case "init":
            return kubeadm.init_config(cluster, node, join)
        case "init_arguments":
            return list(kubeadm.init_arguments(cluster, AT))
        case "join":
            return kubeadm.join_config(cluster, node, join)
        case "kubelet":
            return kubelet.kubelet_config(cluster, node)
        case "kubelet_patch":
            return kubelet.kubelet_patch(cluster, node)
        case "proxy":
            return kubelet.dumped(kubelet.proxy_document(cluster))
        case _:
            raise AssertionError(f"{name} is nothing that is made")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_case(path: Path):
    case = read(path)
    found = {name: made(name, *values(case)) for name in case["expected"]}
    assert found == case["expected"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_case_links_to_upstream(path: Path):
    assert "# https://" in path.read_text()


def test_every_version_of_the_api_has_a_case():
    versions = {kubernetes.kubeadm_api(read(path)["cluster"]["version"]) for path in GOLDEN}
    assert versions == {row.version for row in kubernetes.kubeadm_apis()}


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("case", REFUSED["cases"], ids=lambda case: case["name"])
def test_refused(case: dict[str, Any]):
    given = {part: {**REFUSED[part], **case.get(part, {})} for part in ("cluster", "node", "join")}
    if "invalid" in case:
        with pytest.raises(ValidationError) as invalid:
            values(given)
        assert case["invalid"] in str(invalid.value)
        return
    with pytest.raises(AiprovError) as refused:
        made(case["of"], *values(given))
    assert case["error"] in refused.value.message
    assert case["hint"] in (refused.value.hint or "")


def test_nothing_is_wrong_with_the_cluster_that_is_changed():
    assert made("init", *values(REFUSED))
    assert made("join", *values(REFUSED))


# ---------------------------------------------------------------- secrets


def test_secrets_are_not_shown():
    cluster, node, join = values(REFUSED)
    token = REFUSED["join"]["token"]
    assert token in kubeadm.init_config(cluster, node, join)
    assert token not in repr(join)
    assert token not in join.model_dump_json()


def test_a_mistaken_secret_is_not_shown():
    with pytest.raises(ValidationError) as invalid:
        Join(**{**REFUSED["join"], "token": "hunter2"})
    assert "hunter2" not in str(invalid.value)


# ---------------------------------------------------------------- every field is upstream's

FIELDS = {path.stem: read(path) for path in (CASES / "fields").glob("*.yml")}


def unknown(value: Any, fields: Any, at: str = "") -> list[str]:
    """The fields of a document that its type has not: ``apiServer.extraEnvs``."""
    if isinstance(fields, list):
        assert isinstance(value, list), at
        return [name for item in value for name in unknown(item, fields[0], f"{at}[]")]
    if not isinstance(fields, dict):
        return []
    assert isinstance(value, dict), at
    missing = [f"{at}.{name}" for name in value if name not in fields]
    within = (unknown(value[k], fields[k], f"{at}.{k}") for k in value if k in fields)
    return [*missing, *(name for names in within for name in names)]


def check_fields(text: str, version: str) -> None:
    for document in yaml.safe_load_all(text):
        kind = document["kind"]
        group, _, api = document["apiVersion"].partition("/")
        rest = {k: v for k, v in document.items() if k not in ("apiVersion", "kind")}
        if group == "kubeadm.k8s.io":
            assert api == kubernetes.kubeadm_api(version)
            assert unknown(rest, FIELDS[api][kind], kind) == []
        else:
            since = next(table[kind] for table in FIELDS.values() if kind in table)
            assert [k for k in rest if minor(since[k]) > minor(version)] == []


def minor(version: str) -> int:
    return int(version.split(".")[1])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_fields_are_upstreams(path: Path):
    case = read(path)
    for name, text in case["expected"].items():
        if name in ("init", "join", "kubelet"):
            check_fields(text, case["cluster"]["version"])


ARGS = st.dictionaries(st.sampled_from(["v", "profiling"]), st.sampled_from(["2", "false"]))
KUBELETS = st.fixed_dictionaries({}, optional={
    "max_pods": st.integers(1, 500),
    "swap": st.sampled_from(["refused", "unused"]),
    "topology_manager": st.sampled_from(["none", "restricted"]),
    "eviction_hard": st.just({"memory.available": "5%"}),
})  # fmt: skip
CLUSTERS = st.fixed_dictionaries(
    {
        "version": st.sampled_from(["1.20.2", "1.25.0", "1.30.1", "1.31.0", "1.33.5", "1.37.1"]),
        "endpoint": st.just("192.0.2.10:6443"),
        "pod_cidrs": st.just(("10.244.0.0/16",)),
        "service_cidrs": st.just(("10.96.0.0/16",)),
    },
    optional={
        "api_args": ARGS,
        "scheduler_args": ARGS,
        "audit": st.just({"policy": "/etc/kubernetes/audit/policy.yaml"}),
        "encryption_config": st.just("/etc/kubernetes/audit/encryption.yaml"),
        "feature_gates": st.dictionaries(st.just("AllBeta"), st.booleans()),
        "skip_phases": st.just(("addon/coredns",)),
        "timeouts": st.just({"control_plane": "5m0s", "discovery": "1m0s"}),
        "kubelet": KUBELETS,
    },
)
NODES = st.fixed_dictionaries(
    {"name": st.just("c1"), "addresses": st.just(("192.0.2.11",)), "control_plane": st.just(True)},
    optional={
        "worker": st.booleans(),
        "labels": st.just({"nvidia.com/gpu.present": "true"}),
        "taints": st.just(({"key": "a", "effect": "NoExecute"},)),
        "kubelet_args": ARGS,
        "ignore_preflight_errors": st.just(("NumCPU",)),
    },
)


@settings(deadline=None, max_examples=60)
@given(CLUSTERS, NODES)
def test_any_cluster_is_told_in_upstreams_fields(cluster: dict[str, Any], node: dict[str, Any]):
    given = (ClusterSpec(**cluster), NodeSpec(**node), Join(**REFUSED["join"]))
    version = cluster["version"]
    for name in ("init", "join"):
        check_fields(made(name, *given), version)
        assert made(name, *given) == made(name, *given)
