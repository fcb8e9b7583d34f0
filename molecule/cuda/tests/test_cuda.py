"""The cuda role, seen from outside."""

from __future__ import annotations

from typing import Any


def test_the_toolkits_stand_side_by_side(host: Any) -> None:
    for version in ("12.9", "13.0"):
        said = host.check_output(f"/usr/local/cuda-{version}/bin/nvcc --version")
        assert f"release {version}" in said


def test_the_newest_is_the_default(host: Any) -> None:
    assert host.check_output("readlink -f /usr/local/cuda") == "/usr/local/cuda-13.0"
    assert "release 13.0" in host.check_output("bash -lc 'nvcc --version'")


def test_no_driver_came_along(host: Any) -> None:
    assert not host.package("cuda-drivers").is_installed
    assert not host.package("cuda").is_installed
