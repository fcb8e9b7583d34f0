"""A real Kubernetes through its life, on lab hosts: one control plane and its workers.

The tests build on one another. Kubernetes is 1.20.2, built from Debian's source; what is shown as
1.20.3 or 1.21.0 is the same source under another number.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiprov.lab import HostSpec, Lab, gpus
from aiprov.lab.machine import until
from tests.lab import cloud_boot
from tests.lab.conftest import LabHost
from tests.slow.clusters import PODS_S, Cluster, asks, pod, service, waited
from tests.unit.actions.validations import validation

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(3300)]

GPUS: dict[str, Any] = {
    "device_plugin_image": "registry.lab/device-plugin:1",  # small, and of simulated GPUs
    "device_plugin_args": ["-dev", "/dev"],  # of its container: NVIDIA's runtime puts them there
}
GPU_ROLES = ["nvidia_driver", "nvidia_container_toolkit", "kubernetes"]


@pytest.fixture(scope="module")
def cluster(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane, a worker with two GPUs, one without, and a host that is none of them yet."""
    own = Lab(lab_root / "kubernetes")
    own.up(
        [
            HostSpec(name="cp1", kubernetes=["control-plane"]),
            HostSpec(name="w1", kubernetes=["worker"], gpus=gpus("h200x2")),
            HostSpec(name="w2", kubernetes=["worker"]),
        ]
    )
    folder = tmp_path_factory.mktemp("kubernetes")
    made = Cluster.of(own, folder, kubernetes_gpus=GPUS)
    made.site.set({"aiprov_roles": GPU_ROLES}, "w1")
    yield made
    own.down()


# ---------------------------------------------------------------- from nothing to a cluster


def test_secrets_are_made_once(cluster: Cluster):
    said = cluster.aiprov("cluster secrets")
    assert said.code == 1
    assert "never overwritten" in said.err


def test_the_plan_knows_every_join_before_any_host_is_touched(cluster: Cluster):
    said = cluster.aiprov("plan")
    assert said.code == 2, said.out + said.err
    assert "unknown until" in said.out


def test_hosts_become_a_cluster(cluster: Cluster):
    began = time.monotonic()
    cluster.settled()
    print(f"one control plane and two workers from nothing: {time.monotonic() - began:.0f} s")
    cluster.ready("cp1", "w1", "w2")
    said = cluster.aiprov("verify")
    assert said.code == 0, said.out + said.err


def test_no_token_is_left_in_the_cluster(cluster: Cluster):
    types = cluster.kubectl("-n", "kube-system", "get", "secrets", "-o", "jsonpath={..type}")
    assert "bootstrap.kubernetes.io/token" not in types


def test_only_control_planes_have_the_authorities(cluster: Cluster):
    assert "ca.key" in cluster.lab.run("cp1", ["ls", "/etc/kubernetes/pki"]).stdout.decode()
    found = cluster.lab.run("w1", ["find", "/etc/kubernetes", "/run/aiprov", "-name", "*.key"])
    assert found.stdout == b""


def test_secrets_are_encrypted_in_etcd(cluster: Cluster):
    about = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"}}
    cluster.create({**about, "stringData": {"word": "plaintext-word"}})
    found = cluster.lab.run(
        "cp1", ["grep", "-r", "-l", "plaintext-word", "/var/lib/etcd"], check=False
    )
    assert found.returncode == 1, found.stdout


def test_a_pod_that_asks_for_a_gpu_gets_it(cluster: Cluster):
    asks = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    cluster.create(pod("wants", "ls", "/dev", **asks), pod("plain", "ls", "/dev", node="w1"))
    assert "nvidia" in cluster.finished("wants")
    assert "nvidia" not in cluster.finished("plain")
    node = cluster.asked("node", "w1")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    assert node["metadata"]["labels"]["nvidia.com/gpu.present"] == "true"


def test_more_gpus_than_there_are_keep_a_pod_waiting(cluster: Cluster):
    cluster.create(pod("greedy", "ls", resources={"limits": {"nvidia.com/gpu": 3}}))

    def refused() -> bool:
        told = cluster.asked("pod", "greedy")["status"].get("conditions") or []
        return any("Insufficient nvidia.com/gpu" in one.get("message", "") for one in told)

    waited(refused, "the scheduler has no node for it", timeout=PODS_S)
    cluster.kubectl("delete", "pod", "greedy", "--ignore-not-found")


