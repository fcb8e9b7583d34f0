"""Configurations with the runtime ``nvidia``, loaded by the daemons that they are for.

Debian 12 has containerd 1.6 and Docker 20.10, Debian 13 has containerd 1.7 and Docker 26.1: schema
2, and a Docker without and with CDI. For schemas 3 and 4 (containerd 2.x) they have no daemon;
that 1.7 refuses them is seen here, what they hold is tested by tests/unit/roles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aiprov.lab import HostSpec, Lab
from aiprov.programs import runtime_check
from aiprov.roles.nvidia_container_toolkit.runtimes import BINARY
from tests.unit.roles.test_nvidia_container_toolkit import DISTRIBUTION, files, together

pytestmark = pytest.mark.lab

GOLDEN = Path(__file__).parents[1] / "roles" / "nvidia_container_toolkit" / "golden"
DAEMON_JSON, CONFIG_TOML = "/etc/docker/daemon.json", "/etc/containerd/config.toml"
CHECK = "/usr/local/lib/aiprov/runtime-check"
CRI = ("plugins", "io.containerd.grpc.v1.cri")
NVIDIA = (*CRI, "containerd", "runtimes", "nvidia")


@dataclass(frozen=True)
class Daemons:
    """A host with the daemons of its distribution, and the program that asks them."""

    lab: Lab
    name: str

    def run(self, *argv: str, stdin: str | None = None) -> tuple[int, str]:
        """Exit status, and all that was said."""
        text = None if stdin is None else stdin.encode()
        done = self.lab.run(self.name, argv, stdin=text, check=False)
        return done.returncode, (done.stdout + done.stderr).decode()

    def must(self, *argv: str, stdin: str | None = None) -> str:
        status, said = self.run(*argv, stdin=stdin)
        assert status == 0, said
        return said

    def write(self, path: str, text: str) -> str:
        self.must("mkdir", "-p", str(Path(path).parent))
        self.must("tee", path, stdin=text)
        return path

    def dump(self, config: str) -> dict[tuple[str, ...], dict[str, str]]:
        """What containerd makes of a configuration."""
        path = self.write("/root/config.toml", config)
        return runtime_check.tables(self.must("containerd", "--config", path, "config", "dump"))

    def runs_with(self, unit: str, path: str, text: str) -> None:
        self.write(path, text)
        self.run("systemctl", "reset-failed", unit)
        self.must("systemctl", "restart", unit)
        assert self.must("systemctl", "is-active", unit) == "active\n"

    def lacks(self, *words: str) -> str:
        """What the program finds missing."""
        return self.run(CHECK, "--runtime", f"nvidia={BINARY}", *words)[1]


@pytest.fixture(scope="module")
def daemons(lab_root: Path) -> Iterator[dict[str, Daemons]]:
    lab = Lab(lab_root / "runtimes")
    lab.up([HostSpec(name="debian12"), HostSpec(name="debian13", suite="trixie")])
    found = {name: Daemons(lab, name) for name in ("debian12", "debian13")}
    for host in found.values():
        host.must("apt-get", "update")
        install = ("apt-get", "install", "-y", "--no-install-recommends")
        with_client = ("docker.io", "containerd", "iptables")
        host.must(*install, *with_client, *(("docker-cli",) if host.name == "debian13" else ()))
        host.write(CHECK, "#!/usr/bin/python3\n" + Path(runtime_check.__file__).read_text())
        host.write(BINARY, '#!/bin/sh\nexec runc "$@"\n')
        host.must("chmod", "755", CHECK, BINARY)
    yield found
    lab.down()


@pytest.fixture(params=["debian12", "debian13"])
def host(request: pytest.FixtureRequest, daemons: dict[str, Daemons]) -> Daemons:
    return daemons[request.param]


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def test_containerd_loads_its_golden_config(host: Daemons):
    name = {"debian12": "root-v2-1.6.toml", "debian13": "root-v2-1.7.toml"}[host.name]
    found = host.dump(golden(name))
    assert found[NVIDIA]["runtime_type"] == "io.containerd.runc.v2"
    assert found[(*NVIDIA, "options")] == {"BinaryName": BINARY, "SystemdCgroup": "true"}
    assert found[(*CRI, "cni")]["bin_dir"] == "/usr/lib/cni", "a key of the package's is gone"
    opt = ("plugins", "io.containerd.internal.v1.opt")
    assert found[opt]["path"] == "/var/lib/containerd/opt"
    assert found[CRI].get("enable_cdi") == {"debian12": None, "debian13": "true"}[host.name]


def test_docker_starts_with_its_golden_config(host: Daemons):
    if host.name == "debian13":  # the daemon's own check came with 23.0
        for name in ("docker.json", "docker-merged.json", "docker-removed.json"):
            path = host.write("/root/daemon.json", golden(name))
            host.must("dockerd", "--validate", "--config-file", path)
    host.runs_with("docker.service", DAEMON_JSON, golden("docker-merged.json"))
    info = docker_info(host)
    assert info["Runtimes"]["nvidia"]["path"] == BINARY
    assert info["Runtimes"]["gvisor"]["path"] == "/usr/bin/runsc", "another's runtime is gone"
    assert info["Labels"] == ["rack=7"], "another's key is gone"
    assert info["DefaultRuntime"] == "runc"
    host.runs_with("docker.service", DAEMON_JSON, golden("docker.json"))
    info = docker_info(host)
    assert bool(info.get("CDISpecDirs")) == (host.name == "debian13")


def docker_info(host: Daemons) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.must("docker", "info", "--format", "{{json .}}"))
    return found


def test_what_three_roles_write_is_what_the_daemons_have(host: Daemons):
    written = files(together(host.name, DISTRIBUTION))
    host.runs_with("containerd.service", CONFIG_TOML, written[CONFIG_TOML])
    host.runs_with("docker.service", DAEMON_JSON, written[DAEMON_JSON])
    host.write("/run/cdi/nvidia.yaml", "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n")
    words = ("--cgroup", "systemd", "--cdi", "/run/cdi/nvidia.yaml", "docker", "containerd")
    assert host.lacks(*words) == "docker, containerd have nvidia\n"
    assert docker_info(host)["CgroupDriver"] == "systemd"
    lacks = host.lacks("--default", "--cgroup", "cgroupfs", "docker", "containerd")
    assert "docker has runc as its default runtime" in lacks
    assert "containerd has runc as its default runtime" in lacks
    assert "containerd has SystemdCgroup = true for nvidia" in lacks


def test_nvidia_is_the_default_where_that_is_asked_for(host: Daemons):
    own = {
        **DISTRIBUTION["containerd"],
        "containerd_default_runtime": "nvidia",
        "containerd_runtimes": {"nvidia": {"binary": BINARY}},
    }
    asked = {"nvidia_container_toolkit_default_runtime": True}
    given = {**DISTRIBUTION, "containerd": own, "nvidia_container_toolkit": asked}
    written = files(together(host.name, given))
    host.runs_with("containerd.service", CONFIG_TOML, written[CONFIG_TOML])
    host.runs_with("docker.service", DAEMON_JSON, written[DAEMON_JSON])
    assert "have nvidia" in host.lacks("--default", "docker", "containerd")


def test_a_daemon_without_the_runtime_is_found_out(host: Daemons):
    host.runs_with("containerd.service", CONFIG_TOML, "version = 2\n")
    host.runs_with("docker.service", DAEMON_JSON, "{}\n")
    lacks = host.lacks("docker", "containerd")
    assert "docker has no runtime nvidia" in lacks
    assert "containerd has no runtime nvidia" in lacks
    host.write(CONFIG_TOML, 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    host.must("systemctl", "restart", "containerd.service")
    host.must("systemctl", "stop", "docker.socket", "docker.service")
    lacks = host.lacks("docker", "containerd")
    assert "docker does not answer" in lacks
    assert "containerd has no" in lacks
    host.must("systemctl", "stop", "containerd.service")
    assert "containerd does not answer: containerd.service does not run" in host.lacks("containerd")
    host.must("rm", CONFIG_TOML, DAEMON_JSON)
    host.must("systemctl", "start", "containerd.service", "docker.service")


@pytest.mark.parametrize("name", ["drop-in-v3.toml", "drop-in-v4.toml", "root-v3-2.0.toml"])
def test_a_schema_that_is_too_new_is_refused_by_1_7(daemons: dict[str, Daemons], name: str):
    host = daemons["debian13"]
    path = host.write("/root/newer.toml", golden(name))
    assert host.run("containerd", "--config", path, "config", "dump")[0] != 0


def test_a_drop_in_above_its_root_is_refused_by_1_7(daemons: dict[str, Daemons]):
    host = daemons["debian13"]
    host.write("/root/conf.d/99-nvidia.toml", golden("drop-in-v3.toml"))
    root = 'version = 2\nimports = ["/root/conf.d/*.toml"]\n'
    path = host.write("/root/config.toml", root)
    assert host.run("containerd", "--config", path, "config", "dump")[0] != 0


def test_a_drop_in_takes_the_place_of_the_whole_cri_section(host: Daemons):
    """Why a containerd before 2.1 has the runtime in config.toml."""
    section = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"{}]\n{} = "{}"\n'
    drop_in = section.format(".containerd.runtimes.nvidia", "runtime_type", "io.containerd.runc.v2")
    own = section.format("", "sandbox_image", "own/pause:1")
    assert host.dump(own)[CRI]["sandbox_image"] == "own/pause:1"
    host.write("/root/conf.d/99-nvidia.toml", drop_in)
    found = host.dump('imports = ["/root/conf.d/*.toml"]\n' + own)
    assert NVIDIA in found
    assert found[CRI]["sandbox_image"] != "own/pause:1"
