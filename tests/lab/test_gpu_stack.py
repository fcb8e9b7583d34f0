"""The GPU stack on hosts with simulated GPUs, from a plain OS on, through the real command line.

The packages are the lab's stand-ins by the vendors' names; apt, dkms, systemd, Docker and
containerd are real. Debian 13 is brought up by pyinfra, Debian 12 by Ansible. The tests build on
one another: a host lives through an installation, upgrades, faults and a removal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiprov.lab import HostSpec, Lab, gpus
from tests.lab.commands import ROLES, Said, Site, converges, left_behind, site

pytestmark = pytest.mark.lab

HOSTS = {"gpupyinfra": "pyinfra", "gpuansible": "ansible"}
STACK: dict[str, Any] = {
    **ROLES,
    "aiprov_roles": [
        "base", "nvidia_driver", "cuda", "containerd", "docker", "nvidia_container_toolkit",
        "gpu_sharing", "dcgm",
    ],
    "nvidia_driver_branch": "580",
    "cuda_versions": ["12.9", "13.0"],
}  # fmt: skip
SET = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-fabricmanager", "libnvidia-nscq")


@pytest.fixture(scope="module")
def hosts(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Eight H200 with NVSwitches on Debian 13, eight A100 on Debian 12."""
    own = Lab(lab_root / "gpus")
    own.up(
        [
            HostSpec(name="gpupyinfra", suite="trixie", gpus=gpus("h200x8")),
            HostSpec(name="gpuansible", suite="bookworm", gpus=gpus("a100-80gbx8")),
        ]
    )
    made = site(own, tmp_path_factory.mktemp("gpus") / "site", STACK)
    yield made
    own.down()


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def apply(hosts: Site, host: str, **changed: Any) -> Said:
    """Apply the host's settings, from now on with these changed."""
    if changed:
        path = hosts.folder / "host_vars" / f"{host}.yml"
        before = json.loads(path.read_text()) if path.exists() else {}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**before, **changed}))
    return hosts.aiprov("apply", "-v", "--engine", HOSTS[host], "--limit", host)


def settled(hosts: Site, host: str, **changed: Any) -> None:
    """The settings are applied, and a second run changes nothing."""
    said = apply(hosts, host, **changed)
    assert said.code == 0, said.out + said.err
    plan = hosts.aiprov("plan", "--limit", host)
    assert plan.code == 0, plan.out + plan.err
    assert left_behind(hosts.lab, host) == ""


def on(hosts: Site, host: str, *argv: str) -> str:
    return hosts.lab.run(host, argv).stdout.decode().strip()


def versions(hosts: Site, host: str) -> set[str]:
    """The upstream versions of the locked set, of the loaded module and of what nvidia-smi says."""
    said = on(hosts, host, "dpkg-query", "-W", "-f", "${Version}\n", *SET)
    found = {line.rpartition("-")[0] for line in said.splitlines()}
    found.add(on(hosts, host, "cat", "/sys/module/nvidia/version"))
    smi = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return found | set(on(hosts, host, *smi).splitlines())


def of_branch(hosts: Site, host: str, branch: str) -> bool:
    found = versions(hosts, host)
    return len(found) == 1 and all(version.startswith(f"{branch}.") for version in found)


# ---------------------------------------------------------------- from a plain OS


def test_what_would_happen_is_told_with_its_reasons(hosts: Site, host: str):
    said = hosts.aiprov("plan", "--limit", host)
    assert said.code == 2, said.out + said.err
    assert "because open kernel modules" in said.out
    assert "because driver 580" in said.out
    assert "AptRepository[" in said.out


def test_a_plain_host_gets_the_stack_and_a_second_run_changes_nothing(hosts: Site, host: str):
    settled(hosts, host)
    assert of_branch(hosts, host, "580"), versions(hosts, host)
    assert on(hosts, host, "nvidia-smi", "-L").count("GPU ") == 8
    held = on(hosts, host, "apt-mark", "showhold").split()
    assert set(SET) <= set(held)
    for unit in ("nvidia-persistenced", "nvidia-fabricmanager", "nvidia-dcgm"):
        assert on(hosts, host, "systemctl", "is-active", unit) == "active"


def test_both_cuda_toolkits_are_there_and_the_newest_is_the_default(hosts: Site, host: str):
    for version in ("12.9", "13.0"):
        nvcc = f"/usr/local/cuda-{version}/bin/nvcc"
        assert f"release {version}" in on(hosts, host, nvcc, "--version")
    assert on(hosts, host, "readlink", "-f", "/usr/local/cuda") == "/usr/local/cuda-13.0"


def test_a_verification_and_a_doctor_find_nothing(hosts: Site, host: str):
    assert hosts.aiprov("verify", "--limit", host).code == 0
    said = hosts.aiprov("doctor", "--limit", host)
    assert said.code == 0, said.out + said.err


# ---------------------------------------------------------------- containers


def test_docker_gives_a_container_its_gpus(hosts: Site, host: str):
    image = hosts.lab.import_image(host, "docker")
    run = ("docker", "run", "--rm")
    plain = on(hosts, host, *run, image, "busybox", "ls", "/dev")
    assert "nvidia0" not in plain.split()
    given = ("--runtime=nvidia", "--env", "NVIDIA_VISIBLE_DEVICES=all")
    if host == "gpupyinfra":  # Docker 26 knows CDI, 20.10 does not
        given = ("--device", "nvidia.com/gpu=all")
    seen = on(hosts, host, *run, *given, image, "busybox", "ls", "/dev").split()
    assert {f"nvidia{number}" for number in range(8)} <= set(seen)


