"""Labels of GPU nodes, and who owns which.

A label has one owner, or two would write it in turns. Who that is depends on the choice:

===================  =====================================================================
stack                aiprov's labels (registered by the kubelet itself)
===================  =====================================================================
device-plugin, dra   ``nvidia.com/gpu.present`` and all below, as GPU feature discovery
                     spells them, from the catalog: nothing else labels nodes then
with feature         ``nvidia.com/gpu.present`` alone, which feature discovery does not write
discovery            and its pods are placed by; it writes all others, and more
operator             none of ``nvidia.com``: the operator labels nodes itself
always               ``aiprov.io/gpu.model``, ``aiprov.io/gpu.memory-gib``: the catalog's words
===================  =====================================================================

Only what is known is said: ``gpu.memory`` and ``cuda.runtime-version`` are what a running driver
measures, so they are left to feature discovery. Spelling: github.com/NVIDIA/k8s-device-plugin
v0.20.0, internal/lm (resource.go, nvml.go), docs/gpu-feature-discovery/README.md.
"""

from __future__ import annotations

import re

from aiprov.catalog import kubernetes_gpu
from aiprov.catalog.gpus import Gpu
from aiprov.kubernetes.gpu import objects
from aiprov.kubernetes.gpu.options import Gpus, NodeMig
from aiprov.kubernetes.gpu.sharing import CAPABLE
from aiprov.stack import gpu_models
from aiprov.survey.facts import Facts

NONE = NodeMig(name="")


def labels(
    host: Facts, gpus: Gpus, driver: str | None = None, mig: NodeMig = NONE
) -> dict[str, str]:
    """The labels that a node's kubelet gives itself; none for a host without GPUs."""
    models = gpu_models(host)
    if not models:
        return {}
    own = _own(models)
    if gpus.stack == "operator":
        return own
    found = {**own, objects.PRESENT: "true"}
    if gpus.feature_discovery:
        return found
    return dict(sorted({**found, **_gpus(models, gpus, mig), **_driver(driver)}.items()))


def _own(models: tuple[Gpu, ...]) -> dict[str, str]:
    names = {model.name for model in models}
    if len(names) > 1:
        return {"aiprov.io/gpu.model": "several"}
    model = models[0]
    found = {"aiprov.io/gpu.model": spelt(model.name)}
    if model.memory_gib:
        found["aiprov.io/gpu.memory-gib"] = str(model.memory_gib)
    return found


def _gpus(models: tuple[Gpu, ...], gpus: Gpus, mig: NodeMig) -> dict[str, str]:
    by_mps = gpus.stack == "device-plugin" and gpus.sharing is not None and gpus.sharing.by == "mps"
    found = {
        "nvidia.com/mig.capable": str(any(model.mig for model in models)).lower(),
        CAPABLE: str(by_mps).lower(),
    }
    cut = any(layout is not None for layout in mig.layouts)
    if cut:
        found["nvidia.com/mig.strategy"] = gpus.mig_strategy
    else:
        found["nvidia.com/gpu.count"] = str(len(models))
    if len({model.name for model in models}) > 1:
        return found
    model = models[0]
    major, _, minor = model.compute_capability.partition(".")
    found |= {
        "nvidia.com/gpu.family": {"ada": "ada-lovelace"}.get(
            model.architecture, model.architecture
        ),
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
    }
    name = kubernetes_gpu.product(model.pci_id)
    if name is not None:
        found["nvidia.com/gpu.product"] = _product(name, gpus, mig)
    if gpus.stack == "device-plugin":
        found |= _sharing(gpus)
    return found


def _product(name: str, gpus: Gpus, mig: NodeMig) -> str:
    """The product, with what feature discovery adds to it where it is cut or shared."""
    parts = [spelt(name)]
    if gpus.stack != "device-plugin":
        return parts[0]
    if gpus.mig_strategy == "single" and mig.profiles:
        parts += ["MIG", spelt(min(mig.profiles))]
    if _replicas(gpus) > 1 and gpus.sharing is not None and not gpus.sharing.rename:
        parts.append("SHARED")
    return "-".join(parts)


def _sharing(gpus: Gpus) -> dict[str, str]:
    replicas = _replicas(gpus)
    by = gpus.sharing.by if gpus.sharing is not None and replicas > 1 else "none"
    return {"nvidia.com/gpu.replicas": str(replicas), "nvidia.com/gpu.sharing-strategy": by}


def _replicas(gpus: Gpus) -> int:
    resources = gpus.sharing.resources if gpus.sharing is not None else ()
    return next((one.replicas for one in resources if one.name == "nvidia.com/gpu"), 1)


def _driver(version: str | None) -> dict[str, str]:
    """The driver's version as far as it is said: a branch alone (``580``) has no whole version."""
    numbers = [] if version is None else version.partition("-")[0].split(".")
    stem = "nvidia.com/cuda.driver-version"
    names = ("major", "minor", "revision")
    found = {f"{stem}.{name}": number for name, number in zip(names, numbers, strict=False)}
    return {**found, f"{stem}.full": ".".join(numbers)} if len(numbers) == len(names) else found


def spelt(name: str) -> str:
    """A name as a label's value: other characters go, blanks become hyphens."""
    return "-".join(re.sub(r"[^A-Za-z0-9\-_. ]", "", name).split())
