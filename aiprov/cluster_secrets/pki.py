"""The files of ``/etc/kubernetes/pki`` that all control plane nodes share.

A control plane node has them before ``kubeadm init`` or ``kubeadm join --control-plane``, which
make the node's own certificates from them. A joining one needs no certificate key: kubeadm
downloads shared certificates only when it is given one, and otherwise asks that these files are
there (``SharedCertificateExists``).

A worker gets none of them. ``kubeadm join`` takes ``ca.crt`` from the kubeconfig that it is handed,
and its preflight check refuses a worker on which that file already lies
(``FileAvailable--etc-kubernetes-pki-ca.crt``).

Source: kubernetes/kubernetes cmd/kubeadm/app/phases/certs/certs.go, cmd/kubeadm/app/preflight/
checks.go; modes: client-go util/cert/io.go (0644) and util/keyutil/key.go (0600, for ``sa.pub``
too). Read on 2026-11-21.
"""

from __future__ import annotations

from aiprov.cluster_secrets.model import CertificateAndKey, ClusterSecrets
from aiprov.resources import Directory, File

FOLDER = "/etc/kubernetes/pki"

_ANOTHER_CLUSTERS = (
    "the host has a cluster of its own, or of other cluster secrets: use those, or take Kubernetes "
    "off it first (aiprov cluster reset -l HOST)"
)


def control_plane_files(secrets: ClusterSecrets) -> tuple[Directory | File, ...]:
    """The folders and files, in the order in which they are made. Private keys are ``Secret``."""
    account = secrets.service_account
    return (
        Directory(path="/etc/kubernetes"),
        Directory(path=FOLDER),
        Directory(path=f"{FOLDER}/etcd"),
        *_pair("ca", secrets.ca),
        *_pair("front-proxy-ca", secrets.front_proxy_ca),
        *_pair("etcd/ca", secrets.etcd_ca),
        File(path=f"{FOLDER}/sa.pub", content=account.public, mode=0o600),
        File(path=f"{FOLDER}/sa.key", content=account.private, mode=0o600),
    )


def _pair(name: str, pair: CertificateAndKey) -> tuple[File, File]:
    # The certificate last: kubeadm takes one without its key for an external CA.
    return (
        File(
            path=f"{FOLDER}/{name}.key",
            content=pair.key,
            mode=0o600,
            never_replaced=_ANOTHER_CLUSTERS,
        ),
        File(
            path=f"{FOLDER}/{name}.crt",
            content=pair.certificate,
            never_replaced=_ANOTHER_CLUSTERS,
        ),
    )
