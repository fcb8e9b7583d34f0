"""The runtime ``nvidia`` in Docker, containerd and CRI-O, in files that belong to others too.

Docker's daemon.json and containerd's config.toml are written as their own roles write them, so the
keys of both meet in one file. A containerd before 2.1 does not merge two files that speak of one
plugin, the later one replaces what the earlier said of the whole CRI (containerd #5837): there the
runtime stands in config.toml, and from 2.1 on in a drop-in of its own, whose schema is that of
config.toml and never above it (a daemon whose drop-in is above does not start).
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import tomlkit

from aiprov.catalog import ContainerdLine, OperatingSystem
from aiprov.errors import UnsupportedError
from aiprov.resources import STAGED, Absent, Directory, File, Resource, Service
from aiprov.roles import Cluster, RoleVars, containerd, docker
from aiprov.roles.containerd.config import CRI, RUNTIME, config, runtime_table
from aiprov.roles.containerd.settings import Runtime as Shim
from aiprov.roles.nvidia_container_toolkit.settings import Runtime, Vars

NAME = "nvidia"
BINARY = "/usr/bin/nvidia-container-runtime"
DROP_IN = "/etc/containerd/conf.d/99-nvidia.toml"
OLD_DROP_IN = "/etc/containerd/config.d/99-nvidia.toml"
"""Where nvidia-ctk put it before PR #1407."""
CRIO = "/etc/crio/crio.conf.d/99-nvidia.toml"
MERGES_PLUGINS = (2, 1)
"""The first containerd that merges what two files say of one plugin."""


def chosen(vars: Vars, cluster: Cluster) -> tuple[Runtime, ...]:
    """The runtimes to configure. Raises ``UnsupportedError`` for one that no role brings."""
    known: tuple[Runtime, ...] = ("docker", "containerd", "crio")
    asked = vars.nvidia_container_toolkit_runtimes
    if asked == "auto":
        by_cdi = containerd.gives_way(cluster)  # CRI-O reads CDI's specifications by itself
        without = ("containerd",) if by_cdi else ()
        there = tuple(n for n in known if n in cluster.settings and n not in without)
        if not there and not by_cdi:
            raise UnsupportedError(
                "the host has no role that brings a container runtime",
                hint="add docker or containerd to aiprov_roles, or name a runtime that is there in "
                "nvidia_container_toolkit_runtimes ([] for podman)",
            )
        return there
    for name in asked:
        if name in ("docker", "containerd") and name not in cluster.settings:
            raise UnsupportedError(
                f"nvidia_container_toolkit_runtimes names {name}, but the host has no role {name}",
                hint=f"add {name} to aiprov_roles, or leave it out",
            )
    return tuple(name for name in known if name in asked)


def resources(
    vars: Vars, runtimes: tuple[Runtime, ...], os: OperatingSystem, cluster: Cluster
) -> list[Resource]:
    """The files of the runtimes and the services that read them."""
    made: list[Resource] = []
    for name in runtimes:
        if name == "docker":
            made += _docker(vars, os, cluster.settings["docker"])
        elif name == "containerd":
            made += _containerd(vars, Root.of(cluster.settings["containerd"], os), os)
        else:
            made += _crio(vars)
    return made


def written(resources: list[Resource]) -> tuple[str, ...]:
    """The paths among the resources: what has to be so before runtimes can be looked at."""
    return tuple(item.path for item in resources if isinstance(item, File | Absent))


# ---------------------------------------------------------------- Docker


def _docker(vars: Vars, os: OperatingSystem, settings: RoleVars) -> list[Resource]:
    if not isinstance(settings, docker.Vars):
        raise TypeError("settings of docker")
    return [
        Directory(path=posixpath.dirname(docker.CONFIG)),
        docker.config_file(_daemon_json(vars, settings), settings, os),
        Service(name=docker.UNIT, enabled=True, running=True, restart_on=(docker.CONFIG,)),
    ]


def _daemon_json(vars: Vars, settings: docker.Vars) -> dict[str, Any]:
    if vars.nvidia_container_toolkit_state == "absent":
        values: dict[str, Any] = {"runtimes": {NAME: None}}
        if vars.nvidia_container_toolkit_cdi and "cdi" not in settings.docker_features:
            values["features"] = {"cdi": None}
        if vars.nvidia_container_toolkit_default_runtime:
            values["default-runtime"] = None
        return values
    values = {"runtimes": {NAME: {"path": BINARY, "args": []}}}
    if vars.nvidia_container_toolkit_default_runtime is not None:
        by_default = vars.nvidia_container_toolkit_default_runtime
        values["default-runtime"] = NAME if by_default else None
    if vars.nvidia_container_toolkit_cdi:
        # Off by default until 28.2. A daemon before 25.0 takes it for a feature it does not know.
        values["features"] = {"cdi": True}
    return values


# ---------------------------------------------------------------- containerd


@dataclass(frozen=True, kw_only=True)
class Root:
    """containerd's config.toml, as the containerd role writes it on this host."""

    settings: containerd.Vars
    line: ContainerdLine
    schema: int
    values: dict[str, Any]

    @classmethod
    def of(cls, settings: RoleVars, os: OperatingSystem) -> Root:
        """What the role's settings come to."""
        if not isinstance(settings, containerd.Vars):
            raise TypeError("settings of containerd")
        line, schema = containerd.installed_line(settings, os), containerd.schema(settings, os)
        values = config(settings, line, schema)
        return cls(settings=settings, line=line, schema=schema, values=values)

    @property
    def merges_plugins(self) -> bool:
        """Whether a drop-in can add to the CRI plugin."""
        return tuple(int(part) for part in self.line.version.split(".")) >= MERGES_PLUGINS

    @property
    def systemd_cgroup(self) -> bool:
        """Who manages cgroups: what runc's options say, which every runtime has to agree with."""
        runtimes = self.values["plugins"][plugin(self.schema)]["containerd"]["runtimes"]
        return bool(runtimes["runc"].get("options", {}).get("SystemdCgroup", False))


