"""CUDA's libraries, DCGM and RDMA in the catalog, and that nothing of them brings a driver."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from aiprov import catalog
from aiprov.catalog import Row, _rows, cuda, cuda_libraries, dcgm, drivers, rdma
from aiprov.errors import CatalogError
from aiprov.resources import Package
from aiprov.roles.cuda.repository import DRIVER_PACKAGES
from tests.unit.roles.test_role_cases import wanted

CASES = Path(__file__).parents[2] / "roles"

BRINGS_A_DRIVER = re.compile(
    r"cuda(-\d+-\d+)?|cuda-(runtime|demo-suite|drivers)\b.*|cuda-toolkit(-\d+)?|nvidia-(open|driver).*"
)
"""NVIDIA's packages that depend on a driver, or float from one toolkit to the next."""


@pytest.mark.parametrize("row", cuda.toolkits(), ids=lambda row: row.version)
def test_a_toolkit_brings_no_driver(row: cuda.Toolkit) -> None:
    assert row.packages
    assert not [name for name in row.packages if BRINGS_A_DRIVER.fullmatch(name)]


@pytest.mark.parametrize("slug", ["cuda", "dcgm", "gpu_rdma"])
def test_no_role_asks_for_a_package_that_brings_a_driver(slug: str) -> None:
    seen = 0
    for path in sorted((CASES / slug).glob("*.yml")):
        case = yaml.safe_load(path.read_text())
        if "resources" in case:
            names = [r.name for r in wanted(slug, case) if isinstance(r, Package) and not r.absent]
            seen += len(names)
            assert not [name for name in names if BRINGS_A_DRIVER.fullmatch(name)], path.name
    assert seen


def test_what_keeps_drivers_away_lets_cuda_through() -> None:
    kept = [re.compile(re.escape(name).replace(r"\*", ".*")) for name in DRIVER_PACKAGES]
    os = catalog.operating_system("debian", "12")
    needed = [name for row in cuda.toolkits() for name in row.packages]
    needed += cuda_libraries.cudnn().packages(os, 13) + cuda_libraries.nccl(13).packages(os)
    needed += [
        *dcgm.packages().names((12, 13)),
        "nvidia-fs-dkms",
        "nvidia-gds",
        "cuda-nvml-dev-13-0",
    ]
    assert not [name for name in needed for one in kept if one.fullmatch(name)]
    named = {
        name.format(branch="580", pin="580", kernel="k", flavour="f")
        for os_id, version in (("ubuntu", "24.04"), ("debian", "13"), ("rhel", "9"))
        for row in drivers.package_sets(catalog.operating_system(os_id, version))
        if row.from_ == "nvidia"
        for name in (*row.locked, *row.graphics, *row.fabric, *row.imex, *row.metas)
    }
    assert not {name for name in named if not any(one.fullmatch(name) for one in kept)}


@pytest.mark.parametrize(
    ("branch", "architectures", "majors"),
    [
        ("570", ["hopper"], (12,)),
        ("580", ["hopper"], (13,)),
        ("595", ["blackwell"], (13,)),
        ("580", ["volta"], (12, 13)),
        ("580", ["pascal", "volta"], (12, 13)),
        ("570", ["volta"], (12,)),
    ],
)
def test_dcgm_follows_the_driver_and_the_gpus(
    branch: str, architectures: list[str], majors: tuple[int, ...]
) -> None:
    assert dcgm.cuda_majors(branch, architectures) == majors


@pytest.mark.parametrize("row", drivers.branches(), ids=lambda row: row.name)
def test_dcgm_has_packages_for_every_branch(row: drivers.Branch) -> None:
    assert dcgm.packages().names(dcgm.cuda_majors(row.name, []))


@pytest.mark.parametrize(
    ("version", "older"), [("4", False), ("4.3", True), ("4.3.1", True), ("4.4", False),
                           ("4.4.0", False), ("4.10", False)],
)  # fmt: skip
def test_the_beginning_of_a_version_is_compared_as_far_as_it_goes(
    version: str, older: bool
) -> None:
    assert dcgm.older(version, "4.4.0") is older


def test_nccl_is_built_for_the_major_it_is_for() -> None:
    for major in (12, 13):
        assert f"+cuda{major}." in cuda_libraries.nccl(major).build
    with pytest.raises(CatalogError, match="no NCCL for CUDA 14"):
        cuda_libraries.nccl(14)


@pytest.mark.parametrize(
    ("vendor", "device", "class_code", "name"),
    [
        ("15b3", "1021", "020700", "NVIDIA ConnectX or BlueField"),
        ("15b3", "a2dc", "020000", "NVIDIA ConnectX or BlueField"),
        ("15b3", "1979", "060400", None),
        ("8086", "1592", "020000", "Intel E810 with RoCE"),
        ("8086", "1521", "020000", None),
        ("10de", "2335", "030200", None),
    ],
)
def test_adapters_are_known_by_their_ids(
    vendor: str, device: str, class_code: str, name: str | None
) -> None:
    row = rdma.adapter(vendor, device, class_code)
    assert (row.name if row else None) == name


def test_every_os_has_an_rdma_stack_and_gdrcopy() -> None:
    for os in catalog.operating_systems():
        assert rdma.inbox(os).packages
        assert rdma.gdrcopy(os).packages


@pytest.mark.parametrize(
    ("document", "table", "kind"),
    [("cuda_libraries", "cudnn", cuda_libraries.Cudnn),
     ("cuda_libraries", "nccl", cuda_libraries.Nccl),
     ("dcgm", "packages", dcgm.Packages), ("dcgm", "oldest", dcgm.Oldest),
     ("rdma", "adapter", rdma.Adapter), ("rdma", "inbox", rdma.Inbox), ("rdma", "doca", rdma.Doca),
     ("rdma", "dma_buf", rdma.DmaBuf), ("rdma", "gdrcopy", rdma.Copy)],
)  # fmt: skip
def test_every_row_says_where_it_is_from(document: str, table: str, kind: type[Row]) -> None:
    rows = _rows(kind, document, table)
    assert rows
    assert all(row.source and row.date for row in rows)
