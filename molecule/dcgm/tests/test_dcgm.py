"""The dcgm role, seen from outside."""

from __future__ import annotations

from typing import Any


def test_the_host_engine_runs_and_comes_back_at_boot(host: Any) -> None:
    service = host.service("nvidia-dcgm")
    assert service.is_running
    assert service.is_enabled


def test_it_sees_the_gpus(host: Any) -> None:
    assert "2 GPUs found" in host.check_output("dcgmi discovery -l")
