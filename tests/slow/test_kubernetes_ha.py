"""Three control planes behind one address, by Ansible: the first is lost, and comes back.

The tests build on one another.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiprov.lab import HostSpec, Lab
from tests.lab.test_playbooks import NOTHING_CHANGED, play
from tests.slow.clusters import ADMIN, Cluster, waited

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(3300)]

PLANES = ("cp1", "cp2", "cp3")
BOTH = ["control-plane", "worker"]


@pytest.fixture(scope="module")
def cluster(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three hosts, each a control plane that takes work, and an address for all of them."""
    own = Lab(lab_root / "available")
    own.up([HostSpec(name=name, kubernetes=BOTH) for name in PLANES])
    network = ipaddress.ip_network(f"{own.hosts['cp1'].address}/24", strict=False)
    yield Cluster.of(
        own,
        tmp_path_factory.mktemp("available"),
        kubernetes_endpoint_by="haproxy",
        kubernetes_vip=str(network[200]),
        kubernetes_gpus=None,
    )
    own.down()


def answers(cluster: Cluster, on: str) -> bool:
    """Whether the API answers at the cluster's one address, as a host's kubelet asks it."""
    asked = ("kubectl", "--kubeconfig", "/etc/kubernetes/kubelet.conf", "--request-timeout=10s")
    return cluster.lab.run(on, (*asked, "get", "node", on), check=False).returncode == 0


def writes(cluster: Cluster, on: str) -> bool:
    """Whether an administrator's object is taken: a majority of etcd's members has it.

    One whose answer came too late is there already when it is made again.
    """
    asked = ("kubectl", "--kubeconfig", ADMIN, "--request-timeout=10s")
    create = (*asked, "create", "configmap", "written", "--from-literal=without=cp1")
    if cluster.lab.run(on, create, check=False).returncode == 0:
        return True
    get = (*asked, "get", "configmap", "written", "-o", "jsonpath={.data.without}")
    return cluster.lab.run(on, get, check=False).stdout == b"cp1"


def is_member(cluster: Cluster, host: str) -> bool:
    """Whether everything that makes a host a control plane works on it."""
    asked = ("/usr/local/lib/aiprov/kube-node", "joined")
    return cluster.lab.run(host, asked, check=False).returncode == 0


def members(cluster: Cluster, on: str) -> set[str]:
    """The names of etcd's members."""
    said = cluster.lab.run(on, ("/usr/local/lib/aiprov/kube-etcd", "members"))
    return {member["name"] for member in json.loads(said.stdout)["members"]}


def has_members(cluster: Cluster, on: str, *names: str) -> None:
    """Wait until these are etcd's members, as one of them says."""
    waited(lambda: members(cluster, on) == set(names), f"etcd's members are {names}", timeout=180)


@pytest.mark.takes(minutes=22)
def test_a_playbook_makes_a_highly_available_cluster(cluster: Cluster):
    began = time.monotonic()
    said = play(cluster.site, *cluster.vault, timeout=3000)
    assert said.code == 0, said.out + said.err
    print(f"three control planes from nothing: {time.monotonic() - began:.0f} s")
    cluster.ready(*PLANES)
    waited(
        lambda: all(answers(cluster, name) for name in PLANES), "the API answers all", timeout=180
    )
    has_members(cluster, "cp2", *PLANES)


def test_a_second_run_of_the_playbook_changes_nothing(cluster: Cluster):
    said = play(cluster.site, *cluster.vault)
    assert said.code == 0, said.out + said.err
    assert len(NOTHING_CHANGED.findall(said.out)) == 3, said.out


def test_the_first_is_destroyed_and_the_api_answers(cluster: Cluster):
    cluster.lab.remove("cp1")
    waited(lambda: answers(cluster, "cp2"), "the API answers", timeout=180)
    waited(lambda: writes(cluster, "cp2"), "the API takes what is new", timeout=180)
    said = cluster.aiprov("cluster status")
    assert said.code != 0
    assert "cp1" in said.out, said.err


def test_it_is_repaired_by_a_new_host_of_that_name(cluster: Cluster):
    said = cluster.aiprov("cluster remove", "cp1", "--unreachable-ok", "--yes")
    assert said.code == 0, said.out + said.err
    has_members(cluster, "cp2", "cp2", "cp3")
    cluster.lab.up([HostSpec(name="cp1", kubernetes=BOTH)])
    cluster.settled()
    cluster.ready(*PLANES, on="cp2")
    has_members(cluster, "cp1", *PLANES)
    assert cluster.asked("configmap", "written", on="cp1")["data"]["without"] == "cp1"
    cluster.well()


def test_a_control_plane_whose_power_is_cut_comes_back_by_itself(cluster: Cluster):
    cluster.lab.kill("cp3")
    waited(lambda: answers(cluster, "cp2"), "the API answers", timeout=180)
    cluster.lab.start("cp3")
    waited(lambda: is_member(cluster, "cp3"), "cp3 is a member again", timeout=360)
    cluster.ready(*PLANES)
    cluster.unchanged()
