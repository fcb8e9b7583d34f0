"""What has to hold of the runtime ``nvidia`` whatever the daemons' versions."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov import catalog, roles
from aiprov.catalog import ContainerdLine
from aiprov.merge import merged
from aiprov.plan import Desired
from aiprov.resources import Absent, File, Merge, Resource, Service, address
from aiprov.roles import Cluster
from aiprov.survey.facts import Facts, PciDevice
from aiprov.united import united

HOSTS = Path(__file__).parents[2] / "hosts"
ROLES = ("containerd", "docker", "nvidia_container_toolkit")
ROOT, DROP_IN = "/etc/containerd/config.toml", "/etc/containerd/conf.d/99-nvidia.toml"
DISTRIBUTION = {
    "containerd": {"containerd_source": "distribution"},
    "docker": {"docker_source": "distribution"},
}
GPU = PciDevice(address="0000:01:00.0", vendor="10de", device="2335", class_code="030200")


def host(name: str) -> Facts:
    return replace(Facts(**yaml.safe_load((HOSTS / f"{name}.yml").read_text())), pci_devices=(GPU,))


def together(name: str, given: dict[str, dict[str, Any]]) -> list[Resource]:
    """What all three roles want of a host."""
    settings = {slug: roles.load(slug).Vars(**given.get(slug, {})) for slug in ROLES}
    cluster = Cluster(settings=settings)
    wanted = [
        Desired(role=slug, resource=item)
        for slug in ROLES
        for item in roles.load(slug).resources(settings[slug], host(name), cluster)
    ]
    return [item.resource for item in united(wanted)]


def files(resources: list[Resource]) -> dict[str, str]:
    return {
        item.path: merged(item.content, None) if isinstance(item.content, Merge) else item.content
        for item in resources
        if isinstance(item, File) and not item.path.endswith(".asc")
    }


def runtimes(document: dict[str, Any]) -> dict[str, Any]:
    plugin = (
        "io.containerd.grpc.v1.cri" if document["version"] == 2 else "io.containerd.cri.v1.runtime"
    )
    return document["plugins"].get(plugin, {}).get("containerd", {}).get("runtimes", {})


@pytest.mark.parametrize("systemd", [True, False])
@pytest.mark.parametrize("line", catalog.containerd_lines(), ids=lambda line: line.version)
def test_containerd_reads_a_whole_runtime_once(line: ContainerdLine, systemd: bool):
    own = {"containerd_version": line.version, "containerd_systemd_cgroup": systemd}
    found = files(together("debian12", {"containerd": own}))
    root = tomllib.loads(found[ROOT])
    places = [root]
    if DROP_IN in found:
        drop_in = tomllib.loads(found[DROP_IN])
        places.append(drop_in)
        assert drop_in["version"] == root["version"]
        assert any(fnmatchcase(DROP_IN, pattern) for pattern in root["imports"])
    assert (DROP_IN in found) == (line.version in ("2.1", "2.2", "2.3"))
    (nvidia,) = (runtimes(place)["nvidia"] for place in places if "nvidia" in runtimes(place))
    assert nvidia["runtime_type"] == "io.containerd.runc.v2"
    assert nvidia["options"]["BinaryName"] == "/usr/bin/nvidia-container-runtime"
    assert nvidia["options"]["SystemdCgroup"] is systemd
    assert runtimes(root)["runc"]["options"]["SystemdCgroup"] is systemd


@pytest.mark.parametrize("version", ["1.7", "2.2"])
def test_who_manages_cgroups_is_what_the_root_says(version: str):
    plugin = "io.containerd.grpc.v1.cri" if version == "1.7" else "io.containerd.cri.v1.runtime"
    runc = {"runc": {"options": {"SystemdCgroup": False}}}
    extra = {"plugins": {plugin: {"containerd": {"runtimes": runc}}}}
    own = {"containerd_version": version, "containerd_config_extra": extra}
    found = files(together("debian12", {"containerd": own}))
    nvidia = runtimes(tomllib.loads(found[ROOT if version == "1.7" else DROP_IN]))["nvidia"]
    assert nvidia["options"]["SystemdCgroup"] is False


@pytest.mark.parametrize("name", ["debian12", "debian13", "ubuntu2404", "rocky9"])
def test_files_of_two_roles_are_checked_and_watched_as_one(name: str):
    by_address = {address(item): item for item in together(name, {})}
    daemon_json = by_address["File[/etc/docker/daemon.json]"]
    assert daemon_json.validate
    document = json.loads(merged(daemon_json.content, None))
    assert document["runtimes"]["nvidia"]["path"] == "/usr/bin/nvidia-container-runtime"
    assert document["exec-opts"] == ["native.cgroupdriver=systemd"]
    docker, containerd = by_address["Service[docker.service]"], by_address[f"File[{ROOT}]"]
    assert "/etc/docker/daemon.json" in docker.restart_on
    assert containerd.delivered_by
    watched = by_address["Service[containerd.service]"].restart_on
    assert {ROOT, DROP_IN} <= set(watched)


def test_a_form_that_is_no_longer_read_goes():
    old = together("debian13", DISTRIBUTION)
    assert Absent(path=DROP_IN) in old
    new = together("debian13", {})
    root = next(item for item in new if isinstance(item, File) and item.path == ROOT)
    assert isinstance(root.content, Merge)
    assert runtimes(dict(root.content.values))["nvidia"] is None


def test_a_runtime_of_the_containerd_role_stays_where_it_is():
    own = {"containerd_runtimes": {"nvidia": {"binary": "/usr/bin/nvidia-container-runtime"}}}
    for given in ({"containerd": own}, {"containerd": {**own, "containerd_version": "1.7"}}):
        root = tomllib.loads(files(together("debian13", given))[ROOT])
        assert runtimes(root)["nvidia"]["options"]["SystemdCgroup"] is True


def test_every_daemon_with_changed_files_is_asked_after_it_has_restarted():
    resources = together("debian13", {})
    *_, check = resources
    before = {address(item) for item in resources if isinstance(item, Service)}
    assert address(check) == "Command[container runtimes have nvidia]"
    assert {"Service[docker.service]", "Service[containerd.service]"} <= set(check.waits_for)
    assert {"Service[docker.service]", "Service[containerd.service]"} <= before
    assert f"File[{DROP_IN}]" in check.waits_for


def told(name: str, given: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    settings = {slug: roles.load(slug).Vars(**given.get(slug, {})) for slug in ROLES}
    slug = "nvidia_container_toolkit"
    notes = roles.notes(slug, settings[slug], host(name), Cluster(settings=settings))
    return [(note.level, note.text) for note in notes]


def test_a_bad_version_is_warned_of():
    bad = {"nvidia_container_toolkit": {"nvidia_container_toolkit_version": "1.19.1"}}
    level, text = told("debian13", bad)[0]
    assert level == "warning"
    assert "1.19.1" in text


def test_why_the_runtime_is_where_it_is_is_told():
    texts = [text for _, text in told("debian12", DISTRIBUTION)]
    assert any("would replace all that it says of the CRI" in text for text in texts)
    assert any("Docker 20.10.24" in text and "no CDI yet" in text for text in texts)
    assert any(DROP_IN in text for _, text in told("debian12", {}))
