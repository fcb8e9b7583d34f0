"""What the first control plane brings into the cluster: the network, GPUs, objects of the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiprov import programs
from aiprov.kubernetes import charts, gpu, network
from aiprov.kubernetes.kubelet import dumped
from aiprov.kubernetes.network import NetworkSpec
from aiprov.kubernetes.secret_values import everything_of, secrets_of
from aiprov.resources import Command, Directory, File, Resource, Secret, Succeeds
from aiprov.roles.kubernetes import spec
from aiprov.roles.kubernetes.files import MANIFESTS, Parts
from aiprov.roles.kubernetes.settings import Vars
from aiprov.survey.facts import Facts
from aiprov.values import proxy_environment

ADMIN = "kube-admin"
APPLY_S = 180
"""What an add-on is given at least: kinds that it defines are set up meanwhile."""


def network_spec(vars: Vars, node: str) -> NetworkSpec:
    """The pods' network as this node sees it."""
    return NetworkSpec(
        kind=vars.kubernetes_network,
        version=vars.kubernetes_version,
        pod_cidrs=vars.kubernetes_pod_cidrs,
        node=node,
        mtu=vars.kubernetes_network_mtu,
        plugins=vars.kubernetes_cni_plugins,
        network_version=vars.kubernetes_network_version,
        source=vars.kubernetes_network_source,
        sha256=vars.kubernetes_network_sha256,
        values=vars.kubernetes_network_values,
        proxy=proxy_environment(
            vars.kubernetes_http_proxy, vars.kubernetes_https_proxy, vars.kubernetes_no_proxy
        ),
    )


def resources(vars: Vars, host: Facts, parts: Parts, joined: str) -> list[Resource]:
    """The add-ons, applied when the cluster is there. ``joined``: the address of what says so."""
    net = network_spec(vars, parts.own.name)
    fetched = network.fetched(net, host)
    found: list[Resource] = [Directory(path=MANIFESTS, mode=0o700), *fetched]
    if fetched:
        found.append(_applied(vars, "network", network.MANIFEST, joined, network.FETCHED))
    elif objects := network.manifests(net):
        found += _addon(vars, "10-network", objects, joined)
    found += _addon(vars, f"20-{gpu.ADDON}", _gpus(vars, parts), joined)
    for name, given in sorted(vars.kubernetes_manifests.items()):
        found += _addon(vars, f"50-{name}", given, joined)
    return found + _charts(vars, host, parts, net, joined)


def _gpus(vars: Vars, parts: Parts) -> list[dict[str, Any]]:
    """The objects by which pods get GPUs; none takes away those of before."""
    offered = spec.gpus(vars)
    return [] if offered is None else gpu.manifests(offered, parts.cluster)


def _charts(vars: Vars, host: Facts, parts: Parts, net: NetworkSpec, joined: str) -> list[Resource]:
    """The charts; those that aiprov installed before and that are not among them go."""
    offered = spec.gpus(vars)
    wanted = [
        *network.charts(net),
        *(gpu.charts(offered, parts.cluster) if offered is not None else []),
    ]
    given = [net.values, offered.chart_values if offered is not None else {}]
    return charts.resources(
        wanted,
        _helm(vars, host) if wanted else None,
        host,
        net.proxy,
        secrets=everything_of(given) if wanted else (),
        waits_for=(joined,),
        patience_s=vars.kubernetes_wait_s,
    )


def _helm(vars: Vars, host: Facts) -> charts.Helm:
    return charts.helm(
        host,
        version=vars.kubernetes_helm_version,
        url=vars.kubernetes_helm_url,
        sha256=vars.kubernetes_helm_sha256,
    )


def _addon(vars: Vars, name: str, objects: Sequence[dict[str, Any]], joined: str) -> list[Resource]:
    path = f"{MANIFESTS}/{name}.yaml"
    return [
        File(path=path, content=_content(objects), mode=0o600),
        _applied(vars, name.partition("-")[2], path, joined, f"File[{path}]"),
    ]


def _content(objects: Sequence[dict[str, Any]]) -> str | Secret:
    """The objects' text; with a Secret anywhere in it, it is never shown."""
    text, secrets = dumped(*objects), secrets_of(objects)
    return Secret(text, parts=secrets) if secrets else text


def _applied(vars: Vars, name: str, path: str, joined: str, before: str) -> Command:
    """The objects of a file are in the cluster as it says."""
    program, patience = programs.path(ADMIN), vars.kubernetes_wait_s
    return Command(
        name=f"add-on {name}",
        argv=(program, "apply", path, "--timeout", str(max(patience, APPLY_S))),
        unless=Succeeds(argv=(program, "applied", path), patience_s=patience),
        after=(before,),
        waits_for=(joined,),
    )
