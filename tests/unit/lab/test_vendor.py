"""The stand-in packages: consistent in themselves, and named as the catalog has them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from aiprov import catalog
from aiprov.catalog import cuda_libraries, dcgm, drivers, toolkit
from aiprov.catalog import rdma as rdma_catalog
from aiprov.lab.vendor import archive, dnf, package, rpm, served
from aiprov.lab.vendor.package import Package
from aiprov.lab.vendor.packages import driver, driver_deb, kernel, rdma
from aiprov.lab.vendor.packages import toolkit as toolkit_packages

_DEBIAN = {"dkms", "gcc", "make", "python3", "kmod"}
"""What stand-ins depend on that Debian and Ubuntu have themselves."""
_EL = {"dkms", "gcc", "make", "python3"}
_SYSTEMS = {"debian12": ("debian", "12"), "debian13": ("debian", "13"),
            "ubuntu2404": ("ubuntu", "24.04")}  # fmt: skip
_BRANCHES = ("580", "595")


def _relations(values: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Name and version of each relation, in either format's way of writing."""
    for value in values:
        match = re.fullmatch(r"(\S+)(?: \(?(=|<) ([^)]+)\)?)?", value)
        assert match, value
        yield match[1], match[3] if match[2] == "=" and match[3] else ""


def _unmet(members: list[Package], elsewhere: set[str]) -> list[str]:
    there = {(one.name, one.full_version) for one in members}
    there |= {pair for one in members for pair in _relations(one.provides)}
    names = {name for name, _ in there} | elsewhere
    return [
        f"{one.name} {one.full_version} needs {name} {version}"
        for one in members
        for name, version in _relations(one.depends)
        if name not in names or (version and (name, version) not in there)
    ]


@pytest.mark.parametrize("system", _SYSTEMS)
def test_every_dependency_is_in_the_repository_or_in_debian(system: str) -> None:
    assert _unmet(archive.apt_packages(system, ("580.999.01",)), _DEBIAN) == []


@pytest.mark.parametrize("major", dnf.MAJORS)
def test_every_requirement_is_in_the_repository_or_in_el(major: str) -> None:
    assert _unmet(dnf.packages(major), _EL) == []


def test_the_other_repositories_are_whole() -> None:
    assert _unmet(toolkit_packages.deb_packages(), _DEBIAN) == []
    assert _unmet(toolkit_packages.rpm_packages(), _EL) == []
    assert _unmet([*rdma.gdrcopy_packages(), *rdma.doca_packages()], _DEBIAN) == []
    assert _unmet(kernel.packages(), _DEBIAN) == []


@pytest.mark.parametrize("system", _SYSTEMS)
def test_no_package_is_there_twice(system: str) -> None:
    found = [(one.name, one.full_version) for one in archive.apt_packages(system)]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("branch", _BRANCHES)
@pytest.mark.parametrize("modules", ["open", "proprietary"])
@pytest.mark.parametrize("system", [*_SYSTEMS, "rhel8", "rhel9", "rhel10"])
def test_the_catalogs_sets_are_there_at_one_version(system: str, modules: str, branch: str) -> None:
    if system in _SYSTEMS:
        os = catalog.operating_system(*_SYSTEMS[system])
        members = archive.apt_packages(system)
    else:
        os = catalog.operating_system("rhel", system.removeprefix("rhel"))
        members = dnf.packages(os.version)
    row = next(
        row
        for row in drivers.package_sets(os)
        if row.from_ == "nvidia" and row.modules == modules and row.has(drivers.branch(branch))
    )
    groups = (row.locked, row.graphics, row.fabric, row.fabric_x86_64, row.imex)
    locked = [name.format(branch=branch) for group in groups for name in group]
    for release in driver.releases():
        if release.branch == branch:
            there = {one.name for one in members if one.version == release.version}
            assert set(locked) <= there
    assert {name.format(branch=branch) for name in (*row.beside, *row.nvlink5)} <= {
        one.name for one in members
    }
    if row.first is not None:
        names = {one.name for one in members}
        assert {row.first.format(pin=pin) for pin in (branch, f"{branch}.{_last(branch)}")} <= names
    if row.stream is not None:
        assert row.stream.format(branch=branch) in dnf.streams(members)


