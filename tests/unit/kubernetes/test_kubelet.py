"""What kubelets are told: the cluster's configuration, and a node's own as a patch or as flags."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.kubernetes import fit, kubelet
from aiprov.kubernetes.model import ClusterSpec, Kubelet, NodeSpec

OPTIONS = st.builds(
    Kubelet,
    kube_reserved=st.dictionaries(st.sampled_from(["cpu", "memory", "pid"]), st.just("1")),
    eviction_hard=st.dictionaries(
        st.sampled_from(["memory.available", "nodefs.available"]), st.sampled_from(["5%", "1Gi"])
    ),
    max_pods=st.sampled_from([None, 60, 250]),
    topology_manager=st.sampled_from([None, "none", "restricted"]),
    swap=st.sampled_from(["refused", "unused", "limited"]),
    serving_certificates=st.booleans(),
    seccomp_default=st.booleans(),
    extra=st.sampled_from([{}, {"logging": {"verbosity": 4}}, {"logging": {"format": "json"}}]),
)
DRIVERS = st.sampled_from([None, "systemd", "cgroupfs"])


def cluster(options: Kubelet, version: str = "1.36.4", **more: Any) -> ClusterSpec:
    return ClusterSpec(
        version=version,
        endpoint="192.0.2.10:6443",
        pod_cidrs=("10.244.0.0/16",),
        service_cidrs=("10.96.0.0/16",),
        kubelet=options,
        **more,
    )


def node(options: Kubelet | None, driver: Any = None) -> NodeSpec:
    return NodeSpec(name="w1", addresses=("192.0.2.21",), kubelet=options, cgroup_driver=driver)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    target = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target


@settings(deadline=None, max_examples=200)
@given(OPTIONS, st.one_of(st.none(), OPTIONS), DRIVERS)
def test_the_patch_makes_the_clusters_configuration_the_nodes(common, own, driver):
    whole, one = cluster(common), node(own, driver)
    patch = kubelet.kubelet_patch(whole, one)
    before = yaml.safe_load(kubelet.kubelet_config(whole))
    after = yaml.safe_load(kubelet.kubelet_config(whole, one))
    assert merged(before, json.loads(patch) if patch else {}) == after
    assert (patch is None) == (before == after)


@given(OPTIONS)
def test_nobody_reaches_a_kubelet_unknown(options: Kubelet):
    found = yaml.safe_load(kubelet.kubelet_config(cluster(options)))
    assert found["authentication"]["anonymous"] == {"enabled": False}
    assert found["authorization"]["mode"] == "Webhook"
    assert "readOnlyPort" not in found


def test_the_patch_has_a_name_that_kubeadm_takes():
    # kubernetes cmd/kubeadm/app/util/patches: target, suffix, kind, extension
    name = kubelet.PATCH.rpartition("/")[2]
    assert re.fullmatch(r"kubeletconfiguration[^.+]*\+(strategic|merge|json)\.(json|yaml)", name)
    assert kubelet.PATCH.startswith(kubelet.PATCHES)


def test_one_threshold_does_not_put_the_others_out():
    options = Kubelet(eviction_hard={"memory.available": "2Gi"})
    found = yaml.safe_load(kubelet.kubelet_config(cluster(options)))
    assert found["evictionHard"]["memory.available"] == "2Gi"
    assert found["evictionHard"]["nodefs.available"] == "10%"
    assert "evictionHard" not in yaml.safe_load(kubelet.kubelet_config(cluster(Kubelet())))


def test_extra_is_laid_over_and_none_removes():
    options = Kubelet(max_pods=60, extra={"maxPods": None, "memorySwap": {"swapBehavior": "x"}})
    found = yaml.safe_load(kubelet.kubelet_config(cluster(options)))
    assert "maxPods" not in found
    assert found["memorySwap"] == {"swapBehavior": "x"}


@pytest.mark.parametrize(
    ("swap", "version", "fails", "behavior"),
    [
        ("refused", "1.36.4", True, None),
        ("unused", "1.36.4", False, {"swapBehavior": "NoSwap"}),
        ("limited", "1.36.4", False, {"swapBehavior": "LimitedSwap"}),
        ("unused", "1.20.2", False, None),
    ],
)
def test_swap(swap: Any, version: str, fails: bool, behavior: dict[str, str] | None):
    found = yaml.safe_load(kubelet.kubelet_config(cluster(Kubelet(swap=swap), version)))
    assert found["failSwapOn"] is fails
    assert found.get("memorySwap") == behavior


def test_flags_where_kubeadm_cannot_patch():
    whole = cluster(Kubelet(), "1.20.2", cgroup_driver="cgroupfs")
    own = Kubelet(swap="unused", system_reserved={"memory": "1Gi"}, reserved_cpus="0-1")
    flags = {
        "cgroup-driver": "systemd",
        "fail-swap-on": "false",
        "reserved-cpus": "0-1",
        "system-reserved": "memory=1Gi",
    }
    assert kubelet.kubelet_flags(whole, node(own, "systemd")) == flags
    assert kubelet.kubelet_patch(whole, node(own, "systemd")) is None
    assert kubelet.kubelet_flags(whole, node(None)) == {}
    assert kubelet.kubelet_flags(cluster(Kubelet()), node(own)) == {}


def test_kube_proxy_is_told_what_is_asked_for():
    gates = {"feature_gates": {"AllAlpha": False}}
    asked = {"mode": "ipvs", "node_port_addresses": ("192.0.2.0/24",)}
    found = kubelet.proxy_document(cluster(Kubelet(), proxy=asked, **gates))
    assert found == {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "featureGates": {"AllAlpha": False},
        "mode": "ipvs",
        "nodePortAddresses": ["192.0.2.0/24"],
    }


def test_a_static_memory_manager_with_what_it_needs():
    options = Kubelet(
        memory_manager="Static",
        kube_reserved={"memory": "1Gi"},
        system_reserved={"memory": "924Mi"},
        reserved_memory=(
            {"numa_node": 0, "limits": {"memory": "1Gi"}},
            {"numa_node": 1, "limits": {"memory": "1Gi", "hugepages-1Gi": "2Gi"}},
        ),
    )
    found = yaml.safe_load(kubelet.kubelet_config(cluster(options)))
    assert [item["numaNode"] for item in found["reservedMemory"]] == [0, 1]


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("4", 4),
        ("500m", Fraction(1, 2)),
        ("1.5", Fraction(3, 2)),
        ("2k", 2_000),
        ("1M", 10**6),
        ("1Ki", 1024),
        ("2Gi", 2 * 1024**3),
        ("1E", 10**18),
        ("1Ei", 1024**6),
    ],
)
def test_amounts(quantity: str, number: Any):
    assert fit.amount(quantity) == number
