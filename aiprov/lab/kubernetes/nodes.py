"""Lab hosts that are made for Kubernetes: what they are given, and what roles are told of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiprov.lab import builtin, keeper
from aiprov.lab.kubernetes import build, contents
from aiprov.lab.kubernetes.source import UPSTREAM
from aiprov.lab.machine import may_lower_oom_scores
from aiprov.lab.state import Folder
from aiprov.lab.vendor import served

MODULES = ("overlay", "br_netfilter")
_IMAGES = ("control-plane", "node")
_CRI = "io.containerd.grpc.v1.cri"
_AS_IT_IS = {
    "max_per_core": 0,
    "min": 0,
    "tcp_established_timeout": "0s",
    "tcp_close_wait_timeout": "0s",
}


def lay_images(folder: Folder, versions: Iterable[str]) -> None:
    """Put the archives of these versions' images where the lab's hosts see them.

    They are links to those in the cache where that is on the same file system.
    """
    if not (wanted := sorted(set(versions))):
        return
    folder.images.mkdir(exist_ok=True)
    for release in build.ensure(wanted).values():
        for path in release.images:
            place = folder.images / path.parent.name / path.name
            place.parent.mkdir(exist_ok=True)
            if place.exists() and place.samefile(path):
                continue
            scratch = place.with_suffix(".new")
            scratch.unlink(missing_ok=True)
            try:
                os.link(path, scratch)
            except OSError:
                shutil.copyfile(path, scratch)
            scratch.replace(place)


def own_variables(parts: Iterable[str]) -> dict[str, Any]:
    """What differs by what a host is for: a worker needs no images of a control plane."""
    archives = [f"{keeper.IMAGES}/node"]
    return {"kubernetes_image_archives": archives} if set(parts) == {"worker"} else {}


def variables(folder: Folder) -> dict[str, Any]:
    """What the roles need so that Kubernetes runs on lab hosts: variables of their group."""
    told: dict[str, Any] = {
        "ansible_group_priority": 2,  # a host with GPUs is in the stand-ins' group too
        **served.kubernetes_variables(folder),
        "kubernetes_version": UPSTREAM,
        "kubernetes_image_archives": [f"{keeper.IMAGES}/{part}" for part in _IMAGES],
        # The machine's own table of connections is not a host's to size.
        "kubernetes_proxy": {"conntrack": _AS_IT_IS},
        "containerd_source": "distribution",
        "containerd_systemd_cgroup": keeper.unified(),
        "containerd_sandbox_image": contents.PAUSE,
        "containerd_cni_bin_dir": "/opt/cni/bin",
    }
    there = {Path(line).stem for line in builtin.modules()}
    if not there.issuperset(MODULES):
        told["kubernetes_kernel_modules"] = [name for name in MODULES if name in there]
    if not may_lower_oom_scores(Path("/proc/self/status").read_text(encoding="ascii")):
        told["containerd_config_extra"] = {"plugins": {_CRI: {"restrict_oom_score_adj": True}}}
    return told
