"""NVIDIA's real driver, from Debian's own non-free section, built by DKMS on lab hosts.

Debian 12 has branch 535, here with the proprietary modules, Debian 13 has 550, here with the open
ones. The lab cannot load a module, so the hosts are made as an image is: built for the kernel that
it is going to boot, and not loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from aiprov.catalog import drivers
from aiprov.lab import HostSpec, Lab, gpus
from aiprov.lab.sources import debian, plain_http
from tests.lab.commands import Site, site

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(3300)]

HOSTS: dict[str, dict[str, Any]] = {
    "realbookworm": {
        "suite": "bookworm", "gpus": "a100-80gbx2", "modules": "proprietary",
        "branch": "535", "license": "NVIDIA", "line": "6.1",
    },
    "realtrixie": {
        "suite": "trixie", "gpus": "h200x2", "modules": "open",
        "branch": "550", "license": "Dual MIT/GPL", "line": "6.12",
    },
}  # fmt: skip
BUILT_BY = [pytest.param(next(iter(HOSTS)), marks=pytest.mark.takes(minutes=40)), *list(HOSTS)[1:]]
"""The hosts' names. For the first that is asked for, all are built."""

SET = ("libcuda1", "libnvidia-ml1", "nvidia-smi")


@pytest.fixture(scope="module")
def hosts(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A host of each suite, with the headers of its distribution's kernel to be built for."""
    own = Lab(lab_root / "real")
    own.up(
        [
            HostSpec(name=name, suite=about["suite"], gpus=gpus(about["gpus"]))
            for name, about in HOSTS.items()
        ]
    )
    made = site(own, tmp_path_factory.mktemp("real") / "site", {"aiprov_roles": ["nvidia_driver"]})
    for name, about in HOSTS.items():
        made.set(settings(own, name, about), name)
    yield made
    own.down()


def settings(lab: Lab, name: str, about: dict[str, Any]) -> dict[str, Any]:
    archive = next(source for source in debian(about["suite"]) if source.suite == about["suite"])
    return {
        "nvidia_driver_source": "distribution",
        "nvidia_driver_distribution_url": plain_http(archive.uri),
        "nvidia_driver_kernel_modules": about["modules"],
        "nvidia_driver_load": False,
        "nvidia_driver_kernels": [kernel(lab, name)],
    }


@cache
def kernels(lab: Lab, name: str) -> list[str]:
    """The kernels of the line that the distribution was released with, oldest first.

    Its archive is asked once: it may change while the hosts are there.
    """
    lab.run(name, ["apt-get", "-q", "update"], timeout=600)
    line = HOSTS[name]["line"].replace(".", r"\.")
    names = rf"^linux-headers-{line}\.[0-9.+deb-]+-amd64$"
    search = ["apt-cache", "search", "--names-only", names]
    said = lab.run(name, search).stdout.decode()
    found = [line.split()[0].removeprefix("linux-headers-") for line in said.splitlines()]
    return sorted(found, key=lambda one: [int(number) for number in re.findall(r"\d+", one)])


def kernel(lab: Lab, name: str) -> str:
    """The newest of them that the distribution's own driver builds on."""
    found = kernels(lab, name)
    good = [one for one in found if not drivers.kernel_limits(HOSTS[name]["branch"], one)]
    assert good, f"the driver builds on none of {', '.join(found)}"
    return good[-1]


@pytest.fixture(scope="module")
def built(hosts: Site) -> Site:
    """The hosts, converged."""
    plan = hosts.aiprov("plan")
    assert plan.code == 2, plan.out + plan.err
    assert "end of life" in plan.out, "an old branch is not warned of"
    said = hosts.aiprov("apply", "-v")
    assert said.code == 0, said.out + said.err
    return hosts


def of_host(hosts: Site, name: str, *argv: str) -> str:
    return hosts.lab.run(name, argv).stdout.decode().strip()


@pytest.mark.parametrize("name", BUILT_BY)
def test_the_modules_are_there_for_the_kernel(built: Site, name: str):
    about = HOSTS[name]
    target = kernel(built.lab, name)
    for module in ("nvidia", "nvidia-current", "nvidia-current-open"):
        argv = ["modinfo", "-k", target, "-F", "version", module]
        done = built.lab.run(name, argv, check=False)
        if done.returncode == 0:
            break
    else:
        pytest.fail(of_host(built, name, "dkms", "status"))
    assert done.stdout.decode().startswith(f"{about['branch']}.")
    assert (
        of_host(built, name, "modinfo", "-k", target, "-F", "license", module) == (about["license"])
    )
    assert f"{target}, x86_64: installed" in of_host(built, name, "dkms", "status")


@pytest.mark.parametrize("name", HOSTS)
def test_nouveau_is_kept_off(built: Site, name: str):
    argv = ["modprobe", "--showconfig"]
    assert "blacklist nouveau" in of_host(built, name, *argv).splitlines()


@pytest.mark.parametrize("name", HOSTS)
def test_the_versions_are_held_as_a_set(built: Site, name: str):
    held = of_host(built, name, "apt-mark", "showhold").split()
    assert set(SET) <= set(held), held
    assert any("dkms" in package for package in held), held
    argv = ["dpkg-query", "-W", "-f", "${Version}\n", *SET]  # the others have versions of their own
    versions = {line.rpartition("-")[0] for line in of_host(built, name, *argv).splitlines()}
    assert len(versions) == 1, versions


def test_a_kernel_that_the_driver_does_not_build_on_is_refused(built: Site):
    """Debian 13's security archive has had such kernels since 6.12.97."""
    name, newer = "realtrixie", "6.12.117+deb13-amd64"
    before = settings(built.lab, name, HOSTS[name])
    built.set({**before, "nvidia_driver_kernels": [newer]}, name)
    said = built.aiprov("plan", "--limit", name)
    built.set(before, name)
    assert said.code == 1, said.out + said.err
    assert f"driver 550 does not build on kernel {newer}" in said.out + said.err


def test_a_second_run_changes_nothing(built: Site):
    again = built.aiprov("apply")
    assert again.code == 0, again.out + again.err
    assert "2 unchanged" in again.out, again.out
    plan = built.aiprov("plan")
    assert plan.code == 0, plan.out + plan.err
