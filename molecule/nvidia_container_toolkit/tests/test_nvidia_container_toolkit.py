"""The nvidia_container_toolkit role, seen from outside."""

from __future__ import annotations

import json
from typing import Any


def test_docker_knows_the_runtime(host: Any) -> None:
    runtimes = json.loads(host.check_output("docker info --format '{{json .Runtimes}}'"))
    assert runtimes["nvidia"]["path"] == "/usr/bin/nvidia-container-runtime"


def test_containerd_knows_it_and_cgroups_are_systemds(host: Any) -> None:
    config = host.check_output("containerd config dump")
    assert "nvidia-container-runtime" in config
    assert config.count("SystemdCgroup = true") >= 2


def test_the_gpus_have_names(host: Any) -> None:
    assert "nvidia.com/gpu=all" in host.check_output("nvidia-ctk cdi list")


def test_the_four_packages_are_at_one_version(host: Any) -> None:
    names = ("nvidia-container-toolkit", "nvidia-container-toolkit-base",
             "libnvidia-container-tools", "libnvidia-container1")  # fmt: skip
    assert len({host.package(name).version for name in names}) == 1
