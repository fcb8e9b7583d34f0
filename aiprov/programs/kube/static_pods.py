"""The static pods of a control plane, stopped and started by their manifests.

kubelet runs what lies in its folder of manifests, so a manifest that is moved away stops its pod,
on every container runtime alike. Whether a pod is there is seen by the port that its probe asks.
Source: kubernetes.io, kubeadm-certs ("Manual certificate renewal", read 2026-11-21).
"""

import os
import re
from contextlib import contextmanager
from functools import partial
from typing import Iterator, List, Sequence, Tuple

from .cluster import Api, Etcd, UnansweredError, credential, is_ready, port_state
from .host import ADMIN, COMPONENTS, MANIFESTS, STOPPED, Node, RefusedError, place, read, wait

STOP_S = 120
START_S = 300


def manifest(component: str) -> str:
    """A component's manifest, wherever it is now. Raises ``RefusedError`` where it is nowhere."""
    text = read(f"{MANIFESTS}/{component}.yaml") or read(f"{STOPPED}/{component}.yaml")
    if not text:
        raise RefusedError(
            f"{MANIFESTS} has no {component}.yaml: this host is no control plane",
            "run it on a control plane; aiprov apply makes the host one",
        )
    return text


def flag(text: str, name: str) -> str:
    """The value of a flag in a manifest; empty where it is not given."""
    found = re.search(rf"^\s*-\s*[\"']?--{name}=([^\"'\n]*)", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def stop(components: Sequence[str]) -> None:
    """Stop pods, and wait until they are gone. Raises ``RefusedError``."""
    os.makedirs(place(STOPPED), mode=0o700, exist_ok=True)
    for component in components:
        where = _probe(manifest(component))
        if os.path.exists(place(f"{MANIFESTS}/{component}.yaml")):
            os.rename(place(f"{MANIFESTS}/{component}.yaml"), place(f"{STOPPED}/{component}.yaml"))
        if not wait(partial(_silent, where), f"{component} to end", STOP_S):
            raise RefusedError(
                f"{component} is still there {STOP_S} s after its manifest was moved away",
                "is kubelet running? systemctl status kubelet, crictl ps; then run it again",
            )


def start(node: Node, components: Sequence[str]) -> None:
    """Start pods one after the other, each once the one before is well. ``RefusedError`` if not."""
    for component in components:
        where = _probe(manifest(component))
        if os.path.exists(place(f"{STOPPED}/{component}.yaml")):
            os.rename(place(f"{STOPPED}/{component}.yaml"), place(f"{MANIFESTS}/{component}.yaml"))
        if not wait(partial(_up, node, component, where), f"{component} to be well", START_S):
            raise RefusedError(
                f"{component} is not well {START_S} s after it was started",
                f"crictl ps -a --name {component} and crictl logs tell why; then run it again",
            )


@contextmanager
def followed(node: Node, api: Api, components: Sequence[str]) -> Iterator[None]:
    """Wait until pods whose manifests are changed within run as changed. ``RefusedError`` if not.

    kubelet needs a moment to see a manifest: until then the old pod answers, and seems well. Its
    object in the cluster says by a digest which manifest it is of.
    """
    texts = {name: read(f"{MANIFESTS}/{name}.yaml") for name in components}
    before = {name: _running(node, api, name)[0] for name in components}
    yield
    new = [name for name in components if read(f"{MANIFESTS}/{name}.yaml") != texts[name]]

    def run_as_changed() -> bool:
        try:
            found = {name: _running(node, api, name) for name in new}
        except RefusedError:
            return False  # no API server says, perhaps as it is one of them
        return all(ready and digest != before[name] for name, (digest, ready) in found.items())

    if not wait(run_as_changed, f"{', '.join(new)} to run as changed", START_S):
        raise RefusedError(
            f"{', '.join(new)} does not run as changed after {START_S} s",
            "crictl ps -a and crictl logs tell why; with the settings put right, run aiprov again",
        )


def _running(node: Node, api: Api, component: str) -> Tuple[str, bool]:
    """Which manifest the pod that runs is of, and whether it is ready.

    Raises ``RefusedError`` where no API server says: the one that runs would then be of none.
    """
    found = api.answer(f"/api/v1/namespaces/kube-system/pods/{component}-{node.name}")[1]
    annotations = found.get("metadata", {}).get("annotations") or {}
    digest = str(annotations.get("kubernetes.io/config.hash") or "")
    return digest, bool(digest) and is_ready(found)


def left_stopped() -> List[str]:
    """The components that a run which was cut off has left without a manifest."""
    return [name for name in COMPONENTS if os.path.exists(place(f"{STOPPED}/{name}.yaml"))]


def _probe(text: str) -> Tuple[str, int]:
    """What its probe asks: address and port, which may have a name that the container explains."""
    port = re.search(r"\b(?:containerPort|port): (\d+)", text)
    if port is None:
        raise RefusedError("a manifest has no probe", "kubeadm's own have one: put it back")
    address = re.search(r"\bhost: [\"']?([0-9a-fA-F.:]+)", text)
    return (address.group(1) if address else "127.0.0.1"), int(port.group(1))


def _silent(where: Tuple[str, int]) -> bool:
    return port_state(*where) != "open"


def _up(node: Node, component: str, where: Tuple[str, int]) -> bool:
    if _silent(where):
        return False
    if component == "etcd":
        return Etcd(node.address).healthy()
    if component != "kube-apiserver":
        return True
    try:
        who = credential(read(ADMIN), ADMIN)
        return Api(who, node.address, node.api_port).ask("/readyz")[0] == 200
    except UnansweredError:
        return False
