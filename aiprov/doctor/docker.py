"""Docker and CDI: whether containers can be given GPUs, and keep them."""

from __future__ import annotations

import json
import re
from typing import Any

from aiprov.catalog import toolkit as releases
from aiprov.doctor.findings import Answers, Finding, Unseen
from aiprov.doctor.observed import Observed
from aiprov.doctor.questions import CDI_FOLDERS, DAEMON, TOOLKIT
from aiprov.doctor.reading import has_gpus, loaded, loaded_version, toolkit

CONFIGURE = "aiprov apply with role nvidia_container_toolkit"
GENERATE = "systemctl restart nvidia-cdi-refresh.service (before toolkit 1.18: nvidia-ctk cdi " \
           "generate --output=/var/run/cdi/nvidia.yaml)"  # fmt: skip


def installed(seen: Observed) -> bool:
    """Whether the container toolkit is there."""
    return has_gpus(seen) and toolkit(seen) is not None


def has_docker(seen: Observed) -> bool:
    """Whether Docker is there."""
    return installed(seen) and (not seen.ran("docker").missing or bool(seen.unit("docker.service")))


def known_faults(seen: Observed) -> Answers:
    """The toolkit's version is known to break something."""
    version = toolkit(seen) or ""
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3}){1,2}", version):
        yield Unseen(what="the container toolkit's version", why=f"it says {version!r}")
        return
    for text in releases.faults(version):
        yield Finding(
            severity="warning",
            cause=text,
            evidence=(f"package nvidia-container-toolkit: {version}",),
            remedy=f"update the four packages of the toolkit to one newer version: {CONFIGURE}",
        )


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _info(seen: Observed) -> dict[str, Any]:
    """What the Docker daemon says; empty where it does not answer."""
    found = _json(seen.ran("docker").out)
    return {} if found.get("ServerErrors") or "Runtimes" not in found else found


def docker_runs(seen: Observed) -> Answers:
    """The daemon answers."""
    said = seen.ran("docker")
    if _info(seen):
        return
    text = " ".join((said.out, said.err))
    if "permission denied" in text:
        yield Unseen(what="Docker", why="; ".join(said.ending(1)))
        return
    unit = seen.unit("docker.service")
    if said.missing or (unit and unit.get("UnitFileState") == "disabled"):
        return
    errors = _json(said.out).get("ServerErrors") or []
    shown = tuple(said.quote(str(line)) for line in errors if isinstance(line, str) and line)
    yield Finding(
        severity="problem",
        cause="Docker does not answer",
        evidence=shown or said.ending(),
        remedy="journalctl -u docker says why; dockerd --validate checks /etc/docker/daemon.json",
    )


def docker_runtime(seen: Observed) -> Answers:
    """Docker does not know the nvidia runtime: not configured, or not restarted since."""
    text, info = seen.text(DAEMON), _info(seen)
    wanted = _json(text)
    if seen.hidden(DAEMON):
        yield Unseen(what=DAEMON, why="it could not be read")
    elif text and not wanted and text not in ("{}", ""):
        yield Finding(
            severity="problem",
            cause=f"{DAEMON} is not valid JSON: Docker does not start with it",
            evidence=(f"{DAEMON}: {text.splitlines()[0]}",),
            remedy="mend it; dockerd --validate --config-file names the place",
        )
        return
    runtimes = info.get("Runtimes")
    if not isinstance(runtimes, dict) or "nvidia" in runtimes:
        return
    known = f"docker info: Runtimes: {', '.join(sorted(map(str, runtimes)))}"
    configured = wanted.get("runtimes")
    if isinstance(configured, dict) and "nvidia" in configured:
        since = seen.unit("docker.service").get("ExecMainStartTimestamp", "")
        yield Finding(
            severity="problem",
            cause="Docker was started before the nvidia runtime was configured",
            evidence=(
                f"{DAEMON}: runtimes: {', '.join(sorted(map(str, configured)))}",
                known,
                *(
                    (f"systemctl show docker.service: ExecMainStartTimestamp={since}",)
                    * bool(since)
                ),
            ),
            remedy="systemctl restart docker (running containers stop, unless live-restore is on)",
        )
        return
    by_cdi = bool(info.get("CDISpecDirs")) and bool(_specs(seen))
    yield Finding(
        severity="note" if by_cdi else "problem",
        cause="Docker has no nvidia runtime: GPUs are had by CDI alone (--device nvidia.com/gpu=…)"
        if by_cdi else "the toolkit is installed and Docker does not know the nvidia runtime",
        evidence=(known, f"{DAEMON}: {'no runtimes.nvidia' if text else 'not there'}"),
        remedy="nothing is wrong if that is meant" if by_cdi
        else f"{CONFIGURE}; by hand: nvidia-ctk runtime configure --runtime=docker, restart it",
    )  # fmt: skip


