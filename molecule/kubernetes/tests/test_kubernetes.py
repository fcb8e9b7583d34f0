"""The kubernetes role, seen from outside."""

from __future__ import annotations

import json
import time
from typing import Any

ADMIN = "/etc/kubernetes/admin.conf"
PATIENCE_S = 180


def is_control_plane(host: Any) -> bool:
    """Whether it is the scenario's control plane. A worker has nothing of an administrator's."""
    named = host.check_output("hostname") == "cp1"
    assert host.file(ADMIN).exists is named
    return named


def objects(host: Any, *words: str) -> list[Any]:
    """What the API has, as the administrator sees it; nothing on a worker."""
    if not is_control_plane(host):
        return []
    return list(json.loads(kubectl(host, f"get {' '.join(words)} -o json"))["items"])


def kubectl(host: Any, words: str) -> str:
    """What kubectl says, when it is answered: an API server may be away for a moment."""
    end = time.monotonic() + PATIENCE_S
    while True:
        done = host.run(f"kubectl --kubeconfig {ADMIN} --request-timeout=30s {words}")
        if done.rc == 0:
            return str(done.stdout)
        assert time.monotonic() < end, done.stderr
        time.sleep(2)


def test_kubelet_runs_and_comes_back_at_boot(host: Any) -> None:
    service = host.service("kubelet")
    assert service.is_running
    assert service.is_enabled


def test_the_packages_are_held(host: Any) -> None:
    held = host.check_output("apt-mark showhold").split()
    assert {"kubeadm", "kubectl", "kubelet"} <= set(held)


def test_what_lets_nodes_in_is_gone(host: Any) -> None:
    assert not host.file("/run/aiprov/kubernetes/bootstrap.conf").exists


def test_all_nodes_are_ready(host: Any) -> None:
    if is_control_plane(host):  # a kubelet was restarted a moment ago
        said = kubectl(host, "wait --for=condition=Ready nodes --all --timeout=25s")
        assert len(said.splitlines()) == 2


def test_no_token_is_left(host: Any) -> None:
    types = {secret["type"] for secret in objects(host, "-n", "kube-system", "secrets")}
    assert "bootstrap.kubernetes.io/token" not in types


def test_the_api_server_audits(host: Any) -> None:
    log = host.file("/var/log/kubernetes/audit/audit.log")
    assert log.exists is is_control_plane(host)
    assert not log.exists or log.size > 0
