"""The nvidia_driver role, seen from outside."""

from __future__ import annotations

from typing import Any


def test_every_gpu_is_driven(host: Any) -> None:
    said = host.check_output("nvidia-smi --query-gpu=driver_version --format=csv,noheader")
    versions = said.splitlines()
    assert len(versions) == 8
    assert {version.split(".")[0] for version in versions} == {"580"}


def test_nouveau_is_kept_off(host: Any) -> None:
    assert "blacklist nouveau" in host.check_output("modprobe --showconfig").splitlines()
    assert not host.file("/sys/module/nouveau").exists


def test_the_services_run_and_come_back_at_boot(host: Any) -> None:
    for name in ("nvidia-persistenced", "nvidia-fabricmanager"):
        service = host.service(name)
        assert service.is_running
        assert service.is_enabled


def test_the_set_is_held(host: Any) -> None:
    held = set(host.check_output("apt-mark showhold").split())
    assert {"nvidia-kernel-open-dkms", "nvidia-driver-cuda", "nvidia-fabricmanager"} <= held
