"""What has to hold of containerd's configuration whatever its version."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov import catalog, roles
from aiprov.catalog import ContainerdLine
from aiprov.merge import merged
from aiprov.resources import File, Merge
from aiprov.roles import Cluster
from aiprov.survey.facts import Facts

HOST = Path(__file__).parents[2] / "hosts" / "debian12.yml"
LINES = catalog.containerd_lines()


def configured(**settings: Any) -> dict[str, Any]:
    role = roles.load("containerd")
    facts = Facts(**yaml.safe_load(HOST.read_text()))
    for resource in role.resources(role.Vars(**settings), facts, Cluster()):
        if isinstance(resource, File) and isinstance(resource.content, Merge):
            return tomllib.loads(merged(resource.content, None))
    raise AssertionError("there is no config.toml")


def cri_runtimes(document: dict[str, Any]) -> dict[str, Any]:
    plugin = (
        "io.containerd.grpc.v1.cri" if document["version"] == 2 else "io.containerd.cri.v1.runtime"
    )
    return document["plugins"][plugin]["containerd"]["runtimes"]


@pytest.mark.parametrize("systemd", [True, False])
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.version)
def test_every_runc_runtime_agrees_about_cgroups(line: ContainerdLine, systemd: bool):
    document = configured(
        containerd_version=f"{line.version}.1",
        containerd_systemd_cgroup=systemd,
        containerd_runtimes={
            "nvidia": {"binary": "/usr/bin/nvidia-container-runtime"},
            "runc": {"extra": {"privileged_without_host_devices": True}},
            "gvisor": {"type": "io.containerd.runsc.v1"},
        },
    )
    found = cri_runtimes(document)
    assert document["version"] == line.schema
    assert found["runc"]["options"]["SystemdCgroup"] is systemd
    assert found["runc"]["privileged_without_host_devices"] is True
    assert found["nvidia"]["options"]["SystemdCgroup"] is systemd
    assert "options" not in found["gvisor"]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.version)
def test_the_cri_is_never_disabled_and_drop_ins_are_read(line: ContainerdLine):
    document = configured(containerd_version=line.version)
    assert document["disabled_plugins"] == []
    assert document["imports"] == ["/etc/containerd/conf.d/*.toml"]


def test_what_is_given_as_extra_wins():
    extra = {"imports": [], "plugins": {"io.containerd.cri.v1.images": {"snapshotter": "native"}}}
    document = configured(containerd_snapshotter="overlayfs", containerd_config_extra=extra)
    assert document["imports"] == []
    assert document["plugins"]["io.containerd.cri.v1.images"]["snapshotter"] == "native"


@pytest.mark.parametrize(("version", "key"), [("2.0", "bin_dir"), ("2.1", "bin_dirs")])
def test_cni_plugins_are_looked_for_by_the_key_of_the_line(version: str, key: str):
    document = configured(containerd_version=version, containerd_cni_bin_dir="/opt/cni/bin")
    cni = document["plugins"]["io.containerd.cri.v1.runtime"]["cni"]
    assert list(cni) == [key]
