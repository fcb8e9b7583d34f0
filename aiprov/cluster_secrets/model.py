"""What the secrets of one cluster are. Certificates and public keys are no secrets: plain text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aiprov.resources import Secret

FORMAT_VERSION = 1
"""Of the file in which the secrets are kept. A file of a later one is refused."""


@dataclass(frozen=True, kw_only=True)
class CertificateAndKey:
    """A certificate and the private key that belongs to it, both PEM."""

    certificate: str
    key: Secret


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A public key (PEM, SubjectPublicKeyInfo) and its private key (PEM)."""

    public: str
    private: Secret


@dataclass(frozen=True, kw_only=True)
class ClusterSecrets:
    """All secrets that the nodes of one cluster share.

    ``bootstrap_token``: ``[a-z0-9]{6}.[a-z0-9]{16}``. ``kubeadm init`` makes one in the cluster,
    whether or not it is told which; no node joins by it.
    ``encryption_key``: 32 bytes as base64, for a provider of the API server's encryption at rest.
    ``created``: when they were made, in UTC.
    """

    ca: CertificateAndKey
    front_proxy_ca: CertificateAndKey
    etcd_ca: CertificateAndKey
    service_account: KeyPair
    bootstrap_token: Secret
    encryption_key: Secret
    created: datetime
    format_version: int = FORMAT_VERSION

    @property
    def authorities(self) -> Mapping[str, CertificateAndKey]:
        """The certificate authorities by the name of their field."""
        return {name: getattr(self, name) for name in AUTHORITIES}


AUTHORITIES: Mapping[str, str] = {
    "ca": "kubernetes",
    "front_proxy_ca": "front-proxy-ca",
    "etcd_ca": "etcd-ca",
}
"""Each authority's common name, as kubeadm's own have it.

Source: kubernetes/kubernetes cmd/kubeadm/app/phases/certs/certlist.go, read on 2026-11-21. The page
"PKI certificates and requirements" names ``kubernetes-ca`` and ``kubernetes-front-proxy-ca``;
kubeadm accepts any name, because it only asks whether the certificate is an authority's.
"""
