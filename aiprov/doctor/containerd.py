"""containerd: whether the nvidia runtime is in the configuration that the running one reads."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from aiprov.doctor.docker import CONFIGURE, installed
from aiprov.doctor.findings import Answers, Finding, Unseen
from aiprov.doctor.observed import Observed
from aiprov.doctor.questions import CONTAINERD, CONTAINERD_FOLDERS, Process, runtimes

_OTHERS = ("k3s", "rke2", "microk8s", "/snap/")
_KUBERNETES = ("kubelet.service",)


def present(seen: Observed) -> bool:
    """Whether a containerd is there, and a toolkit to be in it."""
    there = not seen.ran("containerd").missing or any(
        item.name == "containerd" for item in runtimes(seen)
    )
    return installed(seen) and there


def _toml(text: str | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text or "")
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _runtimes(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The runtimes that a configuration has, in whichever schema it is."""
    found: dict[str, Mapping[str, Any]] = {}
    plugins = config.get("plugins")
    for plugin in plugins.values() if isinstance(plugins, dict) else ():
        own = plugin.get("containerd") if isinstance(plugin, dict) else None
        named = own.get("runtimes") if isinstance(own, dict) else None
        if isinstance(named, dict):
            found |= {key: value for key, value in named.items() if isinstance(value, dict)}
    return found


def _version(config: Mapping[str, Any]) -> int:
    found = config.get("version", 1)
    return found if isinstance(found, int) else 1


def _drop_ins(seen: Observed) -> dict[str, str]:
    return {
        path: text
        for path, text in sorted(seen.files.items())
        if path.startswith(CONTAINERD_FOLDERS) and text
    }


def readable(seen: Observed) -> Answers:
    """Whether the configuration could be read."""
    if seen.hidden(CONTAINERD):
        yield Unseen(what=CONTAINERD, why="it could not be read")
    listed = seen.ran("processes")
    if not listed.ok:
        yield Unseen(what="which container runtimes run", why="; ".join(listed.ending(1)))


def drop_in_version(seen: Observed) -> Answers:
    """A drop-in of a newer schema than the root file: containerd does not start with it."""
    root = seen.text(CONTAINERD)
    if not root:
        return
    own = _version(_toml(root))
    for path, text in _drop_ins(seen).items():
        version = _version(_toml(text))
        if version > own and _imported(path, _toml(root)):
            yield Finding(
                severity="problem",
                cause=f"{path} has schema version {version} and {CONTAINERD} {own}: containerd "
                "ends at its next start, or reads them wrongly",
                evidence=(f"{path}: version = {version}", f"{CONTAINERD}: version = {own}",
                          *_last(seen, "drop-in config version")),
                remedy=f"write the drop-in in schema {own}: {CONFIGURE}; by hand: nvidia-ctk "
                "runtime configure --runtime=containerd --config-source=file",
            )  # fmt: skip


def _last(seen: Observed, text: str) -> tuple[str, ...]:
    said = seen.ran("containerd_config")
    return tuple(said.quote(line) for line in said.lines if text in line)[-1:]


def _imported(path: str, root: Mapping[str, Any]) -> bool:
    patterns = root.get("imports")
    return isinstance(patterns, list) and any(fnmatch(path, str(item)) for item in patterns)


def invalid(seen: Observed) -> Answers:
    """containerd cannot read its configuration."""
    said = seen.ran("containerd_config")
    if said.ok or said.missing or _last(seen, "drop-in config version"):
        return
    if "permission denied" in said.err:
        yield Unseen(what="containerd's effective configuration", why="; ".join(said.ending(1)))
        return
    yield Finding(
        severity="problem",
        cause="containerd cannot read its configuration",
        evidence=said.ending(),
        remedy=f"mend what it names: containerd config dump tries it; {CONFIGURE} writes its part",
    )


