"""How ranks are started: by torchrun, by Slurm's srun or by a Kubernetes Job, all of one module.

Nothing is started here: these are the commands and the manifest. A rank is ``python -m
aiprov_payload rank --cell JSON``; it learns its number from RANK or SLURM_PROCID, and where to meet
from MASTER_ADDR and MASTER_PORT. Sources: PyTorch, torchrun (Elastic Launch); Slurm 24.05, srun(1);
Kubernetes, Indexed Job for parallel processing with static work assignment.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Sequence

from .plan import Cell, PlanError

PORT = 29500
"""Where ranks meet, if nothing else is said: PyTorch's own default."""

TRAINING = "train together"
"""The kind of cells whose results have to be the same bits each time."""

ARCHIVE = "aiprov_payload.zip"
"""The payload in a ConfigMap: one file, because Python imports from it as it is."""
_LIBRARY = "/opt/aiprov/validation/lib"

_ONCE = ("--max-restarts", "0", "--log-dir", os.devnull)
"""A rank that fails is what is looked for; and no folders for logs are left behind."""


@dataclass(frozen=True)
class Rendezvous:
    """Where ranks of several hosts meet. ``address``: of node 0, which listens on ``port``.

    ``name``: of this meeting, so that one who comes early to the next is not taken for a member.

    ``interface``: the network interface (TCP) and ``adapter``: the InfiniBand or RoCE device (such
    as ``mlx5_3``) that this host uses; where empty, NCCL and gloo choose.
    """

    address: str
    port: int = PORT
    nodes: int = 1
    node: int = 0
    name: str = "aiprov"
    interface: str = ""
    adapter: str = ""


def rendezvous(cell: Cell) -> "Rendezvous | None":
    """Where the ranks of a cell meet; ``None``: it has this host alone. Raises ``PlanError``."""
    told = cell.parameters.get("rendezvous")
    if told is None:
        return None
    try:
        found = Rendezvous(**told)
    except TypeError as error:
        raise PlanError(f"rendezvous: {error}") from error
    if not (0 <= found.node < found.nodes and 0 < found.port < 1 << 16 and found.address):
        raise PlanError(f"rendezvous: node {found.node} of {found.nodes} at {found.address!r}, "
                        f"port {found.port}: there is no such place")  # fmt: skip
    return found


def world(cell: Cell) -> int:
    """How many ranks a cell has, over all hosts."""
    meeting = rendezvous(cell)
    return len(cell.devices) * (meeting.nodes if meeting else 1)


def local_ranks(cell: Cell) -> Sequence[int]:
    """The numbers of the ranks on this host."""
    meeting = rendezvous(cell)
    first = len(cell.devices) * (meeting.node if meeting else 0)
    return range(first, first + len(cell.devices))


def environment(cell: Cell) -> Dict[str, str]:
    """What ranks of a cell need in their environment: which network they use."""
    meeting, found = rendezvous(cell), {"OMP_NUM_THREADS": "1"}
    if cell.kind == TRAINING:
        # Switches that add up do so in no fixed order (NVIDIA/nccl 1497), and steps are compared.
        # PyTorch does without them in a process group that is made in deterministic mode alone.
        found["NCCL_NVLS_ENABLE"] = "0"
    if meeting is None:
        return {**found, "GLOO_SOCKET_IFNAME": "lo"}
    if meeting.interface:
        found["GLOO_SOCKET_IFNAME"] = meeting.interface
        found["NCCL_SOCKET_IFNAME"] = f"={meeting.interface}"
    if meeting.adapter:
        found["NCCL_IB_HCA"] = f"={meeting.adapter}"
    return found


def rank_arguments(cell: Cell) -> List[str]:
    """What a rank is told on its command line."""
    return ["rank", "--cell", json.dumps(cell.document, sort_keys=True)]


def torchrun(cell: Cell, python: str, module: str) -> List[str]:
    """The command that starts this host's ranks of a cell; other hosts start theirs alike."""
    meeting = rendezvous(cell)
    if meeting is None:
        where = ["--standalone", "--local-addr", "127.0.0.1"]
    else:
        where = [
            "--nnodes", str(meeting.nodes), "--node-rank", str(meeting.node),
            "--master-addr", meeting.address, "--master-port", str(meeting.port),
            "--rdzv-id", meeting.name,
        ]  # fmt: skip
    return [
        python, "-m", "torch.distributed.run", *where,
        "--nproc-per-node", str(len(cell.devices)), *_ONCE, "-m", module, *rank_arguments(cell),
    ]  # fmt: skip


def srun(
    cell: Cell, hosts: Sequence[str], command: Sequence[str], *, partition: str = ""
) -> List[str]:
    """The command that starts all ranks of a cell in Slurm, one task a GPU.

    ``hosts``: Slurm's names of the nodes; none: Slurm chooses. They meet at the first in Slurm's
    own order, where task 0 is. ``command``: what the payload is started with on them. Every task
    sees all GPUs of its host and takes its own by SLURM_LOCALID, so that NVLink and peers are as
    they are in use. What it prints are the events of all ranks. The cell's limit ends it.
    """
    meeting = rendezvous(cell)
    each = len(cell.devices)
    nodes = len(hosts) or (meeting.nodes if meeting else 1)
    told = {"MASTER_PORT": str(meeting.port if meeting else PORT), **environment(cell)}
    return [
        "srun", *([f"--partition={partition}"] if partition else []), f"--nodes={nodes}",
        *([f"--nodelist={','.join(hosts)}"] if hosts else []),
        f"--ntasks={nodes * each}", f"--ntasks-per-node={each}", "--distribution=block",
        f"--time={max(1, math.ceil(cell.limit_s / 60))}",
        *([f"--gpus-per-node={each}", "--gpu-bind=none"] if _has_gpus(cell) else []),
        "--exclusive", "--kill-on-bad-exit=1", "--unbuffered",
        f"--export={','.join(['ALL', *(f'{key}={value}' for key, value in told.items())])}",
        *command, *rank_arguments(_renumbered(cell)),
    ]  # fmt: skip


