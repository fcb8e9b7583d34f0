"""The containerd role, seen from outside."""

from __future__ import annotations

from typing import Any


def test_containerd_runs_and_comes_back_at_boot(host: Any) -> None:
    service = host.service("containerd")
    assert service.is_running
    assert service.is_enabled
    assert host.run("ctr version").rc == 0


def test_runc_uses_systemd_cgroups(host: Any) -> None:
    assert "SystemdCgroup = true" in host.check_output("containerd config dump")


def test_drop_ins_are_imported(host: Any) -> None:
    assert host.file("/etc/containerd/conf.d").is_directory
    assert (
        "/etc/containerd/conf.d/*.toml" in host.file("/etc/containerd/config.toml").content_string
    )


def test_the_package_is_held(host: Any) -> None:
    assert "containerd" in host.check_output("apt-mark showhold").split()


def test_nothing_is_left_of_the_change(host: Any) -> None:
    assert not host.file("/etc/containerd/config.toml.aiprov-previous").exists