def test_pods_reach_each_other_across_nodes_and_by_service(cluster: Cluster):
    cluster.create(pod("web", "httpd", "-f", "-p", "8080", "-h", "/etc", node="w1"))
    cluster.create(service("web", 8080))
    address = cluster.running("web")["status"]["podIP"]
    virtual = cluster.asked("service", "web")["spec"]["clusterIP"]
    for number, target in enumerate((address, virtual)):
        url = f"http://{target}:8080/hostname"
        cluster.create(asks(f"asks{number}", url, node="w2"))
        assert "web" in cluster.finished(f"asks{number}")


def test_a_user_gets_access(cluster: Cluster, tmp_path: Path):
    path = tmp_path / "kubeconfig"
    said = cluster.aiprov("kubeconfig", "-o", str(path))
    assert said.code == 0, said.err
    assert path.stat().st_mode & 0o777 == 0o600
    cluster.lab.run("w2", ["tee", "/run/user.conf"], stdin=path.read_bytes())
    asked = ("kubectl", "--kubeconfig", "/run/user.conf", "--request-timeout=10s", "get", "nodes")
    waited(
        lambda: b"w1 " in cluster.lab.run("w2", asked).stdout,
        "the user sees the nodes",
        timeout=120,
    )


def test_the_clusters_status_is_told(cluster: Cluster):
    said = cluster.well()
    for name in ("cp1", "w1", "w2"):
        assert name in said.out


def test_a_node_that_failed_validation_is_cordoned_and_given_back(cluster: Cluster, tmp_path: Path):
    report = tmp_path / "report.json"
    report.write_text(json.dumps(validation(w1="ok", w2="failed").document))
    way = ("--action", "kubernetes")
    for _ in "once", "twice":
        said = cluster.aiprov("quarantine apply", str(report), *way)
        assert said.code == 0, said.out + said.err
    spec = cluster.asked("node", "w2")["spec"]
    assert spec["unschedulable"] is True
    assert "aiprov.io/unhealthy" in {taint["key"] for taint in spec["taints"]}
    assert "w2" in cluster.aiprov("quarantine list", *way).out
    cluster.unchanged()
    said = cluster.aiprov("quarantine release", "w2", *way)
    assert said.code == 0, said.out + said.err
    waited(
        lambda: not {"unschedulable", "taints"} & set(cluster.asked("node", "w2")["spec"]),
        "w2 is as before", timeout=120,
    )  # fmt: skip


def test_drift_of_an_object_is_shown_and_put_right(cluster: Cluster):
    cluster.kubectl("label", "runtimeclass", "nvidia", "app.kubernetes.io/managed-by-")
    cluster.kubectl("delete", "runtimeclass", "nvidia", "--ignore-not-found")
    said = cluster.aiprov("drift")
    assert said.code == 2, said.out + said.err
    assert "nvidia" in said.out
    cluster.settled()
    assert cluster.kubectl("get", "runtimeclass", "-o", "name") != ""


def asking(cluster: Cluster) -> set[str]:
    """The processes on cp1 that ask whether the add-on `away` is there."""
    argv = ["pgrep", "-f", "kube-admin applied /.*/50-away.yaml"]
    return set(cluster.lab.run("cp1", argv, check=False).stdout.split())


STOP_ETCD = """
import subprocess, sys, time
until, begun = time.monotonic() + 600, False
while time.monotonic() < until:
    applies = subprocess.run(["pgrep", "-f", "kube-admin apply /.*/50-away.yaml"]).returncode == 0
    if begun and not applies:
        sys.exit(subprocess.run(["pkill", "-STOP", "-x", "etcd"]).returncode)
    begun = begun or applies
    time.sleep(0.02)
sys.exit("it was not applied")
"""
"""Etcd stands still once the add-on `away` has been applied, and before anybody asks for it: that
begins by a second of reading the add-on's file. So the host itself has to see it."""


