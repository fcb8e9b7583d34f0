"""What a run that was cut off leaves on a host, and what another Kubernetes does.

The files that aiprov lays stay: the authorities, manifests other than kubeadm's (kube-vip), the
folder of aiprov. So the run after it goes on with them.
"""

import os
import shutil
import time
from typing import List

from . import pods
from .checks import ports, refuse
from .host import (
    ADMIN,
    COMPONENTS,
    KEPT,
    KUBELET,
    KUBERNETES,
    MANIFESTS,
    PKI,
    Node,
    exists,
    inside,
    place,
    remove,
    tell,
    wait,
)

SHARED = ("ca", "front-proxy-ca", "etcd/ca", "sa")
"""The pairs of files in the PKI folder that all control planes share, which aiprov lays."""

CONFIGS = (
    ADMIN,
    KUBELET,
    f"{KUBERNETES}/bootstrap-kubelet.conf",
    f"{KUBERNETES}/controller-manager.conf",
    f"{KUBERNETES}/scheduler.conf",
    f"{KUBERNETES}/super-admin.conf",
)
NONE = f"{KEPT}/none"
"""A folder that is not there, for kubeadm to empty instead of the PKI's."""

FREE_S = 30


def strangers(node: Node) -> List[str]:
    """What of another Kubernetes is on a host that this program never began to join."""
    signs = [f"{MANIFESTS}/{name}.yaml" for name in COMPONENTS]
    signs += [path for path in CONFIGS if path != ADMIN]
    signs.append(f"{PKI}/apiserver.crt" if node.control_plane else f"{PKI}/ca.crt")
    found = [path for path in signs if exists(path)]
    if inside(node.etcd_data):
        found.append(node.etcd_data)
    return found


def clean(node: Node, begun: str) -> None:
    """Take away what a run that was cut off left; nothing where there was none.

    The host's etcd member has to be out of its cluster before. Raises ``RefusedError``.
    """
    if not begun:
        return
    tell(f"kubeadm {begun} was cut off: clean up what it left")
    pods.stop(node)
    if begun == "init":
        keep_data(node)
    put_aside()
    pods.kubeadm_reset(node, "--cert-dir", NONE)
    for path in CONFIGS:
        remove(path)
    for path in pki_files():
        if not node.control_plane or os.path.splitext(path)[0] not in SHARED:
            remove(f"{PKI}/{path}")
    empty(node.etcd_data)
    put_back()
    if not wait(lambda: not ports(node), "the ports to be free", min(FREE_S, node.wait_s)):
        refuse(ports(node))


def keep_data(node: Node) -> None:
    """Keep what etcd knows: a beginning that was cut off may have served a cluster since."""
    data = node.etcd_data
    if inside(f"{data}/member"):
        aside = f"{data}.aiprov-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        os.makedirs(place(aside), mode=0o700)
        shutil.move(place(f"{data}/member"), place(f"{aside}/member"))
        tell(f"what etcd knew is kept in {aside}: remove it when all is well")


def pki_files() -> List[str]:
    """The files in the PKI folder, as paths in it."""
    own = [name for name in inside(PKI) if not os.path.isdir(place(f"{PKI}/{name}"))]
    return [*own, *(f"etcd/{name}" for name in inside(f"{PKI}/etcd"))]


def put_aside() -> None:
    """Static pods of others than kubeadm are kept where ``kubeadm reset`` does not delete them."""
    for name in inside(MANIFESTS):
        if os.path.splitext(name)[0] not in COMPONENTS:
            os.makedirs(place(KEPT), mode=0o700, exist_ok=True)
            os.replace(place(f"{MANIFESTS}/{name}"), place(f"{KEPT}/{name}"))


def put_back() -> None:
    """What was put aside, by a run that was cut off too, is where it belongs."""
    for name in inside(KEPT):
        os.makedirs(place(MANIFESTS), exist_ok=True)
        os.replace(place(f"{KEPT}/{name}"), place(f"{MANIFESTS}/{name}"))
    remove(KEPT)


def empty(folder: str) -> None:
    """Everything in a folder; not the folder, which may be a mount."""
    for name in inside(folder):
        remove(f"{folder}/{name}")
