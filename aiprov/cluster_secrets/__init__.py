"""A cluster's secrets, made once on the controller: every join is known before any host is touched.

The authorities, the service account key, the bootstrap token and the key for encryption at rest are
made here (``make``) and laid on hosts as files. So nothing has to be read from one node for
another, and a node can join by itself at its first boot: it is handed a short-lived certificate of
the cluster's own authority (``LoadedSecrets.bootstrap_kubeconfig``).

``store`` (which needs ansible-core, and so is not imported here) keeps them in one vaulted file.
"""

from __future__ import annotations

from aiprov.cluster_secrets.certificates import ca_hash, client_certificate, make
from aiprov.cluster_secrets.kubeconfig import Administrator, administrator, kubeconfig
from aiprov.cluster_secrets.loaded import LoadedSecrets
from aiprov.cluster_secrets.model import CertificateAndKey, ClusterSecrets, KeyPair
from aiprov.cluster_secrets.pki import control_plane_files

__all__ = [
    "Administrator",
    "CertificateAndKey",
    "ClusterSecrets",
    "KeyPair",
    "LoadedSecrets",
    "administrator",
    "ca_hash",
    "client_certificate",
    "control_plane_files",
    "kubeconfig",
    "make",
]
