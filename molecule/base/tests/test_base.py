"""The base role, seen from outside."""

from __future__ import annotations

from typing import Any


def test_hosts_know_each_other(host: Any) -> None:
    hosts = host.file("/etc/hosts")
    assert hosts.mode == 0o644
    for name in ("debian12", "debian13"):
        assert host.addr(name).is_resolvable
        assert f" {name}\n" in hosts.content_string


def test_hostname_is_the_inventory_name(host: Any) -> None:
    name = host.check_output("hostname")
    assert name in ("debian12", "debian13")
    assert host.file("/etc/hostname").content_string == f"{name}\n"


def test_apt_waits_for_its_lock(host: Any) -> None:
    settings = host.check_output("apt-config dump DPkg::Lock::Timeout")
    assert settings.startswith('DPkg::Lock::Timeout "')