def test_an_api_that_is_away_for_a_while_fails_nothing(cluster: Cluster):
    """etcd stands still just when it is asked for what was applied, as while it gets a member."""
    about = {"name": "away", "namespace": "default"}
    away = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about}
    cluster.set(kubernetes_manifests={"away": [away]})
    applying = cluster.start("apply", "--limit", "cp1")

    def sees(question: Callable[[], object], what: str) -> None:
        ended = applying.process.poll
        until(lambda: bool(question()) or ended() is not None, what, timeout=300, every=0.05)
        assert ended() is None, applying.finish()

    try:
        program = {"stdin": STOP_ETCD.encode(), "timeout": 660, "check": False}
        stopped = cluster.lab.run("cp1", ["/usr/bin/python3", "-"], **program)
        assert stopped.returncode == 0, (stopped.stderr, applying.finish())
        first: set[str] = set()
        sees(lambda: first.update(asking(cluster)) or first, "it is asked for")
        # Only where nobody has answered is it asked for by another process.
        sees(lambda: (now := asking(cluster)) and now.isdisjoint(first), "it is asked for again")
    finally:
        cluster.lab.run("cp1", ["pkill", "-CONT", "-x", "etcd"])
    said = applying.finish()
    assert said.code == 0, said.out + said.err
    cluster.well()  # the controller manager, which has lost its lease, is back


# ---------------------------------------------------------------- it grows and shrinks


def test_a_worker_is_added_while_a_pod_serves_and_no_request_is_lost(cluster: Cluster):
    address = cluster.asked("pod", "web")["status"]["podIP"]
    before = cluster.logins("cp1", "w1", "w2")
    cluster.lab.up([HostSpec(name="w3", kubernetes=["worker"])])
    virtual = cluster.asked("service", "web")["spec"]["clusterIP"]
    with (
        cluster.requests(f"http://{address}:8080/hostname", host="cp1") as direct,
        cluster.requests(f"http://{virtual}:8080/hostname", host="w2") as balanced,
    ):
        cluster.settled("--limit", "w3", engine="ansible")
        cluster.ready("cp1", "w1", "w2", "w3")
    for counted in (direct, balanced):
        print(counted)
        assert counted.failed == 0, counted
        assert counted.answered > 100, counted
    assert cluster.logins("cp1", "w1", "w2") == before, "another host was touched"
    cluster.unchanged()
    cluster.create(asks("reaches", f"http://{address}:8080/hostname", node="w3"))
    assert "web" in cluster.finished("reaches")


def test_an_instance_joins_by_itself_at_its_first_boot(cluster: Cluster):
    cluster.lab.up([HostSpec(name="w5", kubernetes=["worker"])])
    host = LabHost(cluster.lab, "w5")
    cloud_boot.install_cloud_init(host)
    asked = ("--host", "w5", "--os", "debian-12", "--allow-secrets")
    said = cluster.aiprov("cloud-init", *asked)
    assert said.code == 0, said.err
    cloud_boot.boot(host, said.out)
    ended = cloud_boot.ended(host, 1800)
    assert ended["status"] == "done", ended
    cluster.ready("cp1", "w1", "w2", "w3", "w5")
    plan = cluster.aiprov("plan", "--limit", "w5")
    assert plan.code == 0, plan.out + plan.err
    said = cluster.aiprov("cluster remove", "w5", "--yes")
    assert said.code == 0, said.out + said.err
    cluster.lab.remove("w5")


def test_a_taken_name_is_refused_before_anything_is_touched(cluster: Cluster):
    cluster.lab.up([HostSpec(name="w4", kubernetes=["worker"])])
    cluster.site.set({"kubernetes_node_name": "w1"}, "w4")
    said = cluster.aiprov("apply", "--limit", "w4")
    assert said.code == 1
    assert "w1" in said.err + said.out
    assert "taken" in said.err + said.out
    cluster.site.set({}, "w4")
    cluster.lab.remove("w4")


def test_a_worker_is_removed_and_joins_again(cluster: Cluster):
    said = cluster.aiprov("cluster remove", "w3", "--yes")
    assert said.code == 0, said.out + said.err
    cluster.ready("cp1", "w1", "w2")
    left = cluster.lab.run("w3", ["ls", "/etc/kubernetes", "/var/lib/kubelet"], check=False)
    assert b"kubelet.conf" not in left.stdout
    assert b"pki" not in left.stdout
    rules = cluster.lab.run("w3", ["iptables-save"]).stdout.decode()
    assert "KUBE-SERVICES" not in rules
    cluster.settled("--limit", "w3")
    cluster.ready("cp1", "w1", "w2", "w3")


