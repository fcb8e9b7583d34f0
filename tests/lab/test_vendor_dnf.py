"""The stand-in dnf repositories, through the real dnf of a Debian host, into roots of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from aiprov.lab import HostSpec, Lab
from aiprov.lab.vendor import dnf, places, served

pytestmark = pytest.mark.lab

_KEY = "/usr/share/keyrings/aiprov-lab-stand-ins.asc"


@dataclass(frozen=True)
class Dnf:
    """A host that has dnf, and a root for each major version of EL."""

    lab: Lab

    def prepare(self, major: str) -> None:
        """Name the repositories of one major version."""
        base = served.address(self.lab.folder.network())
        found_at = {
            "cuda": f"{places.CUDA}/rhel{major}/x86_64",
            "toolkit": f"{places.TOOLKIT}/rpm/x86_64",
            "base": f"{dnf.BASE}/x86_64",
        }
        text = "".join(
            f"[{name}]\nname={name}\nbaseurl={base}/{place}\ngpgcheck=1\nrepo_gpgcheck=1\n"
            f"gpgkey=file://{_KEY}\n"
            for name, place in found_at.items()
        )
        self.lab.run("dnf", ["mkdir", "-p", f"/srv/repos{major}"])
        self.lab.run("dnf", ["tee", f"/srv/repos{major}/all.repo"], stdin=text.encode())

    def run(self, major: str, *words: str, check: bool = True) -> CompletedProcess[bytes]:
        """dnf for the root of a major version."""
        options = (
            *(f"--installroot=/srv/el{major}", f"--releasever={major}"),
            f"--setopt=module_platform_id=platform:el{major}",
            f"--setopt=reposdir=/srv/repos{major}",
        )
        return self.lab.run("dnf", ["dnf", "-y", "-q", *options, *words], timeout=300, check=check)

    def text(self, major: str, *words: str) -> str:
        return self.run(major, *words).stdout.decode()

    def installed(self, major: str) -> set[str]:
        """Everything in a root, with versions."""
        return set(
            self.lab.run("dnf", ["rpm", "--root", f"/srv/el{major}", "-qa"]).stdout.decode().split()
        )


@pytest.fixture(scope="module")
def host(lab_root: Path) -> Iterator[Dnf]:
    """A Debian host with dnf, whose lab serves the dnf repositories."""
    assert shutil.which("rpmbuild"), "the packages rpm and createrepo-c are missing"
    lab = Lab(lab_root / "dnf")
    lab.up([HostSpec(name="dnf")], vendor=("apt", "dnf"))
    lab.run("dnf", ["apt-get", "update", "-qq"], timeout=300)
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq"]
    lab.run("dnf", [*install, "--no-install-recommends", "dnf", "rpm", "gpg"], timeout=600)
    made = Dnf(lab)
    for major in dnf.MAJORS:
        made.prepare(major)
    yield made
    lab.down()


@pytest.mark.parametrize("major", dnf.MODULAR)
def test_a_module_stream_chooses_the_branch(host: Dnf, major: str) -> None:
    assert "595-open" in host.text(major, "module", "list", "nvidia-driver")
    host.run(major, "module", "enable", "nvidia-driver:580-open")
    listed = host.text(major, "list", "--showduplicates", "nvidia-driver-cuda")
    assert f"3:580.178.04-1.el{major}" in listed and f"3:580.95.05-1.el{major}" in listed
    assert "595." not in listed
    wanted = ("nvidia-driver-cuda", "kmod-nvidia-open-dkms", "nvidia-fabricmanager")
    host.run(major, "install", *wanted, "nvidia-modprobe")
    there = host.installed(major)
    assert f"kmod-nvidia-open-dkms-580.178.04-1.el{major}.x86_64" in there
    assert "nvidia-fabricmanager-580.178.04-1.x86_64" in there


def test_the_stream_of_another_branch_is_switched_to(host: Dnf) -> None:
    host.run("9", "module", "switch-to", "nvidia-driver:595-open", "--allowerasing")
    assert "kmod-nvidia-open-dkms-595.91.07-1.el9.x86_64" in host.installed("9")


def test_without_modules_all_branches_are_there(host: Dnf) -> None:
    assert host.run("10", "module", "list", "nvidia-driver", check=False).returncode != 0
    listed = host.text("10", "list", "--showduplicates", "nvidia-open")
    assert "3:580.178.04-1.el10" in listed and "3:595.91.07-1.el10" in listed
    host.run("10", "install", "nvidia-open-3:580.95.05-1.el10", "kmod-nvidia-open-dkms")
    assert "nvidia-driver-580.95.05-1.el10.x86_64" in host.installed("10")


def test_dnf_refuses_a_mixture(host: Dnf) -> None:
    mixed = ("nvidia-driver-cuda-3:580.95.05-1.el10", "kmod-nvidia-open-dkms-3:595.91.07-1.el10")
    refused = host.run("10", "--setopt=best=1", "install", *mixed, check=False)
    assert refused.returncode != 0


def test_cuda_dcgm_and_the_toolkit_come_without_a_driver(host: Dnf) -> None:
    names = ("cuda-toolkit-13-0", "datacenter-gpu-manager-4-cuda13", "nvidia-container-toolkit")
    host.run("8", "--setopt=cachedir=/var/cache/dnf8", "install", *names)
    there = host.installed("8")
    assert "cuda-nvcc-13-0-13.0.88-1.x86_64" in there
    assert "nvidia-container-toolkit-base-1.20.0-1.x86_64" in there
    assert "datacenter-gpu-manager-4-core-4.5.0-1.x86_64" in there


def test_a_key_that_did_not_sign_is_refused(host: Dnf) -> None:
    listing = "/srv/repos10/all.repo"
    text = host.lab.run("dnf", ["cat", listing]).stdout
    foreign = "/usr/share/keyrings/debian-archive-bookworm-stable.gpg"
    changed = text.replace(_KEY.encode(), foreign.encode())
    host.lab.run("dnf", ["tee", "/srv/repos10/all.repo"], stdin=changed)
    try:
        fresh = ("--installroot=/srv/none", "--setopt=cachedir=/var/cache/none")
        assert host.run("10", *fresh, "install", "nvlsm", check=False).returncode != 0
    finally:
        host.lab.run("dnf", ["tee", listing], stdin=text)
