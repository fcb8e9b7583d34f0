"""Whether all parts of the driver are of one version, were built, and stay so."""

from __future__ import annotations

import re
from collections import Counter

from aiprov.catalog import drivers
from aiprov.doctor.findings import Answers, Finding, Unseen
from aiprov.doctor.observed import Observed
from aiprov.doctor.questions import make_logs
from aiprov.doctor.reading import (
    Package,
    built,
    driver_packages,
    listed,
    loaded_version,
    log,
    module,
    version_in,
)
from aiprov.errors import CatalogError

_ERROR = re.compile(
    r"(?:^|\s)(?:fatal )?error:|\*\*\* |Error \d+$|cannot be found|No such file|unrecognized", re.I
)
_COMPILER = re.compile(r"unrecognized command.line option|compiler differs|CC version check", re.I)
_HEADERS = re.compile(r"[Kk]ernel (?:headers|source).*(?:not|cannot) be? ?found|Module\.symvers")
MISMATCH = r"API mismatch"


def mixed(seen: Observed) -> Answers:
    """The loaded module, the one on disk, the library, the tools and the packages differ."""
    parts = _parts(seen)
    if not listed(seen):
        yield Unseen(what="versions of packages", why="; ".join(seen.ran("packages").ending(1)))
    versions = {version for version, _ in parts.values()}
    if len(versions) < 2:
        return
    found = log(seen)
    said = found.quote(found.with_any(MISMATCH), 1) if found else ()
    smi = tuple(seen.ran("smi").quote(line) for line in seen.ran("smi").lines if "mismatch" in line)
    yield Finding(
        severity="problem",
        cause="versions of the driver are mixed: " + _grouped(parts),
        evidence=(*(quote for _, quote in parts.values()), *smi, *said),
        remedy=_remedy(parts),
    )


def _grouped(parts: dict[str, tuple[str, str]]) -> str:
    """The versions, each with the parts that are of it; the one that most are of first."""
    by_version: dict[str, list[str]] = {}
    for part, (version, _) in parts.items():
        by_version.setdefault(version, []).append(part)
    ordered = sorted(by_version.items(), key=lambda item: -len(item[1]))
    return "; ".join(f"{version} ({', '.join(names)})" for version, names in ordered)


def _parts(seen: Observed) -> dict[str, tuple[str, str]]:
    """Each part of the driver: its version, and what says so."""
    parts: dict[str, tuple[str, str]] = {}
    if version := loaded_version(seen):
        parts["loaded module"] = (version, f"/sys/module/nvidia/version: {version}")
    here = module(seen, seen.facts.kernel)
    if here and (version := version_in(here.version)):
        parts["installed module"] = (version, f"{here.said.command}: version: {version}")
    for line in seen.ran("library").out.splitlines():
        if (found := re.search(r"libnvidia-ml\.so\.(\S+)$", line)) and (
            version := version_in(found[1])
        ):
            parts["library"] = (version, f"readlink -f libnvidia-ml.so.1: {line.strip()}")
    if version := version_in(seen.ran("fm").out):
        parts["fabric manager"] = (version, f"nv-fabricmanager --version: {version}")
    packages = driver_packages(seen)
    if packages:
        counted = Counter(item.driver for item in packages)
        usual = counted.most_common(1)[0][0]
        if "installed module" not in parts and "library" not in parts and usual:
            names = next(item.name for item in packages if item.driver == usual)
            parts["packages"] = (usual, f"package {names} and others: {usual}")
        for item in packages:
            told = item.name.startswith("nvidia-fabric") and "fabric manager" in parts
            if item.driver != usual and item.driver and not told:
                parts[f"package {item.name}"] = (item.driver, _quoted(item))
    return parts


def _quoted(item: Package) -> str:
    return f"package {item.name}: {item.version}{' (held)' if item.held else ''}"


def _remedy(parts: dict[str, tuple[str, str]]) -> str:
    loaded, installed, library = (
        parts.get(name, ("", ""))[0] for name in ("loaded module", "installed module", "library")
    )
    rest = {version for part, (version, _) in parts.items() if part != "loaded module"}
    if loaded and len(rest) == 1:
        return (
            "the driver was updated under the running module: stop what uses the GPUs and reload "
            "it (modprobe -r nvidia_uvm nvidia_drm nvidia_modeset nvidia; modprobe nvidia), or "
            "reboot"
        )
    target = installed or library or loaded
    return (
        f"bring all of them to one version{f' (such as {target})' if target else ''}: aiprov apply "
        "with role nvidia_driver moves the set together and holds it; then reboot"
    )


