"""Certificates of this control plane: how long they are good for, and new ones.

    kube-certificates certificates   each with the day of its end, as JSON
    kube-certificates renew          new ones by the cluster's authorities, and what uses them anew

kubelet renews its own. The authorities are made for ten years, on the controller.
"""

import json
import os
import time
from typing import Any, Dict, Iterator, List, Tuple

from .cluster import credential, validity
from .host import (
    COMPONENTS,
    KUBERNETES,
    PKI,
    Node,
    RefusedError,
    alone,
    inside,
    kubeadm,
    main,
    place,
    read,
    tell,
)
from .static_pods import start, stop

DAY_S = 86400
KUBELET_PKI = "/var/lib/kubelet/pki"
AUTHORITIES = ("ca", "front-proxy-ca", "etcd/ca")


def certificates(_node: Node) -> int:
    """Show when each certificate ends."""
    tell(json.dumps({"format_version": 1, "certificates": list(known())}, sort_keys=True))
    return 0


def known() -> Iterator[Dict[str, Any]]:
    """All certificates of the control plane on this host."""
    for name, path, pem in texts():
        try:
            end = validity(pem)[1]
        except (ValueError, IndexError) as error:
            raise RefusedError(f"{path}: {error}", "kube-admin renew makes it anew") from error
        yield {
            "name": name,
            "path": path,
            "authority": name in AUTHORITIES,
            "valid_until": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)),
            "days_left": int((end - time.time()) // DAY_S),
        }


def texts() -> Iterator[Tuple[str, str, str]]:
    """Name, path and PEM of each."""
    for folder in ("", "etcd/"):
        for file in inside(f"{PKI}/{folder}"):
            if file.endswith(".crt"):
                path = f"{PKI}/{folder}{file}"
                yield f"{folder}{file[: -len('.crt')]}", path, read(path)
    for file in inside(KUBERNETES):
        path = f"{KUBERNETES}/{file}"
        if file.endswith(".conf") and "client-certificate" in read(path):
            yield file, path, credential(read(path), path).certificate
    path = f"{KUBELET_PKI}/kubelet-server-current.pem"
    if os.path.exists(place(path)):
        yield "kubelet-server", path, read(path)


def renew(node: Node) -> int:
    """Make all anew, and restart what has read the old ones, one after the other."""
    with alone(60):
        kubeadm("certs", "renew", "all", hint="is /etc/kubernetes/pki/ca.key there?")
        for component in COMPONENTS:
            tell(f"restart {component}")
            stop([component])
            start(node, [component])
    tell(f"{node.name} has new certificates, and uses them")
    return 0


def run(words: List[str]) -> int:
    """Run a verb. Errors are told on standard error."""
    return main("kube-certificates", {"certificates": certificates, "renew": renew}, words)
