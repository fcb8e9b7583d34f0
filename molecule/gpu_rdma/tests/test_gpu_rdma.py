"""The gpu_rdma role, seen from outside."""

from __future__ import annotations

from typing import Any


def test_the_stack_is_there(host: Any) -> None:
    assert host.package("rdma-core").is_installed


def test_gdrcopy_has_its_module_and_its_device(host: Any) -> None:
    assert host.file("/sys/module/gdrdrv").exists
    assert host.file("/dev/gdrdrv").exists


def test_memory_may_be_locked(host: Any) -> None:
    limits = host.file("/etc/security/limits.d/91-aiprov-rdma.conf").content_string
    assert "memlock" in limits
