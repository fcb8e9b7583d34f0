"""A cluster's secrets for the length of one run, and what is made of them for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from aiprov.cluster_secrets.certificates import BOOTSTRAP_USER, bootstrap_certificate
from aiprov.cluster_secrets.kubeconfig import base64_of, document
from aiprov.cluster_secrets.model import CertificateAndKey, ClusterSecrets
from aiprov.resources import Secret


@dataclass(frozen=True, kw_only=True)
class LoadedSecrets:
    """The secrets as they are in their file, at ``now``: the moment of the run, with a time zone.

    Hosts are planned in threads: what is asked for twice is made once.
    """

    secrets: ClusterSecrets
    now: datetime
    _made: dict[int, CertificateAndKey] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def bootstrap_kubeconfig(self, endpoint: str, cluster_name: str, hours: int = 2) -> Secret:
        """What a node is handed to join with, for ``hours``: the same for a whole run.

        ``endpoint`` is ``host:port`` of the API server. The certificate is one for all nodes.
        Raises ``UsageError`` for an endpoint that is none.
        """
        own = self._certificate(hours)
        text = document(self.secrets, endpoint, cluster_name, BOOTSTRAP_USER, own)
        return Secret(text, parts=(own.key, Secret(base64_of(own.key.reveal()))))

    def _certificate(self, hours: int) -> CertificateAndKey:
        with self._lock:
            if hours not in self._made:
                self._made[hours] = bootstrap_certificate(self.secrets, self.now, hours)
            return self._made[hours]
