"""The container runtime under Kubernetes: whether it fits, and what it is told.

containerd is the containerd role's: here are the keys of its config.toml that Kubernetes decides
about. CRI-O is this role's own.
"""

from __future__ import annotations

import posixpath
from typing import Any, Literal

import tomlkit

from aiprov import catalog
from aiprov.catalog import OperatingSystem, kubernetes, kubernetes_repositories
from aiprov.errors import UnsupportedError
from aiprov.resources import (
    AptRepository,
    Directory,
    DnfRepository,
    File,
    Package,
    Resource,
    Service,
)
from aiprov.roles import Cluster, Note, containerd
from aiprov.roles.containerd.config import CRI, IMAGES, RUNTIME, config
from aiprov.roles.kubernetes.settings import Vars
from aiprov.survey.facts import Facts

REGISTRY = "registry.k8s.io"
OLD_REGISTRY = "k8s.gcr.io"
"""Where kubeadm before 1.25 has its images (CHANGELOG-1.25, read 2026-11-21)."""

CRIO_UNIT = "crio.service"
CRIO_CONFIG = "/etc/crio/crio.conf.d/20-aiprov-kubernetes.conf"


def socket(vars: Vars) -> str:
    """Where kubelet reaches the runtime."""
    crio = vars.kubernetes_runtime == "crio"
    return "/var/run/crio/crio.sock" if crio else "/run/containerd/containerd.sock"


def unit(vars: Vars) -> str:
    """The runtime's unit."""
    return CRIO_UNIT if vars.kubernetes_runtime == "crio" else containerd.UNIT


def pause_image(vars: Vars) -> str:
    """The image of pods' pause container, as kubeadm of this version names it."""
    version = vars.kubernetes_version
    old = not kubernetes.has("control-plane-taint", version)
    registry = vars.kubernetes_image_repository or (OLD_REGISTRY if old else REGISTRY)
    return f"{registry}/pause:{kubernetes.line(version).pause}"


def cgroup_driver(vars: Vars, host: Facts, cluster: Cluster) -> Literal["systemd", "cgroupfs"]:
    """Who makes containers' cgroups. kubelet has to agree with the runtime about it."""
    if vars.kubernetes_runtime == "crio":
        return "systemd"
    settings = _containerd(cluster)
    os = catalog.operating_system(host.os_id, host.os_version)
    line, schema = containerd.installed_line(settings, os), containerd.schema(settings, os)
    values = config(settings, line, schema)["plugins"][CRI if schema == 2 else RUNTIME]
    options = values["containerd"]["runtimes"]["runc"].get("options", {})
    return "systemd" if options.get("SystemdCgroup") else "cgroupfs"


def _containerd(cluster: Cluster) -> containerd.Vars:
    settings = cluster.settings.get("containerd")
    if not isinstance(settings, containerd.Vars):
        raise TypeError("settings of containerd")
    return settings


# ---------------------------------------------------------------- does it fit?


def check(vars: Vars, host: Facts, cluster: Cluster) -> None:
    """Refuse a runtime that this Kubernetes does not accept. Raises ``UnsupportedError``."""
    if vars.kubernetes_runtime == "crio":
        _check_crio(vars)
        return
    settings = _containerd(cluster)
    os = catalog.operating_system(host.os_id, host.os_version)
    line = kubernetes.line(vars.kubernetes_version)
    if not any(line.accepts(version) for version in _possible(settings, os)):
        have = settings.containerd_version or _newest(settings, os)
        raise UnsupportedError(
            f"Kubernetes {line.version} does not accept containerd {have}: it wants "
            f"{', '.join(line.containerd)} or a later one of the same line",
            hint=_remedy(settings, line.containerd),
        )


def _remedy(settings: containerd.Vars, accepted: list[str]) -> str:
    minor = ".".join(accepted[-1].split(".")[:2])
    if settings.containerd_source == "distribution":
        return f'set containerd_source: docker and containerd_version: "{minor}"'
    return f'set containerd_version: "{minor}"'


def _possible(settings: containerd.Vars, os: OperatingSystem) -> list[str]:
    """The versions that the host may have: the one that is asked for, or those of its source."""
    if settings.containerd_version is not None:
        return [settings.containerd_version]
    versions = catalog.package_versions("containerd", _package(settings), os)
    newest = versions.newest or versions.oldest
    lines = [row.version for row in catalog.containerd_lines()]
    low, high = (".".join(one.split(".")[:2]) for one in (versions.oldest, newest))
    between = lines[lines.index(low) : lines.index(high) + 1]
    # The ends are known in full, and of what lies between them the newest can be had.
    ends = {low: versions.oldest, high: newest}
    return [ends.get(line, line) for line in between]


def _newest(settings: containerd.Vars, os: OperatingSystem) -> str:
    versions = catalog.package_versions("containerd", _package(settings), os)
    return versions.newest or versions.oldest


def _package(settings: containerd.Vars) -> str:
    return "containerd.io" if settings.containerd_source == "docker" else "containerd"


