"""The stand-in repositories, through the real apt, dpkg, dkms and systemd of lab hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from aiprov.lab import HostSpec, Lab, gpus
from aiprov.lab.vendor import served
from aiprov.lab.vendor.packages import kernel

pytestmark = pytest.mark.lab

_OS = {"bookworm": "debian12", "trixie": "debian13"}
_SET = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-modprobe", "nvidia-persistenced")
_HEADERS = f"linux-headers-{kernel.running()}"


@dataclass(frozen=True)
class GpuHost:
    """A simulated GPU host that knows the stand-in repositories."""

    lab: Lab
    name: str

    def run(self, *argv: str, check: bool = True) -> CompletedProcess[bytes]:
        return self.lab.run(self.name, argv, timeout=600, check=check)

    def text(self, *argv: str) -> str:
        return self.run(*argv).stdout.decode().strip()

    def apt(self, *words: str, check: bool = True) -> str:
        """apt-get, as a role runs it: what it said."""
        quiet = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "--allow-downgrades")
        done = self.run(*quiet, *words, check=check)
        return (done.stdout + done.stderr).decode()

    def versions(self, *names: str) -> set[str]:
        """The installed versions of packages; an empty one for what is not there."""
        form = "-f=${db:Status-Abbrev}${Version}\n"
        lines = self.text("dpkg-query", "-W", form, *names).splitlines()
        return {line[3:].strip() if line.startswith("ii") else "" for line in lines}


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(lab_root: Path, request: pytest.FixtureRequest) -> Iterator[GpuHost]:
    """A host with two GPUs on one NVSwitch board's worth of driver, and nothing installed yet."""
    suite = request.param
    lab = Lab(lab_root / f"vendor-{suite}")
    lab.up([HostSpec(name="gpu", suite=suite, gpus=gpus("h200x8"))])
    inventory = yaml.safe_load(lab.inventory.read_text())
    told = inventory["all"]["children"][served.GROUP]["vars"]
    sources = "".join(
        f"Types: deb\nURIs: {uri}\nSuites: /\nSigned-By: /etc/apt/keyrings/vendor.asc\n\n"
        for uri in (
            f"{told['nvidia_driver_repository_url']}/{_OS[suite]}/x86_64/",
            f"{told['nvidia_container_toolkit_repository_url']}/stable/deb/amd64/",
        )
    )
    made = GpuHost(lab, "gpu")
    files = {
        "/etc/apt/keyrings/vendor.asc": told["nvidia_driver_repository_key"],
        "/etc/apt/sources.list.d/vendor.sources": sources,
    }
    for path, text in files.items():
        lab.run("gpu", ["tee", path], stdin=text.encode())
    made.apt("update", "-qq", "--error-on=any")
    yield made
    lab.down()


@pytest.fixture(scope="module")
def driven(host: GpuHost) -> GpuHost:
    """The same host with 580.95.05 installed and loaded."""
    host.apt("install", "-qq", "nvidia-driver-pinning-580.95.05")
    host.apt("install", "-qq", _HEADERS, "dkms", "gcc", "make", *_SET)
    host.run("modprobe", "nvidia")
    host.run("modprobe", "nvidia-uvm")
    return host


def test_apt_installs_the_pinned_version_and_dkms_builds_it(driven: GpuHost) -> None:
    assert driven.versions(*_SET, "libcuda1", "nvidia-smi") == {"580.95.05-1"}
    status = driven.text("dkms", "status", "-m", "nvidia")
    assert "580.95.05" in status and "installed" in status
    assert driven.text("modinfo", "-F", "version", "nvidia") == "580.95.05"
    assert driven.text("modinfo", "-F", "license", "nvidia") == "Dual MIT/GPL"
    assert driven.text("modinfo", "-F", "vermagic", "nvidia").startswith(f"{kernel.running()} ")
    loader = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
    assert driven.text("readlink", loader) == "libnvidia-ml.so.580.95.05"
    assert "libcuda.so.1" in driven.text("ldconfig", "-p")