def drop_in_ignored(seen: Observed) -> Answers:
    """A drop-in has the nvidia runtime, and the effective configuration does not."""
    dump = seen.ran("containerd_config")
    if not dump.ok or "nvidia" in _runtimes(_toml(dump.out)):
        return
    root = _toml(seen.text(CONTAINERD))
    for path, text in _drop_ins(seen).items():
        if "nvidia" not in _runtimes(_toml(text)):
            continue
        imports = root.get("imports")
        missing = not _imported(path, root)
        yield Finding(
            severity="problem",
            cause=f"containerd ignores {path}"
            + (f": no imports of {CONTAINERD} match it" if missing else ""),
            evidence=(
                f"{path}: has the runtime nvidia",
                f"{dump.command}: runtimes: {', '.join(sorted(_runtimes(_toml(dump.out))))}",
                f"{CONTAINERD}: imports = {imports if imports is not None else 'not set'}",
            ),
            remedy=f'add imports = ["{path.rpartition("/")[0]}/*.toml"] to {CONTAINERD} and '
            f"restart containerd: {CONFIGURE} does both",
        )


def not_configured(seen: Observed) -> Answers:
    """The toolkit is there and the containerd that Kubernetes uses does not know it."""
    dump = seen.ran("containerd_config")
    if not dump.ok or not any(
        seen.unit(name).get("ActiveState") == "active" for name in _KUBERNETES
    ):
        return
    config = _toml(dump.out)
    elsewhere = any("nvidia" in _runtimes(_toml(text)) for text in _drop_ins(seen).values())
    if config and "nvidia" not in _runtimes(config) and not elsewhere:
        yield Finding(
            severity="problem",
            cause="the container toolkit is installed and containerd does not know the nvidia "
            "runtime",
            evidence=(
                f"{dump.command}: runtimes: {', '.join(sorted(_runtimes(config))) or 'none'}",
            ),
            remedy=f"{CONFIGURE}; by hand: nvidia-ctk runtime configure --runtime=containerd, and "
            "restart containerd",
        )


def cgroup_driver(seen: Observed) -> Answers:
    """Runtimes that do not agree on who makes cgroups: pods of one of them are lost."""
    dump = seen.ran("containerd_config")
    driven: dict[str, bool] = {}
    for name, runtime in _runtimes(_toml(dump.out)).items():
        options = runtime.get("options")
        if runtime.get("runtime_type") == "io.containerd.runc.v2":
            driven[name] = isinstance(options, dict) and options.get("SystemdCgroup") is True
    lacking = sorted(name for name, systemd in driven.items() if not systemd)
    if "nvidia" not in driven or not lacking or not any(driven.values()):
        return
    yield Finding(
        severity="problem",
        cause=f"SystemdCgroup is missing for containerd's runtime {', '.join(lacking)}, which "
        "others have",
        evidence=tuple(
            f"{dump.command}: runtimes.{name}.options.SystemdCgroup = {str(systemd).lower()}"
            for name, systemd in sorted(driven.items())
        ),
        remedy=f"set SystemdCgroup = true for all of them: {CONFIGURE}",
    )


def other_containerd(seen: Observed) -> Answers:
    """The toolkit is in the configuration of one containerd, and another runs."""
    places = {CONTAINERD: seen.text(CONTAINERD), **_drop_ins(seen)}
    configured = [path for path, text in places.items() if "nvidia" in _runtimes(_toml(text))]
    for process in runtimes(seen):
        program = seen.links.get(f"/proc/{process.pid}/exe") or ""
        if process.name != "containerd" or not _foreign(process, program):
            continue
        if not process.config or seen.files.get(process.config) is None:
            shown = process.config or f"the configuration of {program or process.arguments}"
            yield Unseen(what=shown, why="it could not be read")
            continue
        if re.search(r"nvidia", seen.text(process.config)) or not configured:
            continue
        yield Finding(
            severity="problem",
            cause=f"the toolkit is configured in {configured[0]}, which the containerd that runs "
            "does not read",
            evidence=(
                f"ps: {process.pid} {process.arguments}",
                *((f"/proc/{process.pid}/exe: {program}",) if program else ()),
                f"{configured[0]}: has the runtime nvidia",
                f"{process.config}: nothing of nvidia",
            ),
            remedy="k3s and rke2 find the toolkit themselves when they start: restart them; for "
            "microk8s, microk8s enable nvidia",
        )


def _foreign(process: Process, program: str) -> bool:
    text = f"{program} {process.arguments}"
    return any(name in text for name in _OTHERS) or (
        bool(process.config) and process.config != CONTAINERD
        and "/docker/" not in process.config  # dockerd's own, which no toolkit configures
    )  # fmt: skip