def test_a_join_that_is_killed_or_rebooted_converges_on_a_rerun(cluster: Cluster):
    said = cluster.aiprov("cluster remove", "w3", "--yes")
    assert said.code == 0, said.out + said.err
    running = cluster.start("apply", "-v", "--limit", "w3")
    running.wait_for("belongs to the cluster")
    running.kill(signal.SIGKILL, all_of_it=True)
    running.finish()
    cluster.lab.reboot("w3")
    cluster.settled("--limit", "w3")
    cluster.ready("cp1", "w1", "w2", "w3")


# ---------------------------------------------------------------- it is kept


def test_a_kubelet_setting_changes_where_it_runs(cluster: Cluster):
    cluster.site.set({"kubernetes_kubelet": {"max_pods": 77}}, "w2")
    cluster.settled("--limit", "w2")
    waited(
        lambda: cluster.asked("node", "w2")["status"]["allocatable"]["pods"] == "77",
        "w2's kubelet says how many pods it takes", timeout=120,
    )  # fmt: skip
    cluster.ready("cp1", "w1", "w2", "w3")


def test_labels_follow_the_inventory(cluster: Cluster):
    cluster.site.set({"kubernetes_labels": {"example.org/rack": "r7"}}, "w3")
    cluster.settled("--limit", "w3")
    assert cluster.asked("node", "w3")["metadata"]["labels"]["example.org/rack"] == "r7"


def test_a_version_is_changed_by_the_upgrade_alone(cluster: Cluster):
    for version in ("1.20.3", "1.21.0"):
        cluster.set(kubernetes_version=version)
        said = cluster.aiprov("plan")
        assert said.code == 1, said.out + said.err
        assert "aiprov cluster upgrade" in said.out + said.err


def test_it_is_upgraded_node_by_node(cluster: Cluster):
    cluster.lab.up([HostSpec(name="cp1", kubernetes=["control-plane"])], kubernetes=["1.21.0"])
    cluster.set(kubernetes_version="1.21.0")
    said = cluster.aiprov("cluster upgrade", "--yes", "--wave", "2", "--bare-pods")
    assert said.code == 0, said.out + said.err
    nodes = cluster.asked("nodes")["items"]
    versions = {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes}
    assert versions == {"v1.21.0"}
    assert not any(node["spec"].get("unschedulable") for node in nodes)
    assert cluster.kubectl("version", "-o", "yaml").count("v1.21.0") == 2
    cluster.unchanged()


def test_a_snapshot_brings_back_what_was(cluster: Cluster, tmp_path: Path):
    path = tmp_path / "etcd.db"
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}
    cluster.create({**kept, "data": {"word": "before"}})
    said = cluster.aiprov("cluster snapshot", str(path))
    assert said.code == 0, said.out + said.err
    assert path.stat().st_mode & 0o777 == 0o600
    cluster.kubectl("delete", "configmap", "kept", "--ignore-not-found")
    said = cluster.aiprov("cluster restore", str(path), "--yes")
    assert said.code == 0, said.out + said.err
    cluster.ready("cp1", "w1", "w2", "w3")
    assert cluster.asked("configmap", "kept")["data"]["word"] == "before"
    cluster.unchanged()


def test_certificates_are_told_and_renewed(cluster: Cluster):
    told = cluster.aiprov("cluster certificates", "--json")
    assert told.code == 0, told.out + told.err
    before = cluster.lab.run("cp1", ["sha256sum", "/etc/kubernetes/pki/apiserver.crt"]).stdout
    said = cluster.aiprov("cluster certificates", "--renew", "--yes")
    assert said.code == 0, said.out + said.err
    after = cluster.lab.run("cp1", ["sha256sum", "/etc/kubernetes/pki/apiserver.crt"]).stdout
    assert before != after
    cluster.ready("cp1", "w1", "w2", "w3")
    cluster.unchanged()


def test_a_reset_leaves_a_clean_host(cluster: Cluster):
    said = cluster.aiprov("cluster reset", "--limit", "w3", "--yes")
    assert said.code == 0, said.out + said.err
    for path in ("/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/pki", "/etc/cni/net.d"):
        listed = cluster.lab.run("w3", ["find", path, "-type", "f"], check=False)
        assert listed.stdout == b""
    links = cluster.lab.run("w3", ["ip", "-o", "link"]).stdout.decode()
    assert "cni0" not in links
    assert "veth" not in links
