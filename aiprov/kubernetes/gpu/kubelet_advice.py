"""How kubelets of GPU hosts are best told to place pods: near their GPUs, with CPUs of their own.

kubernetes.io/docs/tasks/administer-cluster: cpu-management-policies, topology-manager and
reserve-compute-resources (read 2026-11-21). It is advice: what a user has set stays.
"""

from __future__ import annotations

from aiprov.kubernetes.model import Kubelet, Reserved
from aiprov.stack import gpu_devices
from aiprov.survey.facts import Facts

GIB = 1024**3
MIB = 1024**2

CPUS_TO_ONE = 32
"""One CPU in so many is kept for the host: its daemons serve as many pods as it has CPUs for."""

MEMORY_STEPS = ((4, 25), (4, 20), (8, 10), (112, 6))
"""Of so many further GiB, so many per cent are kept; of the rest 2 %.

cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes (read 2026-11-21).
"""
REST_PERCENT = 2

MEMORY_ROUNDED = 256 * MIB
"""What is kept is a multiple of this. A new kernel leaves some MiB more or less of all there is,
of which a few per cent are kept: kubelets are not to start anew for that."""


def kubelet_defaults(host: Facts, given: Kubelet | None = None, *, strict: bool = False) -> Kubelet:
    """``given`` with what suits a host with GPUs added; unchanged for a host without.

    The static CPU manager gives CPUs to pods of whole numbers of CPUs for themselves, and the
    topology manager chooses CPUs and GPUs of one NUMA node together where that is possible
    (``best-effort``), or refuses pods for which it is not (``strict``: ``restricted``). CPUs and
    memory are reserved for the host: the CPU manager does not start without. Hosts with one CPU
    get no CPU manager, hosts whose GPUs are all on one NUMA node no topology manager.

    Memory is kept as an amount, not by NUMA node: which nodes a host has, facts do not say.
    """
    given = given if given is not None else Kubelet()
    devices = gpu_devices(host)
    if not devices:
        return given
    advice: dict[str, object] = {}
    if host.cpus > 1 and given.cpu_manager is None:
        advice["cpu_manager"] = "static"
    advice["kube_reserved"] = {**_reserved(host, given), **given.kube_reserved}
    nodes = {device.numa_node for device in devices if device.numa_node is not None}
    if len(nodes) > 1 and given.topology_manager is None:
        advice["topology_manager"] = "restricted" if strict else "best-effort"
    return Kubelet.model_validate({**given.model_dump(exclude_unset=True), **advice})


def _reserved(host: Facts, given: Kubelet) -> Reserved:
    kept: Reserved = {"memory": f"{reserved_memory(host.memory_bytes) // MIB}Mi"}
    if host.cpus > 1 and given.reserved_cpus is None and "cpu" not in given.system_reserved:
        kept["cpu"] = str(reserved_cpus(host.cpus))
    return kept


def reserved_cpus(cpus: int) -> int:
    """The CPUs that a host keeps of all it has: one in 32, and at least one."""
    return max(1, -(-cpus // CPUS_TO_ONE))


def reserved_memory(size: int) -> int:
    """The memory in bytes that a host keeps of all it has, a whole number of ``MEMORY_ROUNDED``."""
    kept, left = 0, size
    for gib, percent in MEMORY_STEPS:
        step = min(left, gib * GIB)
        kept += step * percent // 100
        left -= step
    kept += left * REST_PERCENT // 100
    return -(-kept // MEMORY_ROUNDED) * MEMORY_ROUNDED
