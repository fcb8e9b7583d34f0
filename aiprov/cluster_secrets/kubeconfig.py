"""A kubeconfig that needs nothing from any node: certificate and key are made by the CA here."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import yaml
from packaging.version import InvalidVersion, Version

from aiprov.cluster_secrets.certificates import client_certificate
from aiprov.cluster_secrets.model import CertificateAndKey, ClusterSecrets
from aiprov.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Administrator:
    """A user of the cluster and the groups that give the rights."""

    user: str
    groups: tuple[str, ...]


def administrator(version: str, *, emergency: bool = False) -> Administrator:
    """Who kubeadm's ``admin.conf`` is for, at this version of Kubernetes.

    Since 1.29 that is the group ``kubeadm:cluster-admins``, whose rights come from a
    ClusterRoleBinding that can be taken away. ``emergency``: who ``super-admin.conf`` is for, in
    ``system:masters``, which no rule can keep out: for when RBAC itself is broken. Before 1.29
    there is only that one.
    Raises ``UsageError`` for what is no version.
    Source: kubernetes/kubernetes cmd/kubeadm/app/phases/kubeconfig/kubeconfig.go; KEP-4214 (1.29).
    Read on 2026-11-21.
    """
    try:
        separate = Version(version).release >= (1, 29)
    except InvalidVersion:
        raise UsageError(f"{version!r} is not a version of Kubernetes", hint="1.36.2") from None
    if not separate:
        return Administrator(user="kubernetes-admin", groups=("system:masters",))
    if emergency:
        return Administrator(user="kubernetes-super-admin", groups=("system:masters",))
    return Administrator(user="kubernetes-admin", groups=("kubeadm:cluster-admins",))


def kubeconfig(
    secrets: ClusterSecrets,
    endpoint: str,
    cluster_name: str,
    user: str,
    groups: Sequence[str],
    now: datetime,
    days: int,
) -> str:
    """A kubeconfig for ``user`` of ``groups`` that works for ``days``. It holds a private key.

    ``endpoint`` is ``host:port`` of the API server (``[fd00::1]:6443`` for IPv6). Names of cluster,
    user and context are as in kubeadm's files. Raises ``UsageError`` as ``client_certificate``
    does, and for an endpoint that is not one.
    """
    own = client_certificate(secrets, user, groups, now, days)
    return document(secrets, endpoint, cluster_name, user, own)


def document(
    secrets: ClusterSecrets, endpoint: str, cluster_name: str, user: str, own: CertificateAndKey
) -> str:
    """A kubeconfig with a certificate that there is. Raises ``UsageError`` for the endpoint."""
    server = f"https://{endpoint}"
    _refuse_endpoint(endpoint, server)
    context = f"{user}@{cluster_name}"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster_name,
                "cluster": {
                    "certificate-authority-data": base64_of(secrets.ca.certificate),
                    "server": server,
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": cluster_name, "user": user}}],
        "current-context": context,
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": base64_of(own.certificate),
                    "client-key-data": base64_of(own.key.reveal()),
                },
            }
        ],
    }
    return yaml.safe_dump(content, sort_keys=True, allow_unicode=True, width=2**20)


def _refuse_endpoint(endpoint: str, server: str) -> None:
    try:
        parts = urlsplit(server)
        fits = parts.netloc == endpoint and bool(parts.hostname) and parts.port is not None
    except ValueError:
        fits = False
    if not fits or "@" in endpoint or any(character.isspace() for character in endpoint):
        raise UsageError(
            f"{endpoint!r} is not the endpoint of an API server",
            hint="give host:port, such as k8s.example.org:6443 or [fd00::1]:6443",
        )


def base64_of(text: str) -> str:
    """The text as a kubeconfig's ``*-data`` has it."""
    return base64.b64encode(text.encode()).decode()
