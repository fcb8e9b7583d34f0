"""PyTorch in the catalog: what each release is built with, and whom that serves."""

from __future__ import annotations

from typing import get_args

import pytest

from aiprov.catalog import _rows, cuda, gpus, pytorch


def test_the_rows_fit_together():
    releases = _rows(pytorch.Release, "pytorch", "release")
    builds = {row.cuda for row in _rows(pytorch.Build, "pytorch", "build")}
    for row in releases:
        assert {row.pypi_cuda, *row.cuda} <= builds, row.version
        assert cuda.toolkit(row.pypi_cuda).minimum_driver
    known = set(get_args(gpus.Architecture))
    for build in _rows(pytorch.Build, "pytorch", "build"):
        assert set(build.without) < known
    assert pytorch.release(pytorch.tested()) in releases


@pytest.mark.parametrize(
    ("version", "architectures", "served_by"),
    [
        ("2.13.0", {"volta"}, ("12.6",)),
        ("2.13.0+cu130", {"blackwell"}, ("13.0", "13.2")),
        ("2.13.0", {"hopper"}, ("12.6", "13.0", "13.2")),
        ("2.13.0", {"volta", "blackwell"}, ()),
        ("1.0.0", {"volta"}, ()),
    ],
)
def test_which_builds_serve_gpus(version: str, architectures: set[str], served_by: tuple[str, ...]):
    assert pytorch.alternatives(version, architectures) == served_by


@pytest.mark.parametrize(
    ("python", "version", "needs"),
    [
        ("3.10", "2.13.0", None),
        ("3.9", "2.13.0", "3.10"),
        ("3.10", "2.15.0", "3.11"),
        ("3.6", "9.9.9", None),
    ],
)
def test_which_python_is_needed(python: str, version: str, needs: str | None):
    assert pytorch.too_old(python, version) == needs
