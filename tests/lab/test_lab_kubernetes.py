"""Lab hosts made for Kubernetes: its packages install, its images load, its parts run on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from aiprov.lab import HostSpec, Lab, gpus, keeper
from aiprov.lab.kubernetes import UPSTREAM, contents
from aiprov.lab.machine import until
from aiprov.lab.state import KUBERNETES

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3300)]  # the first builds Kubernetes

PACKAGES = ("kubeadm", "kubelet", "kubectl")
IMPORT = ("ctr", "-n", "k8s.io", "images", "import")
PLUGINS = "/var/lib/kubelet/device-plugins"
KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
staticPodPath: /etc/kubernetes/manifests
"""
FLAGS = "--container-runtime=remote --container-runtime-endpoint=/run/containerd/containerd.sock"
PODS = {
    "gpus": {
        "image": contents.DEVICE_PLUGIN,
        "args": ["-dev", "/host/dev"],
        "securityContext": {"privileged": True},
        "volumeMounts": [
            {"name": "dev", "mountPath": "/host/dev"},
            {"name": "plugins", "mountPath": PLUGINS},
        ],
    },
    "web": {
        "image": contents.BUSYBOX,
        "command": ["sh", "-c", "echo served > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
    },
}
VOLUMES = [
    {"name": "dev", "hostPath": {"path": "/dev"}},
    {"name": "plugins", "hostPath": {"path": PLUGINS}},
]


@pytest.fixture(scope="module")
def lab(lab_root: Path) -> Iterator[Lab]:
    """A host with its packages, for a worker with simulated GPUs."""
    made = Lab(lab_root / "kubernetes")
    made.up([HostSpec(name="w1", kubernetes=["worker"], gpus=gpus("h200x2"))])
    told = yaml.safe_load(made.inventory.read_text())["all"]["children"][KUBERNETES]["vars"]
    source = (
        f"Types: deb\nURIs: {told['kubernetes_repository_url']}/core:/stable:/v1.20/deb/\n"
        "Suites: /\nSigned-By: /etc/apt/keyrings/kubernetes.asc\n"
    )
    _write(made, "/etc/apt/sources.list.d/kubernetes.sources", source)
    _write(made, "/etc/apt/keyrings/kubernetes.asc", told["kubernetes_repository_key"])
    made.run("w1", ["apt-get", "update", "-qq", "--error-on=any"], timeout=300)
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq"]
    names = [f"{name}={UPSTREAM}-1.1" for name in PACKAGES]
    made.run("w1", [*install, "containerd", *names], timeout=600)
    config = (
        'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n'
        f'sandbox_image = "{contents.PAUSE}"\nrestrict_oom_score_adj = true\n'
    )
    _write(made, "/etc/containerd/config.toml", config)
    made.run("w1", ["systemctl", "restart", "containerd"])
    yield made
    made.down()


def _write(lab: Lab, path: str, text: str) -> None:
    lab.run("w1", ["install", "-D", "/dev/stdin", path], stdin=text.encode())


def _text(lab: Lab, *argv: str) -> str:
    return lab.run("w1", argv).stdout.decode().strip()


def test_hosts_are_as_kubeadm_wants_them(lab: Lab) -> None:
    assert _text(lab, "kubeadm", "version", "-o", "short") == f"v{UPSTREAM}"
    assert _text(lab, "kubelet", "--version") == f"Kubernetes v{UPSTREAM}"
    lab.run("w1", ["modprobe", "--all", "overlay", "br_netfilter"])
    lab.run("w1", ["sysctl", "-w", "net.ipv4.ip_forward=1"])
    # Its images are not all here: a worker has no use for those of a control plane.
    checks = ["kubeadm", "init", "phase", "preflight", "--ignore-preflight-errors=ImagePull"]
    lab.run("w1", checks)
    owner = _text(lab, "dpkg-query", "-S", "/usr/lib/systemd/system/kubelet.service")
    assert owner.startswith("kubelet:")


def test_pods_run_and_are_offered_gpus(lab: Lab) -> None:
    archives = _text(lab, "find", f"{keeper.IMAGES}/node", "-name", "*.tar").split()
    for path in archives:
        lab.run("w1", [*IMPORT, path])
    known = json.loads(_text(lab, "crictl", "images", "-o", "json"))["images"]
    tags = {tag for one in known for tag in one["repoTags"]}
    assert {contents.PAUSE, contents.BUSYBOX, f"k8s.gcr.io/kube-proxy:v{UPSTREAM}"} <= tags
    lab.run("w1", ["mknod", "/dev/nvidia0", "c", "1", "3"])
    _write(lab, "/var/lib/kubelet/config.yaml", KUBELET)
    _write(lab, "/var/lib/kubelet/kubeadm-flags.env", f'KUBELET_KUBEADM_ARGS="{FLAGS}"\n')
    _write(lab, "/etc/systemd/system/kubelet.service.d/alone.conf",
           '[Service]\nEnvironment="KUBELET_KUBECONFIG_ARGS="\n')  # fmt: skip
    for name, container in PODS.items():
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "hostNetwork": True,
                "containers": [{"name": name, **container}],
                "volumes": VOLUMES,
            },
        }
        _write(lab, f"/etc/kubernetes/manifests/{name}.yaml", yaml.safe_dump(pod))
    lab.run("w1", ["systemctl", "daemon-reload"])
    lab.run("w1", ["systemctl", "start", "kubelet"])
    fetch = ["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]
    lab.run("w1", ["apt-get", "install", "-y", "-qq", "busybox"])
    until(lambda: lab.run("w1", fetch, check=False).stdout == b"served\n", "the pod", timeout=300)

    def asked(*argv: str) -> bytes:
        return lab.run("w1", ["crictl", *argv], check=False).stdout  # a container may just end

    def offered() -> bool:
        pods = asked("ps", "-q", "--name", "gpus").decode().split()
        return any(b"offering [nvidia0]" in asked("logs", pod) for pod in pods)

    until(offered, "the device plugin to be asked", timeout=300)
