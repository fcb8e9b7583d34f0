"""What keeps a cluster's API server: audit, encryption at rest, pods' security, who is anonymous.

Each is a file that lies on every control plane, in a folder of its own that is mounted into the
API server. Sources, read 2026-11-21: kubernetes.io tasks/debug/debug-cluster/audit.md,
administer-cluster/encrypt-data.md, enforce-standards-admission-controller.md,
reference/access-authn-authz/authentication.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from aiprov.catalog import kubernetes
from aiprov.kubernetes.kubelet import dumped
from aiprov.resources import Secret

AUDIT_POLICY = "/etc/kubernetes/audit/policy.yaml"
ENCRYPTION = "/etc/kubernetes/encryption/config.yaml"
ADMISSION = "/etc/kubernetes/admission/config.yaml"
AUTHENTICATION = "/etc/kubernetes/authentication/config.yaml"

Level = Literal["privileged", "baseline", "restricted"]
"""A Pod Security Standard, from the most permissive to the strictest."""

HEALTH = ("/livez", "/readyz", "/healthz")
CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
"""What ``kubeadm join`` with a token reads before it is known to anyone."""

_NODES_AND_CONTROLLERS = {
    "users": [
        "system:apiserver",
        "system:kube-controller-manager",
        "system:kube-proxy",
        "system:kube-scheduler",
    ],
    "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"],
}
_READS = ["get", "list", "watch"]


def audit_policy(rules: Sequence[Mapping[str, Any]] = ()) -> str:
    """The audit policy: the user's rules, or who did what to which object, and who read secrets.

    Contents are never logged: they hold passwords and tokens. What the cluster's own components
    read all the time is left out, and so are health checks, events and leases.
    """
    own = [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version"]},
        {"level": "None", "resources": [{"group": "", "resources": ["events"]}]},
        {"level": "None", "resources": [{"group": "events.k8s.io", "resources": ["events"]}]},
        {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]},
        *(
            {"level": "None", name: whose, "verbs": _READS}
            for name, whose in _NODES_AND_CONTROLLERS.items()
        ),
        {"level": "Metadata"},
    ]
    document = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [dict(rule) for rule in rules] or own,
    }
    return dumped(document)


def encryption(key: Secret, resources: Sequence[str]) -> Secret:
    """EncryptionConfiguration: these resources are written with secretbox.

    ``key``: 32 bytes in base64. What was written before stays readable by ``identity`` until it is
    written anew. The strongest of the providers that keep their key in a file.
    """
    providers = [
        {"secretbox": {"keys": [{"name": "aiprov", "secret": key.reveal()}]}},
        {"identity": {}},
    ]
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": list(resources), "providers": providers}],
    }
    return Secret(dumped(document), parts=(key,))


def admission(version: str, *, enforce: Level, report: Level, exempt: Sequence[str]) -> str | None:
    """AdmissionConfiguration: what namespaces without labels of their own allow their pods.

    ``enforce`` is refused, ``report`` is warned of and audited; ``exempt`` namespaces have no
    limit. None where the version has no Pod Security admission.
    """
    if not kubernetes.has("pod-security", version):
        return None
    api = "v1" if kubernetes.has("pod-security-v1", version) else "v1beta1"
    levels = {"enforce": enforce, "audit": report, "warn": report}
    defaults: dict[str, str] = {}
    for mode, level in levels.items():
        defaults |= {mode: level, f"{mode}-version": "latest"}
    configuration = {
        "apiVersion": f"pod-security.admission.config.k8s.io/{api}",
        "kind": "PodSecurityConfiguration",
        "defaults": defaults,
        "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": list(exempt)},
    }
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "PodSecurity", "configuration": configuration}],
    }
    return dumped(document)


def authentication(version: str) -> str | None:
    """AuthenticationConfiguration: anonymous requests to health checks and cluster-info alone.

    None where the version cannot limit them to paths.
    """
    if not kubernetes.has("anonymous-endpoints", version):
        return None
    api = "v1" if kubernetes.has("authentication-config-v1", version) else "v1beta1"
    document = {
        "apiVersion": f"apiserver.config.k8s.io/{api}",
        "kind": "AuthenticationConfiguration",
        "anonymous": {
            "enabled": True,
            "conditions": [{"path": path} for path in (*HEALTH, CLUSTER_INFO)],
        },
    }
    return dumped(document)
