"""Docker's packages, put together from Debian's, on real hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from aiprov.lab import HostSpec, Lab
from aiprov.lab.vendor import docker, served

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab(lab_root: Path) -> Iterator[Lab]:
    """A host of each suite whose apt knows Docker's repository."""
    made = Lab(lab_root / "docker-ce")
    made.up([HostSpec(name=suite, suite=suite) for suite in docker.SUITES], vendor=("docker",))
    told = yaml.safe_load(made.inventory.read_text())
    told = told["all"]["children"][served.GROUP]["vars"]
    for suite in docker.SUITES:
        source = (
            f"Types: deb\nURIs: {told['containerd_repository_url']}/linux/debian\n"
            f"Suites: {suite}\nComponents: stable\nSigned-By: /etc/apt/keyrings/docker.asc\n"
        )
        made.run(suite, ["tee", "/etc/apt/sources.list.d/docker.sources"], stdin=source.encode())
        key = told["containerd_repository_key"].encode()
        made.run(suite, ["tee", "/etc/apt/keyrings/docker.asc"], stdin=key)
    yield made
    made.down()


@pytest.mark.parametrize("suite", docker.SUITES)
def test_docker_ce_runs_with_containerd_io(lab: Lab, suite: str) -> None:
    lab.run(suite, ["apt-get", "update", "-qq", "--error-on=any"], timeout=300)
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq"]
    names = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin"]
    lab.run(suite, [*install, *names, "docker-compose-plugin"], timeout=600)
    versions = lab.run(suite, ["dpkg-query", "-W", "-f=${Version} ", *names[:3]]).stdout.decode()
    assert all(f"~debian.{docker.SUITES[suite]}~{suite}" in one for one in versions.split())
    told = lab.run(suite, ["docker", "info", "--format", "{{.ServerVersion}}"]).stdout.decode()
    assert told.strip().partition("+")[0] in versions
    config = lab.run(suite, ["cat", "/etc/containerd/config.toml"]).stdout.decode()
    assert config == docker.CONFIG
    owner = lab.run(suite, ["dpkg-query", "-S", "/usr/sbin/dockerd"]).stdout.decode()
    assert owner.startswith("docker-ce:")