def _check_crio(vars: Vars) -> None:
    if vars.kubernetes_image_archives:
        raise UnsupportedError(
            "kubernetes_image_archives with CRI-O, which imports none",
            hint="use containerd, or a registry of your own by kubernetes_image_repository",
        )
    if vars.kubernetes_crio_repository_url is not None and not vars.kubernetes_crio_repository_key:
        raise UnsupportedError(
            "the catalog does not have the key of CRI-O's repository",
            hint="set kubernetes_crio_repository_key to its Release.key, or "
            "kubernetes_crio_repository_url: null where the host's own repositories have CRI-O",
        )


def notes(vars: Vars, host: Facts, cluster: Cluster) -> list[Note]:
    """What is to be known of the runtime's version."""
    if vars.kubernetes_runtime == "crio":
        return []
    settings = _containerd(cluster)
    os = catalog.operating_system(host.os_id, host.os_version)
    line = kubernetes.line(vars.kubernetes_version)
    refused = [one for one in _possible(settings, os) if not line.accepts(one)]
    if not refused:
        return []
    text = (
        f"containerd {', '.join(refused)} may be on the host, which Kubernetes {line.version} does "
        f"not accept: {_remedy(settings, line.containerd)}"
    )
    return [Note(level="warning", text=text)]


# ---------------------------------------------------------------- what it is told


def resources(vars: Vars, host: Facts, cluster: Cluster, bin_dir: str | None) -> list[Resource]:
    """The runtime's own part. ``bin_dir``: where the network's plugins lie."""
    os = catalog.operating_system(host.os_id, host.os_version)
    if vars.kubernetes_runtime == "crio":
        return _crio(vars, host, os, bin_dir)
    settings = _containerd(cluster)
    line, schema = containerd.installed_line(settings, os), containerd.schema(settings, os)
    values = _plugins(vars, settings, schema, bin_dir, lists=line.cni_bin_dirs)
    if not values:
        return []
    # Alike the containerd role's own, which it is united with: one file, one service.
    return [
        Directory(path=posixpath.dirname(containerd.CONFIG)),
        containerd.config_file({"version": schema, "plugins": values}, settings, os),
        Service(name=containerd.UNIT, enabled=True, running=True, restart_on=(containerd.CONFIG,)),
    ]


def _plugins(
    vars: Vars, settings: containerd.Vars, schema: int, bin_dir: str | None, *, lists: bool
) -> dict[str, Any]:
    """The keys that the containerd role's settings leave open."""
    images: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    if settings.containerd_sandbox_image is None:
        image = pause_image(vars)
        images = {"sandbox_image": image} if schema == 2 else {"pinned_images": {"sandbox": image}}
    if settings.containerd_cni_bin_dir is None and bin_dir is not None:
        cni = {"bin_dir": None, "bin_dirs": [bin_dir]} if lists and schema > 2 else None
        runtime = {"cni": cni or {"bin_dir": bin_dir}}
    if schema == 2:
        return {CRI: {**images, **runtime}} if images or runtime else {}
    plugins = {IMAGES: images, RUNTIME: runtime}
    return {name: values for name, values in plugins.items() if values}


def _crio(vars: Vars, host: Facts, os: OperatingSystem, bin_dir: str | None) -> list[Resource]:
    hold = vars.kubernetes_hold
    before = [Package(name=os.hold_package)] if hold and os.hold_package is not None else []
    minor = ".".join(vars.kubernetes_version.split(".")[:2])
    runtime: dict[str, Any] = {"cgroup_manager": "systemd"}
    network = {} if bin_dir is None else {"network": {"plugin_dirs": [bin_dir]}}
    document = {
        "crio": {"image": {"pause_image": pause_image(vars)}, "runtime": runtime, **network}
    }
    return [
        *crio_repository(vars, host, os),
        *before,
        Package(name="cri-o", version=vars.kubernetes_crio_version or minor, hold=hold),
        Directory(path="/etc/crio"),
        Directory(path=posixpath.dirname(CRIO_CONFIG)),
        File(path=CRIO_CONFIG, content=tomlkit.dumps(document)),
        Service(name=CRIO_UNIT, enabled=True, running=True, restart_on=(CRIO_CONFIG,)),
    ]


def crio_repository(vars: Vars, host: Facts, os: OperatingSystem) -> list[Resource]:
    """CRI-O's repository for the minor version of Kubernetes."""
    if vars.kubernetes_crio_repository_url is None:
        return []
    return [
        repository(
            "cri-o",
            vars.kubernetes_crio_repository_url,
            vars.kubernetes_crio_repository_key,
            vars.kubernetes_crio_version or vars.kubernetes_version,
            os,
        )
    ]


def repository(
    name: str, url: str, key: str | None, version: str, os: OperatingSystem
) -> AptRepository | DnfRepository:
    """A repository of the catalog's for a version's minor: its packages are flat, one a minor."""
    row = kubernetes_repositories.repository(name)
    uri = f"{url}/{row.path(os.family, version)}"
    if os.family == "redhat":
        return DnfRepository(name=name, description=row.description, baseurl=uri, key=key)
    return AptRepository(name=name, uris=(uri,), suites=("/",), key=key)
