"""GPU nodes: their labels, each of one owner, what their kubelets are best told, and a pod."""

from __future__ import annotations

from typing import Any

import pytest

from aiprov.catalog import gpus as catalog
from aiprov.catalog import kubernetes_gpu
from aiprov.errors import UnsupportedError
from aiprov.kubernetes import fit, gpu
from aiprov.kubernetes.gpu.kubelet_advice import GIB, MIB, reserved_cpus, reserved_memory
from aiprov.kubernetes.gpu.labels import spelt
from aiprov.kubernetes.model import ClusterSpec, Kubelet, NodeSpec
from tests.unit.kubernetes.gpu_hosts import host

H200, T4, A16 = "2335", "1eb8", "25b6"
CLUSTER = ClusterSpec(
    version="1.36.4",
    endpoint="192.0.2.10:6443",
    pod_cidrs=("10.244.0.0/16",),
    service_cidrs=("10.96.0.0/16",),
)


def labels(
    *devices: str, driver: str | None = None, mig: tuple[Any, ...] = (), **gpus: Any
) -> dict[str, str]:
    node = gpu.NodeMig(name="w1", layouts=mig)
    return gpu.labels(host(*devices), gpu.Gpus(**gpus), driver, node)


# Spelling as in k8s-device-plugin v0.20.0, docs/gpu-feature-discovery/README.md and internal/lm.
def test_labels_of_a_node_that_nothing_else_labels():
    assert labels(H200, H200, driver="580.178.04") == {
        "aiprov.io/gpu.memory-gib": "141",
        "aiprov.io/gpu.model": "H200-SXM",
        "nvidia.com/cuda.driver-version.full": "580.178.04",
        "nvidia.com/cuda.driver-version.major": "580",
        "nvidia.com/cuda.driver-version.minor": "178",
        "nvidia.com/cuda.driver-version.revision": "04",
        "nvidia.com/gpu.compute.major": "9",
        "nvidia.com/gpu.compute.minor": "0",
        "nvidia.com/gpu.count": "2",
        "nvidia.com/gpu.family": "hopper",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": "NVIDIA-H200",
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/mig.capable": "true",
        "nvidia.com/mps.capable": "false",
    }


def test_of_a_branch_no_whole_version_is_made():
    found = labels(H200, driver="580")
    assert found["nvidia.com/cuda.driver-version.major"] == "580"
    assert "nvidia.com/cuda.driver-version.full" not in found


OWN = {"aiprov.io/gpu.memory-gib": "141", "aiprov.io/gpu.model": "H200-SXM"}


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ({"feature_discovery": True}, {**OWN, "nvidia.com/gpu.present": "true"}),
        ({"stack": "operator"}, OWN),
    ],
)
def test_what_another_writes_is_left_to_it(gpus: Any, expected: Any):
    assert labels(H200, driver="580.178.04", **gpus) == expected


def test_a_host_without_gpus_has_no_labels():
    assert labels() == {}


def test_several_models_have_no_product():
    found = labels(H200, T4)
    assert found["aiprov.io/gpu.model"] == "several"
    assert found["nvidia.com/gpu.count"] == "2"
    assert "nvidia.com/gpu.product" not in found


def test_a_product_is_said_only_where_the_id_is_of_one():
    assert "nvidia.com/gpu.product" not in labels(A16)
    assert labels(T4)["nvidia.com/gpu.product"] == "Tesla-T4"


SHARED = {"by": "time-slicing", "resources": [{"replicas": 4}]}


@pytest.mark.parametrize(
    ("gpus", "mig", "expected"),
    [
        ({"sharing": SHARED}, (), {"gpu.product": "NVIDIA-H200-SHARED", "gpu.replicas": "4"}),
        ({"sharing": {**SHARED, "rename": True}}, (), {"gpu.product": "NVIDIA-H200"}),
        ({"sharing": {**SHARED, "by": "mps"}}, (), {"mps.capable": "true"}),
        (
            {"mig_strategy": "single"},
            ({"1g.18gb": 7},),
            {"gpu.product": "NVIDIA-H200-MIG-1g.18gb", "mig.strategy": "single", "gpu.count": None},
        ),
        (
            {"mig_strategy": "mixed"},
            ({"1g.18gb": 7},),
            {"gpu.product": "NVIDIA-H200", "mig.strategy": "mixed", "gpu.count": None},
        ),
        ({"stack": "dra"}, (), {"gpu.present": "true", "gpu.replicas": None}),
    ],
)
def test_cut_and_shared_gpus(gpus: Any, mig: Any, expected: dict[str, str | None]):
    found = labels(H200, mig=mig, **gpus)
    assert {name: found.get(f"nvidia.com/{name}") for name in expected} == expected