def _last(branch: str) -> str:
    return next(v for v in driver.VERSIONS if v.startswith(branch)).partition(".")[2]


@pytest.mark.parametrize("family", ["debian", "ubuntu"])
def test_what_other_roles_install_is_there(family: driver_deb.Family) -> None:
    system, version = ("debian12", "12") if family == "debian" else ("ubuntu2404", "24.04")
    os = catalog.operating_system(family, version)
    names = {one.name for one in archive.apt_packages(system)}
    full = {(one.name, f"{one.version}-{one.release}") for one in archive.apt_packages(system)}
    for major in (12, 13):
        assert set(dcgm.packages().names([major])) <= names
        assert set(cuda_libraries.cudnn().packages(os, major)) <= names
        row = cuda_libraries.nccl(major)
        assert {(name, row.build) for name in row.packages(os)} <= full
    own = {one.name for one in toolkit_packages.deb_packages()}
    assert set(toolkit.newest().packages) <= own
    copies = {one.name for one in rdma.gdrcopy_packages()}
    assert set(rdma_catalog.gdrcopy(os).packages) <= copies


def test_every_package_says_that_it_is_a_stand_in() -> None:
    every = [*archive.apt_packages("debian12"), *archive.apt_packages("ubuntu2404"),
             *toolkit_packages.deb_packages(), *kernel.packages(), *rdma.doca_packages(),
             *rdma.gdrcopy_packages(), *dnf.packages("9")]  # fmt: skip
    for one in every:
        assert one.description.startswith(package.STAND_IN)
        assert "stand-in" in one.all_files[f"/usr/share/doc/{one.name}/README"].data.decode()
    programs = Path(archive.__file__).parent / "programs"
    for path in programs.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert "tand-in" in path.read_text(), path


@pytest.mark.parametrize(
    ("version", "line"),
    [("580.95.05", (7, 0)), ("580.178.04", (99, 0)), ("595.91.07", (99, 0))],
)
def test_modules_build_on_the_kernels_that_the_catalog_says(
    version: str, line: tuple[int, int]
) -> None:
    assert driver.Release(version=version).without_kernel == line


def test_streams_hold_one_kind_of_modules_each() -> None:
    found = dnf.streams(dnf.packages("9"))
    assert set(found) == {"580-open", "580-dkms", "595-open", "595-dkms", "open-dkms",
                          "latest-dkms"}  # fmt: skip
    names = {one.name for one in found["580-open"]}
    assert "kmod-nvidia-open-dkms" in names and "kmod-nvidia-latest-dkms" not in names
    assert {one.version.partition(".")[0] for one in found["580-open"]} == {"580"}
    assert "nvidia-driver-3:580.95.05-1.el9.x86_64" in map(rpm.nevra, found["580-dkms"])


def test_a_gateway_serves_what_its_lab_lists(tmp_path: Path) -> None:
    place = tmp_path / "built/nvidia.github.io/lib%2b"
    place.parent.mkdir(parents=True)
    (tmp_path / "built/nvidia.github.io/a+b").write_text("x")
    (tmp_path / "secret").write_text("x")
    listing = tmp_path / "vendor.json"
    assert served.find(listing, "/nvidia.github.io/a+b") is None
    told = {"archives": {"apt": str(tmp_path / "built")}, "broken": [], "key": ""}
    listing.write_text(json.dumps(told))
    assert served.find(listing, "/nvidia.github.io/a%2bb") is not None
    for path in ("/../secret", "/%2e%2e/secret", "/nvidia.github.io", "/none"):
        assert served.find(listing, path) is None


# ---------------------------------------------------------------- programs