def test_the_driver_serves_the_simulated_gpus(driven: GpuHost) -> None:
    assert len(driven.text("nvidia-smi", "-L").splitlines()) == 8
    driven.run("systemctl", "restart", "nvidia-persistenced")
    assert driven.text("systemctl", "is-active", "nvidia-persistenced") == "active"


def test_a_fabric_manager_of_another_version_does_not_start(driven: GpuHost) -> None:
    driven.apt("install", "-qq", "nvidia-fabricmanager=580.178.04-1")
    failed = driven.run("systemctl", "start", "nvidia-fabricmanager", check=False)
    assert failed.returncode != 0
    driven.run("journalctl", "--sync")
    journal = driven.text("journalctl", "-u", "nvidia-fabricmanager", "--no-pager")
    assert "interface version 580.178.04 don't match with driver version 580.95.05" in journal
    driven.apt("install", "-qq", "nvidia-fabricmanager=580.95.05-1")
    driven.run("systemctl", "start", "nvidia-fabricmanager")
    assert "Completed" in driven.text("nvidia-smi", "-q")
    driven.run("systemctl", "stop", "nvidia-fabricmanager")


def test_apt_refuses_a_mixture(driven: GpuHost) -> None:
    said = driven.apt("install", "-s", "nvidia-driver-cuda=595.91.07-1", check=False)
    assert "unmet dependencies" in said
    assert driven.versions(*_SET) == {"580.95.05-1"}


def test_the_container_toolkit_writes_cdi_for_every_gpu(driven: GpuHost) -> None:
    driven.apt("install", "-qq", "nvidia-container-toolkit")
    names = ("nvidia-container-toolkit", "nvidia-container-toolkit-base",
             "libnvidia-container-tools", "libnvidia-container1")  # fmt: skip
    assert driven.versions(*names) == {"1.20.0-1"}
    driven.run("systemctl", "start", "nvidia-cdi-refresh.service")
    spec = yaml.safe_load(driven.text("cat", "/var/run/cdi/nvidia.yaml"))
    assert spec["kind"] == "nvidia.com/gpu"
    names_of = [device["name"] for device in spec["devices"]]
    assert {"0", "7", "all"} <= set(names_of) and any(n.startswith("GPU-") for n in names_of)
    paths = [mount["containerPath"] for mount in spec["containerEdits"]["mounts"]]
    assert "/usr/bin/nvidia-smi" in paths
    assert "nvidia.com/gpu=all" in driven.text("nvidia-ctk", "cdi", "list")
    driven.run("nvidia-ctk", "config", "--in-place", "--set", "nvidia-container-runtime.mode=cdi")
    config = driven.text("cat", "/etc/nvidia-container-runtime/config.toml")
    assert 'mode = "cdi"' in config and 'log-level = "info"' in config


def test_the_runtime_gives_a_container_its_gpus(driven: GpuHost) -> None:
    driven.apt("install", "-qq", "nvidia-container-toolkit", "runc")
    driven.run("systemctl", "start", "nvidia-cdi-refresh.service")
    driven.run("mkdir", "-p", "/tmp/bundle/rootfs")
    driven.run("sh", "-c", "cd /tmp/bundle && rm -f config.json && runc spec")
    place = "/tmp/bundle/config.json"
    config = json.loads(driven.text("cat", place))
    config["process"]["env"].append("NVIDIA_VISIBLE_DEVICES=0,3")
    driven.lab.run("gpu", ["tee", place], stdin=json.dumps(config).encode())
    # A root without a program: runc fails, after the runtime has done its part.
    driven.run("nvidia-container-runtime", "run", "--bundle", "/tmp/bundle", "one", check=False)
    given = json.loads(driven.text("cat", place))
    paths = {device["path"] for device in given["linux"]["devices"]}
    assert {"/dev/nvidia0", "/dev/nvidia3", "/dev/nvidiactl"} <= paths
    assert "/dev/nvidia1" not in paths


