"""The docker role, seen from outside."""

from __future__ import annotations

import json
from typing import Any


def test_docker_runs_and_comes_back_at_boot(host: Any) -> None:
    service = host.service("docker")
    assert service.is_running
    assert service.is_enabled


def test_the_daemon_is_as_configured(host: Any) -> None:
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["CgroupDriver"] == "systemd"
    assert info["LoggingDriver"] == "json-file"
    assert info["LiveRestoreEnabled"] is True


def test_its_configuration_is_json_and_readable_by_all(host: Any) -> None:
    configuration = host.file("/etc/docker/daemon.json")
    assert configuration.mode == 0o644
    assert json.loads(configuration.content_string)["log-opts"]["max-size"] == "100m"


def test_it_uses_the_containerd_of_the_host(host: Any) -> None:
    assert host.socket("unix:///run/containerd/containerd.sock").is_listening
    assert host.service("containerd").is_running


def test_the_package_is_held(host: Any) -> None:
    assert "docker.io" in host.check_output("apt-mark showhold").split()