def loses_gpus(seen: Observed) -> Answers:
    """After ``systemctl daemon-reload``, containers of old toolkits no longer reach their GPUs."""
    info, version = _info(seen), toolkit(seen) or ""
    runtimes = info.get("Runtimes")
    if info.get("CgroupDriver") != "systemd" or not isinstance(runtimes, dict):
        return
    numbers = [int(part) for part in re.findall(r"\d{1,4}", version)[:2]]
    by_cdi = re.search(r'^\s*mode\s*=\s*"cdi"', seen.text(TOOLKIT), re.M)
    linked = any(name.startswith("195:") for name in seen.names("/dev/char"))
    if "nvidia" in runtimes and numbers < [1, 18] and not by_cdi and not linked:
        yield Finding(
            severity="warning",
            cause="containers lose their GPUs at the next systemctl daemon-reload "
            "(Failed to initialize NVML: Unknown Error)",
            evidence=(
                "docker info: CgroupDriver: systemd",
                f"package nvidia-container-toolkit: {version}",
                "/dev/char: no link to a device of NVIDIA's (195:…)",
            ),
            remedy="give containers GPUs by CDI (toolkit 1.18 and later do), or nvidia-ctk system "
            "create-dev-char-symlinks --create-all",
        )


def _specs(seen: Observed) -> dict[str, str]:
    """The CDI specifications of NVIDIA's devices: path -> text."""
    return {
        path: text
        for path, text in seen.files.items()
        if path.startswith(CDI_FOLDERS) and text and "nvidia.com/" in text
    }


def cdi_missing(seen: Observed) -> Answers:
    """There is a toolkit and no CDI specification."""
    hidden = [f"{folder}/{name}" for folder in CDI_FOLDERS for name in seen.names(folder)
              if seen.hidden(f"{folder}/{name}") and name.endswith((".yaml", ".json"))]  # fmt: skip
    for path in hidden:
        yield Unseen(what=path, why="it could not be read")
    if loaded(seen) and not hidden and not _specs(seen):
        yield Finding(
            severity="warning",
            cause="there is no CDI specification of the GPUs: --device nvidia.com/gpu=… fails",
            evidence=tuple(f"{folder}: none for nvidia.com/gpu" for folder in CDI_FOLDERS),
            remedy=GENERATE,
        )


def cdi_stale(seen: Observed) -> Answers:
    """A CDI specification names libraries or devices that are not there."""
    driver = loaded_version(seen)
    there = {f"/dev/{name}" for name in seen.names("/dev")}
    there |= {f"/dev/nvidia-caps/{name}" for name in seen.names("/dev/nvidia-caps")}
    for path, text in sorted(_specs(seen).items()):
        named = set(re.findall(r"\.so\.(\d{3}\.\d{2,3}(?:\.\d{2})?)\b", text))
        nodes = set(re.findall(r"path\"?:\s*\"?(/dev/nvidia[\w/-]*)", text))
        evidence = []
        if driver and named and driver not in named:
            evidence += [f"{path}: libraries of {', '.join(sorted(named))}",
                         f"/sys/module/nvidia/version: {driver}"]  # fmt: skip
        gone = sorted(nodes - there) if there else []
        evidence += [f"{path}: {node}, which is not there" for node in gone[:4]]
        if evidence:
            what = "is of another driver" if not gone else "names devices that are not there"
            yield Finding(
                severity="problem",
                cause=f"the CDI specification {path} {what}: containers do not start with it",
                evidence=tuple(evidence),
                remedy=GENERATE,
            )
