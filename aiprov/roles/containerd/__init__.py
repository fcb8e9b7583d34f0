"""containerd: the container runtime of Kubernetes, and what Docker stands on.

It alone owns the containerd package and ``/etc/containerd/config.toml``, whose schema is that of
the containerd that is installed. Keys of the file that no variable names are kept. Lists cannot be
merged: ``imports`` and ``disabled_plugins`` are what the variables say. Keys that were written for
an older schema are kept too, but the daemon reads them no longer: move them, or stay with the older
schema by ``containerd_config_version``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiprov import catalog
from aiprov.catalog import ContainerdLine, OperatingSystem
from aiprov.errors import UnsupportedError
from aiprov.resources import (
    STAGED,
    AptRepository,
    Directory,
    DnfRepository,
    File,
    Merge,
    Package,
    Resource,
    Service,
)
from aiprov.roles import Cluster
from aiprov.roles.containerd.config import config, hosts_toml
from aiprov.roles.containerd.settings import Vars
from aiprov.survey.facts import Facts
from aiprov.values import proxy_environment, proxy_files, unit_proxy

__all__ = ["REQUIRES", "Vars", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ()

CONFIG = "/etc/containerd/config.toml"
CERTS = "/etc/containerd/certs.d"
UNIT = "containerd.service"


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """Every host can have a container runtime."""
    return None


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """The package, its configuration and its service.

    Nothing on a node whose Kubernetes runs on CRI-O. Raises ``UnsupportedError`` where the source
    has no package for this OS, or the containerd to be installed does not read the schema that is
    asked for.
    """
    if gives_way(cluster):
        return []
    os = catalog.operating_system(host.os_id, host.os_version)
    package = _package(vars, os)
    proxy = proxy_environment(
        vars.containerd_http_proxy, vars.containerd_https_proxy, vars.containerd_no_proxy
    )
    return [
        Directory(path="/etc/containerd"),
        Directory(path="/etc/containerd/conf.d"),
        *_repository(vars, os, host),
        # Last before what needs them, so that one transaction installs them and Docker's.
        *_packages(vars, os, package),
        *_registries(vars),
        config_file(config(vars, installed_line(vars, os), schema(vars, os)), vars, os),
        # containerd has no setting for proxies, it reads its environment.
        *unit_proxy(UNIT, proxy),
        Service(
            name=UNIT,
            enabled=True,
            running=True,
            restart_on=(CONFIG, *proxy_files(UNIT)),
        ),
    ]


def gives_way(cluster: Cluster) -> bool:
    """Whether the host's Kubernetes has CRI-O, and nothing else on it needs containerd."""
    kubernetes = cluster.settings.get("kubernetes")
    runtime = getattr(kubernetes, "kubernetes_runtime", "containerd")
    return runtime != "containerd" and "docker" not in cluster.settings


def config_file(values: Mapping[str, Any], vars: Vars, os: OperatingSystem) -> File:
    """``config.toml`` with these keys: for this role, and for one that has keys of it too."""
    package = _package(vars, os)
    versions = catalog.package_versions("containerd", package, os)
    return File(
        path=CONFIG,
        content=Merge(format="toml", values=values),
        # `config dump` loads the file as the daemon does. 1.6.20, 1.7.24 and 2.1.9 were seen to
        # refuse bad syntax, wrong types, a bad `disabled_plugins`, and (not 1.6) a schema that
        # is too new. It does not refuse unknown keys, and neither does the daemon.
        validate=("containerd", "--config", STAGED, "config", "dump"),
        delivered_by=package if versions.brings_config else None,
    )


def installed_line(vars: Vars, os: OperatingSystem) -> ContainerdLine:
    """The release line that the host has, or the oldest that it may have."""
    versions = catalog.package_versions("containerd", _package(vars, os), os)
    return catalog.containerd_line(vars.containerd_version or versions.oldest)


def _package(vars: Vars, os: OperatingSystem) -> str:
    """The package's name with this source. Raises ``UnsupportedError`` where there is none."""
    if vars.containerd_source == "docker":
        return "containerd.io"
    if os.family == "redhat":
        raise UnsupportedError(
            f"{os.name} has no containerd package of its own",
            hint="set containerd_source: docker",
        )
    return "containerd"


def schema(vars: Vars, os: OperatingSystem) -> int:
    """The schema of ``config.toml``. Raises ``UnsupportedError`` for one that is not read."""
    line, asked = installed_line(vars, os), vars.containerd_config_version
    if asked is None:
        return line.schema
    if asked > line.schema:
        raise UnsupportedError(
            f"containerd {line.version} reads config version {line.schema}, not {asked}",
            hint=f"set containerd_config_version: {line.schema}, or a newer containerd_version",
        )
    return asked


def _repository(vars: Vars, os: OperatingSystem, host: Facts) -> list[Resource]:
    if vars.containerd_source != "docker":
        return []
    row = catalog.docker_repository(os)
    key = vars.containerd_repository_key or catalog.key(row.key).text
    uri = f"{vars.containerd_repository_url}/{row.path}"
    if os.family == "redhat":
        # The major version, not $releasever: that is 9.4 where a minor release is locked.
        return [
            DnfRepository(
                name="docker-ce",
                description="Docker CE Stable",
                baseurl=f"{uri}/{os.version}/$basearch/{row.component}",
                key=key,
            )
        ]
    return [
        Package(name="ca-certificates"),  # a small Debian has none, and the URL is https
        AptRepository(
            name="docker",
            uris=(uri,),
            suites=(os.codename,),
            components=(row.component,),
            architectures=(host.deb_architecture,),
            key=key,
        ),
    ]


def _packages(vars: Vars, os: OperatingSystem, package: str) -> list[Resource]:
    """The package, what it replaces, and what holding it needs."""
    wanted: list[Resource] = []
    if vars.containerd_source == "distribution":
        wanted.append(Package(name="containerd.io", absent=True))
    elif os.family == "debian":
        wanted += [Package(name=name, absent=True) for name in ("containerd", "runc")]
    else:
        wanted.append(Package(name="runc", absent=True))
    if vars.containerd_hold and os.hold_package is not None:
        wanted.append(Package(name=os.hold_package))
    hold = vars.containerd_hold
    return [*wanted, Package(name=package, version=vars.containerd_version, hold=hold)]


def _registries(vars: Vars) -> list[Resource]:
    """One ``hosts.toml`` a registry. containerd reads them at every pull: nothing restarts."""
    if not vars.containerd_registries:
        return []
    wanted: list[Resource] = [Directory(path=CERTS)]
    for name, registry in sorted(vars.containerd_registries.items()):
        wanted.append(Directory(path=f"{CERTS}/{name}"))
        wanted.append(File(path=f"{CERTS}/{name}/hosts.toml", content=hosts_toml(registry)))
    return wanted