def test_containerd_gives_a_container_its_gpus(hosts: Site):
    """By the runtime, to which a device's CDI name is given: ctr 1.7 itself knows none."""
    image = hosts.lab.import_image("gpupyinfra", "containerd")
    run = ("ctr", "--namespace", "k8s.io", "run", "--rm",
           "--runc-binary", "/usr/bin/nvidia-container-runtime",
           "--env", "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=1")  # fmt: skip
    seen = set(on(hosts, "gpupyinfra", *run, image, "seen", "busybox", "ls", "/dev").split())
    assert "nvidia1" in seen
    assert "nvidia0" not in seen


# ---------------------------------------------------------------- a life


def test_a_package_that_moved_behind_our_back_is_named(hosts: Site, host: str):
    argv = ("apt-cache", "madison", "libnvidia-nscq")
    offers = re.findall(r"\| +(580\.\S+)", on(hosts, host, *argv))
    now = on(hosts, host, "dpkg-query", "-W", "-f", "${Version}", "libnvidia-nscq")
    other = next(version for version in offers if version != now)
    on(hosts, host, "apt-get", "-y", "--allow-downgrades", "--allow-change-held-packages",
       "install", f"libnvidia-nscq={other}")  # fmt: skip
    said = hosts.aiprov("plan", "--limit", host)
    assert said.code == 2, said.out + said.err
    assert f"Package[libnvidia-nscq] {other} -> {now}" in said.out
    assert "the NVIDIA driver is at" in said.out
    converges(hosts, host, HOSTS[host])


def test_another_branch_moves_the_whole_set_without_a_reboot(hosts: Site, host: str):
    boot = hosts.lab.boot_id(host)
    settled(hosts, host, nvidia_driver_branch="595")
    assert of_branch(hosts, host, "595"), versions(hosts, host)
    assert hosts.lab.boot_id(host) == boot
    assert on(hosts, host, "systemctl", "is-active", "nvidia-fabricmanager") == "active"


def test_modules_that_cannot_be_built_leave_the_old_driver_working(hosts: Site, host: str):
    before = versions(hosts, host)
    hosts.lab.publish_broken_driver("595.999.01")
    on(hosts, host, "apt-get", "-q", "update")
    said = apply(hosts, host, nvidia_driver_branch=None, nvidia_driver_version="595.999.01")
    assert said.code == 1, said.out + said.err
    assert f"{host}: failed: Package[" in said.out
    assert "was put back at its former versions" in said.out, said.out
    assert versions(hosts, host) == before
    settled(hosts, host, nvidia_driver_branch="595", nvidia_driver_version=None)
    assert versions(hosts, host) == before


def test_back_to_the_former_branch_with_a_reboot_while_a_gpu_is_used(hosts: Site, host: str):
    boot = hosts.lab.boot_id(host)
    with hosts.lab.hold_gpu(host):
        said = apply(hosts, host, nvidia_driver_branch="580")
    assert said.code == 0, said.out + said.err
    assert hosts.lab.boot_id(host) != boot, "modules that are used were not left to a reboot"
    assert of_branch(hosts, host, "580"), versions(hosts, host)
    converges(hosts, host, HOSTS[host])


def test_mig_layouts_are_made_changed_and_taken_back(hosts: Site):
    """On Debian 13: an H200 is cut into seven, then into two, then not at all."""
    host = "gpupyinfra"
    for layout, instances in (({"1g.18gb": 7}, 7), ({"3g.71gb": 2}, 2), ("off", 0)):
        settled(hosts, host, gpu_sharing_mig=[{"gpus": [0], "layout": layout}])
        assert on(hosts, host, "nvidia-smi", "-L").count("MIG ") == instances
        named = on(hosts, host, "nvidia-ctk", "cdi", "list")
        assert len(re.findall(r"nvidia\.com/gpu=0:\d+$", named, re.MULTILINE)) == instances


def test_a_layout_that_does_not_fit_is_refused_before_anything_is_touched(hosts: Site, host: str):
    layout = [{"gpus": "all", "layout": {"7g.141gb": 2}}]
    said = apply(hosts, host, gpu_sharing_mig=layout)
    assert said.code == 1
    assert "7g.141gb" in said.out
    settled(hosts, host, gpu_sharing_mig=[])


def test_the_toolkit_goes_cleanly(hosts: Site, host: str):
    settled(hosts, host, nvidia_container_toolkit_state="absent")
    said = hosts.lab.run(host, ["dpkg-query", "-W", "nvidia-container-toolkit"], check=False)
    assert said.returncode != 0 or b"ii" not in said.stdout
    config = json.loads(on(hosts, host, "cat", "/etc/docker/daemon.json"))
    assert "nvidia" not in config.get("runtimes", {})
    assert config["log-driver"] == "json-file", "another role's key is gone"
    for unit in ("docker", "containerd"):
        assert on(hosts, host, "systemctl", "is-active", unit) == "active"