_SMI = """\
#!/bin/sh
echo 'GPU 0: NVIDIA H200 (UUID: GPU-aaaa)'
echo 'GPU 1: NVIDIA H200 (UUID: GPU-bbbb)'
echo '  MIG 1g.18gb     Device  0: (UUID: MIG-cccc)'
"""


@pytest.fixture
def bench(tmp_path: Path) -> SimpleNamespace:
    """Programs as they would be installed, and a nvidia-smi that they ask."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for one in (*toolkit_packages.deb_packages(), *archive.apt_packages("debian12")):
        for path, content in one.files.items():
            if path.startswith("/usr/bin/") and content.data.startswith(b"#!/usr/bin/python3"):
                (folder / Path(path).name).write_bytes(content.data)
    (folder / "nvidia-smi").write_text(_SMI)
    (folder / "nvidia-smi").chmod(0o755)
    text = (folder / "nvidia-ctk").read_text()
    (folder / "nvidia-ctk").write_text(text.replace("/run/aiprov-lab", f"{tmp_path}/run"))

    def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, folder / name, *words],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{folder}:/usr/bin:/bin"},
        )

    return SimpleNamespace(run=run, folder=folder, root=tmp_path)


def test_cdi_names_gpus_and_the_parts_of_those_in_mig_mode(bench: SimpleNamespace) -> None:
    spec = json.loads(bench.run("nvidia-ctk", "cdi", "generate", "--format", "json").stdout)
    names = [one["name"] for one in spec["devices"]]
    assert names == ["0", "GPU-aaaa", "1:0", "MIG-cccc", "all"]
    paths = [node["path"] for node in spec["devices"][-1]["containerEdits"]["deviceNodes"]]
    assert paths == ["/dev/nvidia0", "/dev/nvidia1"]
    place = bench.root / "cdi" / "nvidia.yaml"
    assert bench.run("nvidia-ctk", "cdi", "generate", f"--output={place}").returncode == 0
    listed = bench.run("nvidia-ctk", "cdi", "list", "--spec-dir", str(place.parent)).stdout
    assert listed.splitlines() == [f"nvidia.com/gpu={name}" for name in names]


def test_without_a_driver_there_is_no_cdi(bench: SimpleNamespace) -> None:
    (bench.folder / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    done = bench.run("nvidia-ctk", "cdi", "generate")
    assert done.returncode == 1 and "ERROR_DRIVER_NOT_LOADED" in done.stderr


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("nvidia-container-runtime.mode=cdi", 'mode = "cdi"'),
        ("accept-nvidia-visible-devices-as-volume-mounts=true",
         "accept-nvidia-visible-devices-as-volume-mounts = true"),
        ("nvidia-container-cli.no-cgroups=true", "no-cgroups = true"),
        ("features.x=a,b", 'x = ["a", "b"]'),
    ],
)  # fmt: skip
def test_a_key_of_the_toolkits_configuration_is_set(
    bench: SimpleNamespace, setting: str, line: str
) -> None:
    place = bench.root / "config.toml"
    place.write_bytes(toolkit_packages.CONFIG.data)
    words = ("config", "--config-file", str(place), "--in-place", "--set", setting)
    assert bench.run("nvidia-ctk", *words).returncode == 0
    lines = place.read_text().splitlines()
    assert lines.count(line) == 1 and 'log-level = "info"' in lines


def test_programs_say_versions_and_that_they_are_stand_ins(bench: SimpleNamespace) -> None:
    for name, said in (
        ("nvidia-ctk", "CLI version 1."),
        ("nvidia-container-cli", "cli-version: 1."),
        ("nv-fabricmanager", "Fabric Manager version is : 5"),
        ("nvidia-persistenced", "version 5"),
        ("nvidia-modprobe", "version 5"),
        ("dcgmi", "Version : "),
    ):
        told = bench.run(name, "--version").stdout
        assert said in told and "tand-in of aiprov's lab" in told, name