def test_cuda_toolkits_lie_side_by_side(driven: GpuHost) -> None:
    driven.apt("install", "-qq", "cuda-toolkit-12-9", "cuda-toolkit-13-0")
    for minor, version in (("12.9", "V12.9.86"), ("13.0", "V13.0.88")):
        assert version in driven.text(f"/usr/local/cuda-{minor}/bin/nvcc", "--version")
    assert "V13.0.88" in driven.text("/usr/local/cuda/bin/nvcc", "--version")
    driven.apt("install", "-qq", "libnccl2=2.28.3-1+cuda13.0", "cudnn9-cuda-13")
    assert driven.versions(*_SET) == {"580.95.05-1"}


def test_dcgm_answers_where_its_engine_runs(driven: GpuHost) -> None:
    driven.apt("install", "-qq", "datacenter-gpu-manager-4-cuda13")
    assert driven.run("dcgmi", "discovery", "-l", check=False).returncode != 0
    driven.run("systemctl", "start", "nvidia-dcgm")
    assert driven.text("dcgmi", "discovery", "-l").startswith("8 GPUs found.")
    report = json.loads(driven.text("dcgmi", "diag", "-r", "1", "--json"))
    assert report["DCGM Diagnostic"]["test_categories"][0]["category"] == "Deployment"


def test_a_version_that_does_not_build_leaves_the_loaded_driver(driven: GpuHost) -> None:
    driven.lab.publish_broken_driver("580.999.01")
    driven.apt("update", "-qq")
    driven.apt("install", "-qq", "nvidia-driver-pinning-580.999.01")
    said = driven.apt("install", *_SET, check=False)
    assert "580.999.01" in said
    assert "nvidia-kernel-open-dkms" in said and "error" in said.lower()
    assert driven.text("cat", "/sys/module/nvidia/version") == "580.95.05"
    # In one go: any other that leaves the broken package in place fails on it again.
    versioned = [f"{name}=580.95.05-1" for name in _all_of_the_set(driven)]
    driven.apt("install", "-qq", "nvidia-driver-pinning-580.95.05", *versioned)
    assert driven.versions(*_SET) == {"580.95.05-1"}
    assert driven.text("modinfo", "-F", "version", "nvidia") == "580.95.05"


def test_a_newer_kernel_gets_its_modules(driven: GpuHost) -> None:
    newer = kernel.following(kernel.running())
    driven.apt("install", "-qq", f"linux-headers-{newer}", f"linux-image-{newer}")
    assert driven.text("modinfo", "-k", newer, "-F", "version", "nvidia") == "580.95.05"
    driven.apt("purge", "-qq", f"linux-image-{newer}", f"linux-headers-{newer}")


def test_a_kernel_that_is_too_new_for_the_version_gets_no_modules(driven: GpuHost) -> None:
    too_new = kernel.UNSUPPORTED
    said = driven.apt("install", f"linux-headers-{too_new}", f"linux-image-{too_new}", check=False)
    assert "Bad return status for module build" in said
    log = driven.text("cat", "/var/lib/dkms/nvidia/580.95.05/build/make.log")
    assert "driver 580.95.05 does not build on this kernel" in log
    driven.apt("purge", "-qq", f"linux-image-{too_new}", f"linux-headers-{too_new}")
    assert driven.versions(*_SET) == {"580.95.05-1"}


def test_the_set_moves_to_another_branch_together(driven: GpuHost) -> None:
    driven.apt("install", "-qq", "nvidia-driver-pinning-595")
    driven.apt("install", "-qq", *_SET)
    assert driven.versions(*_all_of_the_set(driven)) == {"595.91.07-1"}
    assert driven.text("modinfo", "-F", "version", "nvidia") == "595.91.07"
    assert driven.text("cat", "/sys/module/nvidia/version") == "580.95.05"
    mixed = driven.run("nvidia-smi", "-L", check=False)
    assert mixed.returncode != 0
    assert b"mismatch" in mixed.stdout + mixed.stderr


def _all_of_the_set(host: GpuHost) -> Sequence[str]:
    """Every installed package of the driver's own source."""
    listing = host.text("dpkg-query", "-W", "-f=${source:Package} ${Package} ${db:Status-Abbrev}\n")
    rows = [line.split() for line in listing.splitlines()]
    own = ("nvidia-graphics-drivers",)
    return [row[1] for row in rows if row[0] in own and row[2].startswith(("i", "h"))]
