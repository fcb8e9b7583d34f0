"""Kubernetes by kubeadm: control planes and workers, from packages to a cluster with add-ons.

Hosts of the inventory's group ``kube_control_plane`` (1, 3 or 5) become control planes, those of
``kube_worker`` workers; a host in both is a control plane that takes work. Every host's plan is
known before any is touched, and adding a node touches that node alone: the cluster's authorities
are made on the controller (``aiprov cluster secrets``), a joining node is handed a certificate for
two hours, waits for the endpoint by itself, and control planes take turns by a lease in the
cluster. No token that lets nodes in stays in it.

Versions change by ``aiprov cluster upgrade`` alone. What a version lacks, networks that overlap,
an even number of control planes, swap and a container runtime that does not fit are refused when
planning. By default the API server logs who did what, secrets are encrypted in etcd, pods have the
limits of Pod Security's ``baseline``, and anonymous requests reach health checks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiprov import catalog, programs
from aiprov.cluster_secrets import LoadedSecrets
from aiprov.errors import AiprovError, UnsupportedError
from aiprov.kubernetes import gpu, network
from aiprov.resources import Command, Resource, Service, Succeeds, address
from aiprov.roles import Cluster, Note, docker
from aiprov.roles.kubernetes import addons, endpoint, files, packages, runtime, serving, spec
from aiprov.roles.kubernetes.files import Parts
from aiprov.roles.kubernetes.members import CONTROL_PLANE, WORKER, Member, check_count, member
from aiprov.roles.kubernetes.settings import Vars
from aiprov.survey.facts import Facts

__all__ = [
    "AFTER",
    "GROUPS",
    "REQUIRES",
    "Vars",
    "doubts",
    "notes",
    "outside",
    "resources",
    "unsuitable",
]

REQUIRES: tuple[str, ...] = ("containerd",)  # which gives way to CRI-O
AFTER: tuple[str, ...] = (
    "base",
    "nvidia_driver",
    "docker",
    "nvidia_container_toolkit",
    "gpu_sharing",
)
GROUPS: tuple[str, ...] = (CONTROL_PLANE, WORKER)

JOIN = "the node belongs to the cluster"
UPGRADE = "the node runs its version of Kubernetes"
CONFIGURE = "the node is configured as it should be"
UNTOLD_S = 60.0
"""How long what a host cannot tell of itself just now is asked again."""
KUBELET = "kubelet.service"
ADMIN_PROGRAMS = ("kube-admin", "kube-cluster")
IMAGES = "kube-images"


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """Every host can be a node; whether it is one, its groups say."""
    return None


def outside(vars: Vars, host: Facts, cluster: Cluster) -> str | None:
    """A host in neither group is no node."""
    if any(host.name in cluster.groups.get(group, ()) for group in (CONTROL_PLANE, WORKER)):
        return None
    return f"{host.name} is in neither {CONTROL_PLANE} nor {WORKER}"


def doubts(cluster: Cluster) -> list[str]:
    """The number of control planes, and secrets that are missing, expired, or not to be opened."""
    planes = cluster.groups.get(CONTROL_PLANE, ())
    told = (_refusal(lambda: check_count(planes)), _refusal(lambda: _secrets(cluster)))
    return [one for one in told if one is not None]


def _refusal(check: Callable[[], object]) -> str | None:
    try:
        check()
    except AiprovError as error:
        return f"{error} ({error.hint})" if error.hint else str(error)
    return None


def notes(vars: Vars, host: Facts, cluster: Cluster) -> list[Note]:
    """What is to be known of the network, the endpoint, GPUs and the runtime."""
    own = member(vars, host, cluster)
    told = runtime.notes(vars, host, cluster)
    if not own.first:
        return told
    net = addons.network_spec(vars, own.name)
    told += [Note(level=level, text=text) for level, text in network.notes(net)]
    told += [*endpoint.notes(vars, own, cluster), *packages.notes(vars)]
    offered = spec.gpus(vars)
    if offered is not None:
        made = spec.cluster_spec(vars, own)
        told += [Note(level="reason", text=text) for text in gpu.notes(offered, made)]
    return told


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """Everything from the packages to a node that belongs to the cluster, and the add-ons.

    Raises ``UnsupportedError`` for what would not work.
    """
    own = member(vars, host, cluster)
    _check_docker(cluster)
    runtime.check(vars, host, cluster)
    made, node = spec.cluster_spec(vars, own), spec.node_spec(vars, host, cluster, own)
    spec.check(vars, host, cluster, own, made, node)
    loaded = _secrets(cluster)
    parts = Parts(
        own=own,
        cluster=made,
        node=node,
        join=spec.join(loaded.secrets),
        secrets=loaded.secrets,
    )
    return _once(
        [
            *_prepared(vars, host, cluster, parts),
            *_belonging(vars, host, loaded, parts),
            *_settled(vars, host, parts),
        ]
    )


def _check_docker(cluster: Cluster) -> None:
    """Docker drops what is forwarded, unless it is told not to: pods of other nodes, too."""
    settings = cluster.settings.get("docker")
    if isinstance(settings, docker.Vars) and settings.docker_keep_forwarding is False:
        raise UnsupportedError(
            "docker_keep_forwarding: false on a node: Docker would drop packets between pods of "
            "different nodes",
            hint="leave docker_keep_forwarding out: it is true beside Kubernetes",
        )


def _secrets(cluster: Cluster) -> LoadedSecrets:
    if cluster.secrets is None:
        raise UnsupportedError(
            "the cluster's secrets are not known here",
            hint="make them with: aiprov cluster secrets -i … --vault-password-file …",
        )
    return cluster.secrets()


# ---------------------------------------------------------------- in order


def _prepared(vars: Vars, host: Facts, cluster: Cluster, parts: Parts) -> list[Resource]:
    """Everything before the node can join. The packages last: what follows waits for them."""
    os = catalog.operating_system(host.os_id, host.os_version)
    net = addons.network_spec(vars, parts.own.name)
    more = endpoint.node_json(vars, parts.own, cluster)
    return [
        *packages.repository_resources(vars, os),
        *files.kernel(vars),
        files.crictl(vars),
        *_programs(vars, host, parts.own),
        *runtime.resources(vars, host, cluster, network.bin_dir(net, host)),
        *(files.control_plane(vars, parts) if parts.own.control_plane else []),
        *(serving.resources(vars, host) if parts.own.control_plane else []),
        *files.node_files(vars, parts, more),
        *(endpoint.resources(vars, host, parts.own, cluster) if parts.own.control_plane else []),
        *network.node_resources(net, host),
        *_images(vars),
        *packages.resources(vars, os),
    ]


def _programs(vars: Vars, host: Facts, own: Member) -> list[Resource]:
    names = [*(ADMIN_PROGRAMS if own.control_plane else ())]
    names += [IMAGES] if vars.kubernetes_image_archives else []
    return [
        *programs.kubernetes_programs(host),
        *(item for name in names for item in programs.program(name, host)),
    ]


def _images(vars: Vars) -> list[Resource]:
    program = programs.path(IMAGES)
    return [
        Command(
            name=f"images of {archive}",
            argv=(program, "import", archive),
            unless=Succeeds(argv=(program, "imported", archive), patience_s=UNTOLD_S),
            waits_for=(f"Service[{runtime.unit(vars)}]",),
        )
        for archive in vars.kubernetes_image_archives
    ]


def _belonging(vars: Vars, host: Facts, loaded: LoadedSecrets, parts: Parts) -> list[Resource]:
    """The node joins, or begins the cluster; then it runs its version, configured as it should."""
    node, life = programs.path("kube-node"), programs.path("kube-life")
    made = parts.cluster
    return [
        Command(
            name=JOIN,
            argv=(node, "join"),
            stdin=loaded.bootstrap_kubeconfig(made.endpoint, made.name),
            unless=Succeeds(argv=(node, "joined"), patience_s=UNTOLD_S),
            waits_for=(
                *packages.addresses(),
                f"Service[{runtime.unit(vars)}]",
                *(f"Service[{unit}]" for unit in endpoint.UNITS),
            ),
        ),
        Service(name=KUBELET, enabled=True, running=True),
        Command(
            name=UPGRADE,
            argv=(life, "upgrade"),
            unless=Succeeds(argv=(life, "upgraded"), patience_s=UNTOLD_S),
            waits_for=(f"Command[{JOIN}]",),
        ),
        Command(
            name=CONFIGURE,
            argv=(life, "configure"),
            unless=Succeeds(argv=(life, "configured"), patience_s=UNTOLD_S),
            waits_for=(f"Command[{JOIN}]", f"Command[{UPGRADE}]"),
            after=files.configuring(vars, parts),
        ),
    ]


def _settled(vars: Vars, host: Facts, parts: Parts) -> list[Resource]:
    joined = f"Command[{JOIN}]"
    net = addons.network_spec(vars, parts.own.name)
    return [
        *(addons.resources(vars, host, parts, joined) if parts.own.first else []),
        *network.settled(net, joined),
    ]


def _once(resources: Iterable[Resource]) -> list[Resource]:
    """Each resource once: programs lie in one folder, and several parts need one package."""
    found: dict[str, Resource] = {}
    for resource in resources:
        present = found.setdefault(address(resource), resource)
        if present != resource:
            raise UnsupportedError(
                f"{address(resource)} is wanted in two ways", hint="please report this as a defect"
            )
    return list(found.values())
