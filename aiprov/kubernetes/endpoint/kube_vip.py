"""kube-vip: a static pod on each control plane, one of which has the virtual address.

What it reads from its environment: pkg/kubevip/config_envvar.go of v1.2.3; the pod as its own
`kube-vip manifest pod --controlplane --arp --leaderElection` writes it (read 2026-11-21).
"""

from __future__ import annotations

import json
from typing import Any

from aiprov.catalog import networks
from aiprov.kubernetes.endpoint.spec import EndpointSpec, Member
from aiprov.resources import Directory, File, Resource

FOLDER = "/etc/kubernetes/manifests"
MANIFEST = f"{FOLDER}/kube-vip.yaml"
ADMIN = "/etc/kubernetes/admin.conf"


def resources(spec: EndpointSpec, me: Member, interface: str) -> list[Resource]:
    """The static pod's manifest, which the kubelet starts when it is there itself."""
    text = json.dumps(manifest(spec, me, interface), indent=2, sort_keys=True) + "\n"
    return [Directory(path=FOLDER, mode=0o700), File(path=MANIFEST, content=text, mode=0o600)]


def manifest(spec: EndpointSpec, me: Member, interface: str) -> dict[str, Any]:
    """The pod. It speaks to the API server of its own host: another one's is behind the address.

    ``File``: the pod waits for admin.conf; without the type, the runtime would make a folder in
    the place where kubeadm writes it.
    """
    row = networks.kube_vip()
    address = spec.address_of(me)
    shown = f"[{address}]" if spec.ipv6 else address
    variables = {
        "address": spec.address,
        "port": str(spec.port),
        "kubernetes_addr": f"https://{shown}:{me.port}",
        "cp_enable": "true",
        "cp_namespace": "kube-system",
        "svc_enable": "false",
        "vip_arp": "true",
        "vip_interface": interface,
        "vip_subnet": "128" if spec.ipv6 else "32",
        "vip_leaderelection": "true",
        "vip_leasename": "plndr-cp-lock",
        "vip_leaseduration": "15",
        "vip_renewdeadline": "10",
        "vip_retryperiod": "2",
    }
    own_name = {"name": "vip_nodename", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    container = {
        "name": "kube-vip",
        "image": f"{row.image}:v{row.version}",
        "imagePullPolicy": "IfNotPresent",
        "args": ["manager"],
        "env": [own_name, *({"name": name, "value": variables[name]} for name in variables)],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}},
        "volumeMounts": [{"name": "kubeconfig", "mountPath": ADMIN, "readOnly": True}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube-vip", "namespace": "kube-system"},
        "spec": {
            "hostNetwork": True,
            "priorityClassName": "system-node-critical",
            "containers": [container],
            "volumes": [{"name": "kubeconfig", "hostPath": {"path": ADMIN, "type": "File"}}],
        },
    }