def held_apart(seen: Observed) -> Answers:
    """Held packages at different versions: no update can move them together."""
    held = [item for item in driver_packages(seen) if item.held]
    if len({item.driver for item in held}) > 1:
        yield Finding(
            severity="problem",
            cause="packages of the driver are held at different versions",
            evidence=tuple(_quoted(item) for item in held),
            remedy="release them (apt-mark unhold, dnf versionlock delete), bring them to one "
            "version, and hold them again: aiprov apply with role nvidia_driver does that",
        )


def may_be_moved(seen: Observed) -> Answers:
    """Automatic updates can move the driver under its running module."""
    loose = [item for item in driver_packages(seen) if not item.held]
    if not loose:
        return
    evidence = ""
    if seen.facts.family != "redhat" and not seen.ran("apt_config").ok:
        why = "; ".join(seen.ran("apt_config").ending(1))
        yield Unseen(what="whether automatic updates may move the driver", why=why)
    elif seen.facts.family == "redhat":
        for name in ("dnf-automatic.timer", "dnf-automatic-install.timer"):
            if seen.unit(name).get("ActiveState") == "active":
                evidence = f"systemctl show {name}: ActiveState=active"
    else:
        config = seen.ran("apt_config").out
        if re.search(r'^APT::Periodic::Unattended-Upgrade "(?!0")[^"]+"', config, re.M):
            patterns = re.findall(
                r'^Unattended-Upgrade::Package-Blacklist:: "([^"]*)"', config, re.M
            )
            loose = [item for item in loose if not _blacklisted(item.name, patterns)]
            evidence = "apt-config dump: APT::Periodic::Unattended-Upgrade is on"
    if evidence and loose:
        names = ", ".join(item.name for item in loose[:4])
        more = f" and {len(loose) - 4} more" if len(loose) > 4 else ""
        yield Finding(
            severity="warning",
            cause="automatic updates may move the driver under its running module",
            evidence=(evidence, f"not held: {names}{more}"),
            remedy="hold the set (apt-mark hold, dnf versionlock), or keep it off in "
            "Unattended-Upgrade::Package-Blacklist: aiprov apply with role nvidia_driver does it",
        )


def _blacklisted(name: str, patterns: list[str]) -> bool:
    for pattern in patterns:
        try:
            if re.match(pattern, name):
                return True
        except re.error:
            continue  # unattended-upgrades passes over it, too
    return False


def build_failed(seen: Observed) -> Answers:
    """DKMS could not build the module."""
    for path in make_logs(seen):
        head, tail = seen.ran(f"head {path}"), seen.ran(f"tail {path}")
        kernel = re.search(r"for kernel (\S+)", head.out)
        done = {item.kernel for item in built(seen) if item.state == "installed"}
        if kernel and kernel[1] in done:
            continue  # an old log: it was built since
        if not tail.ok:
            yield Unseen(what=path, why="; ".join(tail.ending(1)))
            continue
        errors = [line for line in tail.lines if _ERROR.search(line)][-4:]
        if not errors:
            continue  # a build under way, or one that went well
        where = f" for kernel {kernel[1]}" if kernel else ""
        version = version_in(path) or version_in(head.out) or ""
        yield Finding(
            severity="problem",
            cause=f"DKMS could not build NVIDIA's module {version}{where}".replace("  ", " "),
            evidence=tuple(f"{path}: {line.strip()}" for line in (*head.lines[:1], *errors)),
            remedy=_build_remedy(tail.out, version, kernel[1] if kernel else ""),
        )


def _build_remedy(text: str, version: str, kernel: str) -> str:
    if _HEADERS.search(text):
        return f"install the headers of {kernel or 'that kernel'}, then dkms autoinstall"
    try:
        limits = drivers.kernel_limits(drivers.branch(version).name, kernel)
    except CatalogError:
        limits = ()
    for limit in limits:
        if limit.mended is None:
            return (
                f"driver {version} does not build on kernel {kernel}, nor does any of its branch: "
                "move to a newer branch (aiprov resolve names it), or stay on an older kernel"
            )
        if _numbers(version) < _numbers(limit.mended):
            return (
                f"kernel {kernel} needs driver {limit.mended} or later of this branch: update it, "
                "or stay on an older kernel"
            )
    if _COMPILER.search(text):
        return (
            "install the compiler that built the kernel (/proc/version names it), then dkms "
            "autoinstall"
        )
    return "a driver that builds on this kernel (aiprov resolve), or the kernel that it builds on"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
