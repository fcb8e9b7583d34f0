"""NVIDIA's container toolkit: GPUs in the containers of Docker, containerd, CRI-O and podman.

Its four packages are at one version. The files that it shares with other tools (daemon.json,
config.toml) it owns by key, and it writes them itself: nvidia-ctk guesses schemas, and has broken
daemons by that. What counts is what the daemons that run say of themselves, which is asked at the
end of every run. What is wrong with a version of the toolkit is told with the plan.
"""

from __future__ import annotations

from aiprov import catalog, programs
from aiprov.catalog import OperatingSystem, nvidia_repositories, toolkit
from aiprov.plain_files import repository_files
from aiprov.resources import (
    Absent,
    AptRepository,
    Command,
    Directory,
    DnfRepository,
    File,
    Merge,
    Package,
    Resource,
    Succeeds,
)
from aiprov.roles import Cluster, Note, docker
from aiprov.roles.nvidia_container_toolkit import cdi, runtimes
from aiprov.roles.nvidia_container_toolkit.settings import Runtime, Vars, config_toml
from aiprov.stack import no_gpu
from aiprov.survey.facts import Facts

__all__ = ["AFTER", "REQUIRES", "Vars", "notes", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ("nvidia_driver",)
AFTER: tuple[str, ...] = ("containerd", "docker")

CONFIG = "/etc/nvidia-container-runtime/config.toml"
NAME = "nvidia-container-toolkit"
OLD_PACKAGES = ("nvidia-docker2", "nvidia-container-runtime")
"""What the toolkit took the place of, in 2023; the first owns daemon.json as a whole."""
RUNTIME_CLASS = "/etc/aiprov/kubernetes/runtimeclass-nvidia.yaml"
CHECK = "runtime-check"

_MANIFEST = """\
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata:
  name: nvidia
handler: nvidia
"""
_OLD_SOURCES = ("nvidia-docker", "libnvidia-container", "nvidia-container-runtime")
"""Sources of the toolkit's earlier names: apt refuses the same repository under another key."""


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """A host without GPUs has nothing to bring into containers."""
    return no_gpu(host)


def notes(vars: Vars, host: Facts, cluster: Cluster) -> list[Note]:
    """Which runtimes and why, and what is wrong with the version that is asked for."""
    if vars.nvidia_container_toolkit_state == "absent":
        return []
    os = catalog.operating_system(host.os_id, host.os_version)
    version = vars.nvidia_container_toolkit_version
    faults = toolkit.faults(version) if version is not None else ()
    told = [Note(level="warning", text=text) for text in faults]
    names = runtimes.chosen(vars, cluster)
    if "containerd" in names:
        root = runtimes.Root.of(cluster.settings["containerd"], os)
        where = f"{runtimes.DROP_IN}, of the same schema ({root.schema}) as config.toml"
        if not root.merges_plugins:
            where = "config.toml itself: a drop-in would replace all that it says of the CRI"
        text = f"containerd {root.line.version} may be on the host: its runtime nvidia is in "
        told.append(Note(level="reason", text=text + where))
    settings = cluster.settings.get("docker")
    if "docker" in names and isinstance(settings, docker.Vars):
        present = docker.installed_version(settings, os)
        if vars.nvidia_container_toolkit_cdi and not catalog.docker_has("cdi", present):
            text = f"Docker {present} may be on the host, which has no CDI yet (25.0 has): its "
            told.append(Note(level="reason", text=text + "containers get GPUs by --gpus"))
    return told


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """The packages, their configuration, the runtimes and CDI.

    Raises ``UnsupportedError`` where there is no runtime, or its role's settings exclude these.
    """
    os = catalog.operating_system(host.os_id, host.os_version)
    names = runtimes.chosen(vars, cluster)
    if vars.nvidia_container_toolkit_state == "absent":
        return _removed(vars, host, os, cluster, names)
    configured = runtimes.resources(vars, names, os, cluster)
    return [
        *(Absent(path=path) for path in _old_sources(os)),
        _repository(vars, host, os),
        *(Package(name=name, absent=True) for name in OLD_PACKAGES),
        *_packages(vars, os),
        Directory(path="/etc/nvidia-container-runtime"),
        File(
            path=CONFIG,
            content=Merge(format="toml", values=config_toml(vars)),
            delivered_by=f"{NAME}-base",
        ),
        *configured,
        *cdi.resources(vars, host),
        *_runtime_class(vars),
        *_check(vars, host, cluster, names, configured),
    ]


def _removed(
    vars: Vars, host: Facts, os: OperatingSystem, cluster: Cluster, names: tuple[Runtime, ...]
) -> list[Resource]:
    """What daemons read goes first; they restart when the packages are gone, at the stage's end."""
    return [
        *runtimes.resources(vars, names, os, cluster),
        *cdi.resources(vars, host),
        Absent(path=RUNTIME_CLASS),
        Absent(path=programs.path(CHECK)),
        *(Package(name=name, absent=True) for name in toolkit.newest().packages),
        Absent(path=CONFIG),
        *(Absent(path=file.path) for file in repository_files(_repository(vars, host, os))),
    ]


def _old_sources(os: OperatingSystem) -> list[str]:
    if os.family == "redhat":
        return [f"/etc/yum.repos.d/{name}.repo" for name in _OLD_SOURCES]
    # NVIDIA's install guide makes a .list of our own name.
    return [f"/etc/apt/sources.list.d/{name}.list" for name in (*_OLD_SOURCES, NAME)]


def _repository(vars: Vars, host: Facts, os: OperatingSystem) -> AptRepository | DnfRepository:
    row = nvidia_repositories.toolkit_repository(os)
    key = vars.nvidia_container_toolkit_repository_key
    key = key or nvidia_repositories.signing_key(row.key).text
    base = f"{vars.nvidia_container_toolkit_repository_url}/{row.path}"
    if os.family == "redhat":
        return DnfRepository(
            name=NAME,
            description="NVIDIA Container Toolkit",
            baseurl=base.format(architecture="$basearch"),
            key=key,
        )
    return AptRepository(
        name=NAME,
        uris=(base.format(architecture=host.deb_architecture),),
        suites=("/",),
        key=key,
    )


def _packages(vars: Vars, os: OperatingSystem) -> list[Resource]:
    hold = vars.nvidia_container_toolkit_hold
    before = [Package(name=os.hold_package)] if hold and os.hold_package is not None else []
    return [
        *before,
        *(
            Package(
                name=name,
                version=vars.nvidia_container_toolkit_version,
                hold=hold,
                together="the container toolkit",
            )
            # What others depend on comes first.
            for name in reversed(toolkit.newest().packages)
        ),
    ]


def _runtime_class(vars: Vars) -> list[Resource]:
    if not vars.nvidia_container_toolkit_runtime_class:
        return [Absent(path=RUNTIME_CLASS)]
    return [
        Directory(path="/etc/aiprov"),
        Directory(path="/etc/aiprov/kubernetes"),
        File(path=RUNTIME_CLASS, content=_MANIFEST),
    ]


def _check(
    vars: Vars,
    host: Facts,
    cluster: Cluster,
    names: tuple[Runtime, ...],
    configured: list[Resource],
) -> list[Resource]:
    """What the daemons say has the runtime: asked at every plan, and it fails with what lacks."""
    if not names:
        return [Absent(path=programs.path(CHECK))]
    os = catalog.operating_system(host.os_id, host.os_version)
    argv = [programs.path(CHECK), "--runtime", f"nvidia={runtimes.BINARY}"]
    if vars.nvidia_container_toolkit_default_runtime:
        argv.append("--default")
    if vars.nvidia_container_toolkit_cdi:
        argv += ["--cdi", cdi.SPECIFICATION]
    if "containerd" in names:
        root = runtimes.Root.of(cluster.settings["containerd"], os)
        argv += ["--cgroup", "systemd" if root.systemd_cgroup else "cgroupfs"]
    command = (*argv, *names)
    return [
        *programs.program(CHECK, host),
        Command(
            name="container runtimes have nvidia",
            argv=command,
            unless=Succeeds(argv=command),
            waits_for=(
                f"File[{programs.path(CHECK)}]",
                *(f"File[{path}]" for path in runtimes.written(configured)),
                *(f"Absent[{path}]" for path in runtimes.written(configured)),
                "Service[docker.service]",
                "Service[containerd.service]",
                "Service[crio.service]",
                "Command[refresh CDI specification]",
            ),
        ),
    ]