@pytest.mark.parametrize("device", sorted(row.pci_id for row in catalog.gpus()))
def test_a_kubelet_may_give_itself_the_labels_of_every_gpu(device: str):
    found = labels(device[5:], driver="580.178.04", sharing=SHARED)
    node = NodeSpec(name="w1", addresses=("192.0.2.21",), labels=found)
    fit.check_node(CLUSTER, node)


@pytest.mark.parametrize("device", sorted(kubernetes_gpu.products()))
def test_names_of_the_driver_are_of_gpus_that_the_catalog_knows(device: str):
    assert catalog.gpu(device).architecture
    assert kubernetes_gpu.product(device)


def test_spelling():
    assert spelt("RTX 6000 (Ada)  24 GB+") == "RTX-6000-Ada-24-GB"


def test_gpus_that_no_layout_names_are_whole():
    found = gpu.node_mig(host(H200, H200), {"0000:01:00.0": {"1g.18gb": 7}})
    assert found == gpu.NodeMig(name="w1", layouts=(None, {"1g.18gb": 7}))
    with pytest.raises(UnsupportedError, match="GPUs without MIG"):
        gpu.check(gpu.Gpus(mig_strategy="single"), CLUSTER, [found])


# ---------------------------------------------------------------- kubelets


def test_kubelets_of_gpu_hosts_place_cpus_near_gpus():
    found = gpu.kubelet_defaults(host(H200, H200, numa=(0, 1)))
    assert found == Kubelet(
        cpu_manager="static",
        topology_manager="best-effort",
        kube_reserved={"cpu": "6", "memory": "48896Mi"},
    )
    fit.check_kubelet(CLUSTER, found)


def test_strict_hosts_refuse_pods_that_fit_no_node():
    found = gpu.kubelet_defaults(host(H200, H200, numa=(0, 1)), strict=True)
    assert found.topology_manager == "restricted"


@pytest.mark.parametrize("numa", [(None, None), (0, 0)])
def test_one_numa_node_needs_no_topology_manager(numa: Any):
    assert gpu.kubelet_defaults(host(H200, H200, numa=numa)).topology_manager is None


def test_a_host_without_gpus_is_left_as_it_is():
    assert gpu.kubelet_defaults(host()) == Kubelet()


def test_what_a_user_set_stays():
    given = Kubelet(
        cpu_manager="none",
        topology_manager="single-numa-node",
        reserved_cpus="0-3",
        kube_reserved={"memory": "4Gi"},
        serving_certificates=True,
    )
    found = gpu.kubelet_defaults(host(H200, H200, numa=(0, 1)), given)
    assert found == given


@pytest.mark.parametrize("cpus", [1, 2, 8, 64, 384])
def test_every_size_of_host_gets_what_its_kubelet_starts_with(cpus: int):
    found = gpu.kubelet_defaults(host(H200, cpus=cpus, gib=8))
    fit.check_kubelet(CLUSTER, found)
    assert int(found.kube_reserved.get("cpu", "0")) < cpus


@pytest.mark.parametrize(("cpus", "kept"), [(1, 1), (32, 1), (33, 2), (224, 7)])
def test_reserved_cpus(cpus: int, kept: int):
    assert reserved_cpus(cpus) == kept


# cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes: 25 % of the first 4 GiB, 20 %
# of the next 4, 10 % of the next 8, 6 % of the next 112, 2 % of the rest; up to 256 MiB.
@pytest.mark.parametrize(
    ("gib", "kept"), [(2, 0.5), (4, 1), (8, 2), (16, 2.75), (128, 9.5), (228, 11.5)]
)
def test_reserved_memory(gib: int, kept: float):
    assert reserved_memory(gib * GIB) / GIB == kept


def test_a_new_kernel_reserves_no_other_memory():
    total = 2015 * GIB
    assert {reserved_memory(total + less * MIB) for less in (-40, -7, 0, 12)} == {47.25 * GIB}


# ---------------------------------------------------------------- a pod


def test_a_pod_that_asks_for_a_gpu():
    pod = gpu.gpu_pod("smoke", "example.org/image:1", ["/bin/check"], runtime_class=None)
    (container,) = pod["spec"]["containers"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    assert container["command"] == ["/bin/check"]
    assert "runtimeClassName" not in pod["spec"]
    assert pod["spec"]["restartPolicy"] == "Never"


def test_a_pod_for_chosen_nodes_and_a_part_of_a_gpu():
    pod = gpu.gpu_pod(
        "part",
        "example.org/image:1",
        ["nvidia-smi", "-L"],
        namespace="ml",
        resource="nvidia.com/mig-1g.18gb",
        count=2,
        node_selector={"nvidia.com/gpu.product": "NVIDIA-H200"},
    )
    assert pod["metadata"]["namespace"] == "ml"
    assert pod["spec"]["runtimeClassName"] == "nvidia"
    assert pod["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H200"}
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/mig-1g.18gb": 2}
