"""Docker: the engine, its configuration by key, and who may use it.

containerd comes before it and alone owns the containerd package, so both roles need the same
source: with different ones they want ``containerd`` and ``containerd.io`` differently, and planning
says so. Keys of ``daemon.json`` that no variable names are kept, also those of a variable that was
unset again (``docker_config_extra`` with ``null`` removes one); lists are replaced.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from aiprov import catalog
from aiprov.catalog import OperatingSystem
from aiprov.errors import UnsupportedError
from aiprov.resources import (
    STAGED,
    Absent,
    Directory,
    File,
    Merge,
    Package,
    Resource,
    Service,
    Sysctl,
    User,
)
from aiprov.roles import Cluster
from aiprov.roles.docker.settings import Vars
from aiprov.survey.facts import Facts
from aiprov.values import laid_over, proxy_environment, proxy_files, unit_proxy

__all__ = ["REQUIRES", "Vars", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ("containerd",)

CONFIG = "/etc/docker/daemon.json"
UNIT = "docker.service"
FORWARDING = f"/etc/systemd/system/{UNIT}.d/aiprov-forwarding.conf"


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """Every host can have Docker."""
    return None


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """The packages, the configuration, the service and its users.

    Raises ``UnsupportedError`` where the source has no package for this OS.
    """
    os = catalog.operating_system(host.os_id, host.os_version)
    forwards = vars.docker_keep_forwarding
    if forwards is None:
        forwards = "kubernetes" in cluster.settings
    return [
        *(_before_packages() if forwards else []),
        *_packages(vars, os),
        Directory(path="/etc/docker"),
        config_file(daemon_json(vars), vars, os),
        *_drop_ins(vars, forwards=forwards),
        Service(name="docker.socket", enabled=True, running=True),
        Service(
            name=UNIT,
            enabled=True,
            running=True,
            restart_on=(CONFIG, *proxy_files(UNIT), FORWARDING),
        ),
        *(User(name=name, groups=("docker",)) for name in vars.docker_users),
    ]


def daemon_json(vars: Vars) -> dict[str, Any]:
    """The keys of daemon.json that are ours.

    https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file, 2026-11-21.
    """
    values: dict[str, Any] = {
        "exec-opts": [f"native.cgroupdriver={vars.docker_cgroup_driver}"],
        "log-driver": vars.docker_log_driver,
        "live-restore": vars.docker_live_restore,
    }
    pools = [{"base": pool.base, "size": pool.size} for pool in vars.docker_address_pools]
    ulimits = {
        name: {"Name": name, "Soft": limit.soft, "Hard": limit.hard}
        for name, limit in vars.docker_ulimits.items()
    }
    where_set = {
        "log-opts": _log_opts(vars),
        "registry-mirrors": list(vars.docker_registry_mirrors),
        "insecure-registries": list(vars.docker_insecure_registries),
        "data-root": vars.docker_data_root,
        "storage-driver": vars.docker_storage_driver,
        "default-address-pools": pools,
        "bip": vars.docker_bip,
        "mtu": vars.docker_mtu,
        "dns": list(vars.docker_dns),
        "default-ulimits": ulimits,
        "features": dict(vars.docker_features),
    }
    values |= {key: value for key, value in where_set.items() if value}
    return laid_over(values, vars.docker_config_extra)


def _log_opts(vars: Vars) -> dict[str, str | None]:
    """The log driver's options. Another driver's sizes go: with them no container would start."""
    sized = vars.docker_log_driver in ("json-file", "local")
    return {
        "max-size": vars.docker_log_max_size if sized else None,
        "max-file": str(vars.docker_log_max_file) if sized else None,
        **vars.docker_log_opts,
    }


def _before_packages() -> list[Resource]:
    """Docker drops forwarded packets only where it had to switch forwarding on itself.

    So that it never gets to, forwarding is on before Docker first starts (docs.docker.com, Packet
    filtering and firewalls, "Docker on a router", 2026-11-21).
    """
    return [Sysctl(key="net.ipv4.ip_forward", value="1"), Package(name="iptables")]


def _packages(vars: Vars, os: OperatingSystem) -> list[Resource]:
    if vars.docker_source == "distribution":
        return _distribution_packages(vars, os)
    wanted: list[Resource] = []
    if vars.docker_remove_conflicting:
        conflicts = catalog.docker_repository(os).conflicts
        wanted += [Package(name=name, absent=True) for name in conflicts]
    elif os.family == "debian":
        # Stays, so that a containerd role with the other source is noticed.
        wanted.append(Package(name="containerd", absent=True))
    if vars.docker_hold and os.hold_package is not None:
        wanted.append(Package(name=os.hold_package))
    versions = {
        "docker-ce-cli": vars.docker_version,
        "docker-ce": vars.docker_version,
        "docker-buildx-plugin": vars.docker_buildx_version,
        "docker-compose-plugin": vars.docker_compose_version,
    }
    hold = vars.docker_hold
    wanted += [Package(name=name, version=version, hold=hold) for name, version in versions.items()]
    return wanted


def _distribution_packages(vars: Vars, os: OperatingSystem) -> list[Resource]:
    if os.family == "redhat":
        raise UnsupportedError(
            f"{os.name} has no Docker package of its own",
            hint="set docker_source and containerd_source to docker",
        )
    # containerd.io is Docker's: naming it notices a containerd role with the other source.
    replaced = ("docker-ce", "docker-ce-cli", "docker-ce-rootless-extras", "containerd.io")
    names = ("docker.io", *catalog.package_versions("docker", "docker.io", os).companions)
    version, hold = vars.docker_version, vars.docker_hold
    return [
        *(Package(name=name, absent=True) for name in replaced),
        *(Package(name=name, version=version, hold=hold) for name in names),
    ]


def config_file(values: Mapping[str, Any], vars: Vars, os: OperatingSystem) -> File:
    """``daemon.json`` with these keys: for this role, and for one that has keys of it too.

    The daemon's own check came with 23.0; it finds unknown keys and wrong types, though not keys
    that the unit's flags give too (seen with 26.1.5). Before that there is nothing that would find
    more than that the text is JSON, which it is; a daemon that does not start gets its file back.
    """
    checks = catalog.docker_has("validate", installed_version(vars, os))
    return File(
        path=CONFIG,
        content=Merge(format="json", values=values),
        validate=("dockerd", "--validate", "--config-file", STAGED) if checks else None,
    )


def installed_version(vars: Vars, os: OperatingSystem) -> str:
    """The version that the host has, or the oldest that it may have."""
    package = "docker-ce" if vars.docker_source == "docker" else "docker.io"
    return vars.docker_version or catalog.package_versions("docker", package, os).oldest


def _drop_ins(vars: Vars, *, forwards: bool) -> list[Resource]:
    """Drop-ins of docker.service; those of settings that were unset go.

    The proxy is not in daemon.json, whose ``proxies`` came with 23.0: so every version has it in
    one place, and plans can show daemon.json whole.
    """
    proxy = proxy_environment(vars.docker_http_proxy, vars.docker_https_proxy, vars.docker_no_proxy)
    if not forwards:
        return [*unit_proxy(UNIT, proxy), Absent(path=FORWARDING)]
    # For a Docker that has set the policy already. daemon.json's "ip-forward-no-drop" would do
    # from 28.0 on, but an older daemon does not start with it.
    text = "[Service]\nExecStartPost=/usr/sbin/iptables --wait 30 --policy FORWARD ACCEPT\n"
    return [
        *unit_proxy(UNIT, proxy),
        Directory(path=posixpath.dirname(FORWARDING)),
        File(path=FORWARDING, content=text),
    ]