def plugin(schema: int) -> str:
    """The plugin that holds runtimes in a schema."""
    return CRI if schema == 2 else RUNTIME


def _containerd(vars: Vars, root: Root, os: OperatingSystem) -> list[Resource]:
    removed = vars.nvidia_container_toolkit_state == "absent"
    in_root = not root.merges_plugins
    if not removed:
        _check_containerd(vars, root)
    runtime = _runtime(root) if in_root and not removed else None
    values: dict[str, Any] = {
        "version": root.schema,
        "plugins": {plugin(root.schema): {"containerd": {"runtimes": {NAME: runtime}}}},
    }
    if root.line.cdi == "off" and vars.nvidia_container_toolkit_cdi and not removed:
        values["plugins"][plugin(root.schema)]["enable_cdi"] = True
    theirs = NAME in root.settings.containerd_runtimes
    mine = [] if theirs and runtime is None else [containerd.config_file(values, root.settings, os)]
    return [
        Directory(path="/etc/containerd"),
        Directory(path=posixpath.dirname(DROP_IN)),
        *mine,
        Absent(path=OLD_DROP_IN),
        Absent(path=DROP_IN) if removed or in_root else _drop_in(vars, root),
        Service(
            name=containerd.UNIT,
            enabled=True,
            running=True,
            restart_on=(containerd.CONFIG, OLD_DROP_IN, DROP_IN),
        ),
    ]


def _check_containerd(vars: Vars, root: Root) -> None:
    """Raise ``UnsupportedError`` where both roles' settings cannot be had together."""
    asked = vars.nvidia_container_toolkit_containerd_config_version
    if asked is not None and asked > root.schema:
        raise UnsupportedError(
            f"a drop-in of config version {asked} is above config.toml's {root.schema}: containerd "
            "would not start",
            hint=f"leave nvidia_container_toolkit_containerd_config_version out, or set it to "
            f"{root.schema}",
        )
    if vars.nvidia_container_toolkit_cdi and not root.settings.containerd_cdi:
        raise UnsupportedError(
            "nvidia_container_toolkit_cdi needs containerd_cdi, which is false",
            hint="set both to the same",
        )
    if not root.merges_plugins:
        _check_in_root(vars, root)
        return
    imports = root.values.get("imports") or []
    if not any(fnmatchcase(DROP_IN, pattern) for pattern in imports):
        raise UnsupportedError(
            f"containerd does not read {DROP_IN}: its imports are {', '.join(imports) or 'none'}",
            hint="add /etc/containerd/conf.d/*.toml to containerd_imports",
        )


def _check_in_root(vars: Vars, root: Root) -> None:
    asked = vars.nvidia_container_toolkit_containerd_config_version
    if asked is not None and asked != root.schema:
        raise UnsupportedError(
            f"containerd {root.line.version} has the runtime in config.toml, which is of config "
            f"version {root.schema}",
            hint="leave nvidia_container_toolkit_containerd_config_version out",
        )
    by_default = root.settings.containerd_default_runtime == NAME
    if vars.nvidia_container_toolkit_default_runtime and not by_default:
        raise UnsupportedError(
            f"containerd {root.line.version} has its default runtime in config.toml, where "
            f"containerd_default_runtime is {root.settings.containerd_default_runtime}",
            hint=f"set containerd_default_runtime: {NAME} and containerd_runtimes: "
            f"{{{NAME}: {{binary: {BINARY}}}}}",
        )


def _runtime(root: Root) -> dict[str, Any]:
    """The whole table of the runtime, made as the containerd role makes those that it is given."""
    return runtime_table(Shim(binary=BINARY), root.systemd_cgroup)


def _drop_in(vars: Vars, root: Root) -> File:
    schema = vars.nvidia_container_toolkit_containerd_config_version or root.schema
    runtimes: dict[str, Any] = {"runtimes": {NAME: _runtime(root)}}
    if vars.nvidia_container_toolkit_default_runtime:
        runtimes = {"default_runtime_name": NAME, **runtimes}
    document = {"version": schema, "plugins": {plugin(schema): {"containerd": runtimes}}}
    return File(
        path=DROP_IN,
        content=tomlkit.dumps(document),
        validate=("containerd", "--config", STAGED, "config", "dump"),
    )


# ---------------------------------------------------------------- CRI-O


def _crio(vars: Vars) -> list[Resource]:
    """CRI-O's drop-in. It reads all of crio.conf.d, and merges tables."""
    return [
        Directory(path="/etc/crio"),
        Directory(path=posixpath.dirname(CRIO)),
        Absent(path=CRIO)
        if vars.nvidia_container_toolkit_state == "absent"
        else File(path=CRIO, content=tomlkit.dumps(_crio_toml(vars))),
        Service(name="crio.service", enabled=True, running=True, restart_on=(CRIO,)),
    ]


def _crio_toml(vars: Vars) -> dict[str, Any]:
    runtime: dict[str, Any] = {}
    if vars.nvidia_container_toolkit_default_runtime:
        runtime["default_runtime"] = NAME
    runtime["runtimes"] = {NAME: {"runtime_path": BINARY, "runtime_type": "oci"}}
    return {"crio": {"runtime": runtime}}
