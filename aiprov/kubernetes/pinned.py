"""A network's own manifest, fetched by the first control plane and made to fit the cluster there.

The controller downloads nothing. ``kube-manifest`` (``aiprov/programs/kube/manifest.py``) takes the
file from its project, from a mirror or from the host, holds it against its checksum, and puts the
cluster's networks in at places that each have to be there exactly once: with the checksum that the
catalog has they are, and a manifest of another origin that lacks one is refused, not half changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from aiprov import programs
from aiprov.errors import UnsupportedError
from aiprov.kubernetes import FOLDER
from aiprov.resources import Command, Directory, File, Resource, Succeeds
from aiprov.survey.facts import Facts
from aiprov.values import environment_file

RECIPE = f"{FOLDER}/network.json"
PROXY = f"{FOLDER}/network-proxy.env"
MANIFEST = f"{FOLDER}/manifests/10-network.yaml"
PROGRAM = "kube-manifest"
FETCHED = "Command[the network's manifest]"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a manifest is (a URL, or a path on the host), and the SHA-256 of its bytes."""

    location: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Text that stands in a manifest exactly once, and what takes its place."""

    old: str
    new: str


def resources(
    source: Source, edits: tuple[Edit, ...], proxy: Mapping[str, str], host: Facts
) -> list[Resource]:
    """The program, what it is to fetch, and the command that does."""
    program = programs.path(PROGRAM)
    recipe = {
        "format_version": 1,
        "location": source.location,
        "sha256": source.sha256,
        "edits": [{"old": edit.old, "new": edit.new} for edit in edits],
        "manifest": MANIFEST,
    }
    text = json.dumps(recipe, indent=2, sort_keys=True) + "\n"
    return [
        *programs.program(PROGRAM, host),
        Directory(path="/etc/kubernetes"),
        Directory(path=FOLDER, mode=0o700),
        Directory(path=f"{FOLDER}/manifests", mode=0o700),
        environment_file(PROXY, proxy),
        File(path=RECIPE, content=text, mode=0o600),
        Command(
            name="the network's manifest",
            argv=(program, "fetch", RECIPE, "--environment", PROXY),
            unless=Succeeds(argv=(program, "fetched", RECIPE)),
            after=(f"File[{RECIPE}]",),
            waits_for=(f"File[{program}]", f"File[{RECIPE}]"),
        ),
    ]


def edits(name: str, pod_cidrs: tuple[str, ...], mtu: int | None) -> tuple[Edit, ...]:
    """What has to be changed in a network's manifest for a cluster's pod networks.

    Raises ``UnsupportedError`` for two networks of one kind, which neither can have.
    """
    by_version = {ip_network(cidr).version: cidr for cidr in pod_cidrs}
    if len(by_version) != len(pod_cidrs):
        raise UnsupportedError(
            f"{name} has one pod network of each kind of IP, not {' and '.join(pod_cidrs)}",
            hint="give one IPv4 network, one IPv6 network, or one of each",
        )
    of = {"flannel": _flannel, "calico": _calico}
    return of[name](by_version.get(4), by_version.get(6), mtu)


def _flannel(ipv4: str | None, ipv6: str | None, mtu: int | None) -> tuple[Edit, ...]:
    """flannel's Documentation/configuration.md and kube-flannel.yml, v0.28.9 (2026-08-07).

    By itself it takes the interface with the default route. On a host with several networks that
    need not be the one that the node's address is in, so it is told to take that.
    """
    keys = [f'"Network": "{ipv4}"'] if ipv4 else ['"EnableIPv4": false']
    keys += ['"EnableIPv6": true', f'"IPv6Network": "{ipv6}"'] if ipv6 else []
    network = "".join(f"      {key},\n" for key in keys)
    node_ip = (
        "        - name: NODE_IP\n"
        "          valueFrom:\n"
        "            fieldRef:\n"
        "              fieldPath: status.hostIP\n"
    )
    queue = "        - name: EVENT_QUEUE_DEPTH\n"
    manager = "        - --kube-subnet-mgr\n"
    wanted = [
        Edit(old='      "Network": "10.244.0.0/16",\n', new=network),
        Edit(old=manager, new=f"{manager}        - --iface=$(NODE_IP)\n"),
        Edit(old=queue, new=node_ip + queue),
    ]
    if mtu is not None:
        vxlan = '        "Type": "vxlan"\n'
        wanted.append(Edit(old=vxlan, new=f'        "Type": "vxlan",\n        "MTU": {mtu}\n'))
    return tuple(wanted)


def _calico(ipv4: str | None, ipv6: str | None, mtu: int | None) -> tuple[Edit, ...]:
    """Calico's manifests/calico.yaml v3.32.1, and docs.tigera.io networking/ipam/ipv6 (3.32).

    By itself it takes the first address that it finds. On a host with several networks that need
    not be the node's, so it is told to take the one that the Node has.
    """
    variables: dict[str, str] = {}
    if ipv4:
        variables |= {"IP_AUTODETECTION_METHOD": "kubernetes-internal-ip"}
        variables |= {"CALICO_IPV4POOL_CIDR": ipv4}
    if ipv6:
        variables |= {"IP6": "autodetect", "IP6_AUTODETECTION_METHOD": "kubernetes-internal-ip"}
        variables |= {"CALICO_IPV6POOL_CIDR": ipv6, "CALICO_IPV6POOL_NAT_OUTGOING": "true"}
    if not ipv4:
        variables |= {"CALICO_ROUTER_ID": "hash"}  # BIRD's is an IPv4 address otherwise
    pool = '            # - name: CALICO_IPV4POOL_CIDR\n            #   value: "192.168.0.0/16"\n'
    wanted = [Edit(old=pool, new="".join(_variable(*item) for item in variables.items()))]
    if ipv6:
        ipam = '              "type": "calico-ipam"\n'
        families = (
            f'"assign_ipv4": "{str(bool(ipv4)).lower()}",\n              "assign_ipv6": "true"'
        )
        new = f'              "type": "calico-ipam",\n              {families}\n'
        wanted.append(Edit(old=ipam, new=new))
        wanted.append(_changed("FELIX_IPV6SUPPORT", "false", "true"))
    if not ipv4:
        wanted.append(_changed("IP", "autodetect", "none"))
    if mtu is not None:
        wanted.append(Edit(old='  veth_mtu: "0"\n', new=f'  veth_mtu: "{mtu}"\n'))
    return tuple(wanted)


def _variable(name: str, value: str) -> str:
    return f'            - name: {name}\n              value: "{value}"\n'


def _changed(name: str, old: str, new: str) -> Edit:
    return Edit(old=_variable(name, old), new=_variable(name, new))