def first_host(nodes: str) -> str:
    """The first of a list as Slurm writes it: ``gpu[07-09,12],login1`` begins with ``gpu07``."""
    found = re.match(r"([^,\[]*)(?:\[(\d+)[^]]*\])?([^,\[]*)", nodes)
    return "".join(part or "" for part in found.groups()) if found else nodes


def job(
    cell: Cell,
    name: str,
    image: str,
    command: Sequence[str],
    *,
    namespace: str = "default",
    resource: str = "nvidia.com/gpu",
    runtime_class: str = "",
    archive: bytes = b"",
) -> List[Dict[str, Any]]:
    """A headless Service and an Indexed Job that start all ranks of a cell in Kubernetes.

    A pod a host, with all GPUs of the cell; torchrun in it, whose node is the pod's index and whose
    meeting place is the pod of index 0. No retries, and the cell's limit ends it. ``command``: how
    the image starts Python. ``archive``: the payload as a zip file, which a ConfigMap brings;
    without it the image has the payload on its path. ``resource``: what GPUs are called.
    """
    meeting = rendezvous(cell)
    nodes, port = (meeting.nodes, meeting.port) if meeting else (1, PORT)
    labels = {"app.kubernetes.io/name": "aiprov-validation", "app.kubernetes.io/instance": name}
    script = [
        *command, "-m", "torch.distributed.run", "--nnodes", str(nodes),
        "--node-rank", "$(JOB_COMPLETION_INDEX)", "--master-addr", f"{name}-0.{name}",
        "--master-port", str(port), "--nproc-per-node", str(len(cell.devices)),
        *_ONCE, "-m", "aiprov_payload", *rank_arguments(_renumbered(cell)),
    ]  # fmt: skip
    pod: Dict[str, Any] = {
        "subdomain": name,
        "restartPolicy": "Never",
        "containers": [_container(cell, image, script, resource)],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
        "topologySpreadConstraints": [_one_a_host(labels)],
    }
    if _has_gpus(cell):  # device plugins' own taint of nodes that are for GPUs alone
        pod["tolerations"] = [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}]
    if runtime_class:
        pod["runtimeClassName"] = runtime_class
    meta = {"name": name, "namespace": namespace, "labels": labels}
    return [
        *([_brought(archive, meta, pod)] if archive else []),
        {
            "apiVersion": "v1", "kind": "Service", "metadata": meta,
            # A rank looks for node 0 before that is ready.
            "spec": {"clusterIP": "None", "selector": labels, "publishNotReadyAddresses": True,
                     "ports": [{"name": "rendezvous", "port": port}]},
        },
        {
            "apiVersion": "batch/v1", "kind": "Job", "metadata": meta,
            "spec": {
                "completionMode": "Indexed", "completions": nodes, "parallelism": nodes,
                "backoffLimit": 0, "activeDeadlineSeconds": max(1, int(cell.limit_s)),
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]  # fmt: skip


def _container(cell: Cell, image: str, script: List[str], resource: str) -> Dict[str, Any]:
    return {
        "name": "ranks",
        "image": image,
        "command": script,
        "env": [{"name": key, "value": value} for key, value in environment(cell).items()],
        "resources": {"limits": {resource: str(len(cell.devices))} if _has_gpus(cell) else {}},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 - NCCL's
    }


def _brought(archive: bytes, meta: Mapping[str, Any], pod: Mapping[str, Any]) -> Dict[str, Any]:
    """The ConfigMap with the payload, which the pod's container is made to import."""
    pod["volumes"].append({"name": "payload", "configMap": {"name": meta["name"]}})
    (container,) = pod["containers"]
    container["volumeMounts"].append(
        {"name": "payload", "mountPath": _LIBRARY, "readOnly": True}
    )  # fmt: skip
    container["env"].append({"name": "PYTHONPATH", "value": f"{_LIBRARY}/{ARCHIVE}"})
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": dict(meta),
        "binaryData": {ARCHIVE: base64.b64encode(archive).decode()},
    }  # fmt: skip


def _renumbered(cell: Cell) -> Cell:
    """The cell with devices from 0 on: who is lent some GPUs of a host sees no others."""
    kind = cell.device.partition(":")[0]
    numbers = ",".join(str(number) for number in range(len(cell.devices)))
    return replace(cell, device=f"{kind}:{numbers}")


def _one_a_host(labels: Mapping[str, str]) -> Dict[str, Any]:
    return {
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": dict(labels)},
    }  # fmt: skip


def _has_gpus(cell: Cell) -> bool:
    return cell.device.startswith("cuda")
