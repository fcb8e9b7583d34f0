"""Whether the right driver has the GPUs: none, another one, not loaded, the wrong flavour."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from aiprov.catalog import drivers
from aiprov.catalog import gpus as catalog
from aiprov.doctor.findings import Answers, Finding, Unseen
from aiprov.doctor.observed import Observed
from aiprov.doctor.questions import MODPROBE_FOLDERS, initramfs
from aiprov.doctor.reading import (
    built,
    driver_packages,
    gpus,
    has_gpus,
    listed,
    loaded,
    loaded_version,
    log,
    module,
    modules,
    owned,
    version_in,
)
from aiprov.errors import CatalogError

INSTALL = "aiprov apply with role nvidia_driver installs one that fits"
RIVALS = ("nouveau", "nova_core", "nova_drm", "nova")

REFUSED_BY_LOADER = (
    r"Loading of unsigned module is rejected",
    r"[Kk]ey was rejected by service",
    r"PKCS#7 signature not signed with a trusted key",
    r"Lockdown: .*unsigned module",
    r"module .*nvidia.*signature.*(?:missing|reject)",
)
FLAVOURS_IN_LOG = (
    r"not supported by open",
    r"requires use of the NVIDIA open kernel modules",
    r"Open nvidia\.ko is only ready",
    r"is not supported by the\s+(?:NVRM: )?NVIDIA [\d.]+ driver release",
)


def no_gpu(seen: Observed) -> Answers:
    """There is nothing for a GPU stack."""
    if not has_gpus(seen):
        count = len(seen.facts.pci_devices)
        yield Finding(
            severity="note",
            cause="the host has no NVIDIA GPU",
            evidence=(
                f"/sys/bus/pci/devices: of {count} functions none is a display controller of "
                f"vendor {catalog.NVIDIA}",
            ),
            remedy="if it should have one: is it seated and powered, is it passed through to "
            "this virtual machine, does the firmware give it address space (Above 4G Decoding)?",
        )


def no_driver(seen: Observed) -> Answers:
    """GPUs, and no driver installed."""
    if loaded(seen) or modules(seen) or driver_packages(seen):
        return
    if not listed(seen):
        yield Unseen(what="installed packages", why="; ".join(seen.ran("packages").ending(1)))
    shown = tuple(
        f"/sys/bus/pci/devices/{item.address}: {_model(item.vendor, item.device)}, "
        f"driver {item.driver or 'none'}"
        for item in gpus(seen)
    )
    yield Finding(
        severity="problem",
        cause=f"no NVIDIA driver is installed, and the host has {len(shown)} GPU"
        + ("s" if len(shown) > 1 else ""),
        evidence=(*shown, *seen.ran(f"modinfo {seen.facts.kernel}").ending(1)),
        remedy=INSTALL,
    )


def _model(vendor: str, device: str) -> str:
    try:
        return f"{vendor}:{device} ({catalog.gpu(f'{vendor}:{device}').name})"
    except CatalogError:
        return f"{vendor}:{device}"


def other_driver(seen: Observed) -> Answers:
    """Another driver has a GPU: the kernel's own, or one that hands it to virtual machines."""
    held: dict[str, list[str]] = {}
    for item in gpus(seen):
        if item.driver not in ("", "nvidia"):
            held.setdefault(item.driver, []).append(item.address)
    for name, addresses in held.items():
        evidence = [f"/sys/bus/pci/devices/{address}/driver: {name}" for address in addresses]
        if name == "vfio-pci":
            yield Finding(
                severity="note",
                cause=f"{len(addresses)} GPUs are given to virtual machines",
                evidence=tuple(evidence),
                remedy="nothing is wrong if that is meant; else unbind them from vfio-pci",
            )
            continue
        loaded_too = [f"/sys/module: {rival}" for rival in RIVALS
                      if rival in seen.names("/sys/module")]  # fmt: skip
        why, more, remedy = _why_not_blocked(seen, name.replace("-", "_").lower())
        yield Finding(
            severity="problem",
            cause=f"{name} holds {len(addresses)} of {len(gpus(seen))} GPUs, {why}",
            evidence=(*evidence, *loaded_too, *more),
            remedy=remedy,
        )


def _why_not_blocked(seen: Observed, name: str) -> tuple[str, tuple[str, ...], str]:
    """Why the kernel's own driver was loaded, the evidence, and the way out."""
    blacklists = [
        path
        for path, text in seen.files.items()
        if path.startswith(MODPROBE_FOLDERS)
        and re.search(rf"^\s*(?:blacklist|install)\s+{re.escape(name)}\b", text or "", re.M)
    ]
    redhat = seen.facts.family == "redhat"
    rebuild = "dracut -f --regenerate-all" if redhat else "update-initramfs -u -k all"
    if not blacklists:
        return (
            "and nothing keeps it from being loaded",
            (f"{MODPROBE_FOLDERS[0]}: no file has `blacklist {name}`",),
            f"aiprov apply with role nvidia_driver keeps it off; by hand: write `blacklist {name}` "
            f"into /etc/modprobe.d, {rebuild}, and reboot",
        )
    lines = tuple(f"{path}: blacklist {name}" for path in blacklists)
    changed = _changed(seen)
    newest = max((changed.get(path, 0) for path in blacklists), default=0)
    for path in initramfs(seen.facts.kernel):
        if path in changed and changed[path] < newest:
            when = datetime.fromtimestamp(changed[path], UTC).isoformat(timespec="minutes")
            return (
                "and the initramfs is older than its blacklist",
                (*lines, f"{path}: built {when}, before the blacklist was written"),
                f"{rebuild}, then reboot",
            )
    return (
        "though it is blacklisted",
        lines,
        "reboot; if it comes back, something loads it by name: look for it in "
        "/etc/modules-load.d and in the initramfs (lsinitramfs, lsinitrd)",
    )


def _changed(seen: Observed) -> dict[str, int]:
    """When files were changed last, as stat says it."""
    found = {}
    for line in seen.ran("changed").out.splitlines():
        when, _, path = line.partition(" ")
        if when.isascii() and when.isdigit() and len(when) < 12:
            found[path] = int(when)
    return found


def not_loaded(seen: Observed) -> Answers:
    """The module is there for this kernel and is not loaded, and no other cause explains it."""
    here = module(seen, seen.facts.kernel)
    if here is None or loaded(seen) or owned(seen) or _refusals(seen):
        return
    found = log(seen)
    said = found.quote(found.with_any(r"NVRM", r"nvidia"), 4) if found else ()
    yield Finding(
        severity="problem",
        cause="the NVIDIA kernel module is installed and not loaded",
        evidence=(f"{here.said.command}: filename: {here.path}", "/sys/module: no nvidia", *said),
        remedy="modprobe nvidia, and look at what the kernel log says of it; is it blacklisted in "
        "/etc/modprobe.d?",
    )


def _refusals(seen: Observed) -> tuple[str, ...]:
    found = log(seen)
    return found.with_any(*REFUSED_BY_LOADER) if found else ()


def secure_boot(seen: Observed) -> Answers:
    """Secure Boot lets only modules in whose signer the firmware knows."""
    here = module(seen, seen.facts.kernel)
    if loaded(seen) or not seen.facts.secure_boot or here is None:
        return
    refused = _refusals(seen)
    signer = here.signer or "no signer"
    if not refused and (here.signer and seen.facts.mok_enrolled):
        return
    found = log(seen)
    yield Finding(
        severity="problem",
        cause="Secure Boot refuses the NVIDIA kernel module"
        + ("" if here.signer else ", which is not signed"),
        evidence=(
            f"{here.said.command}: signer: {signer}",
            f"mokutil --test-key: the machine owner key is "
            f"{'enrolled' if seen.facts.mok_enrolled else 'not enrolled'}",
            *(found.quote(refused) if found else ()),
        ),
        remedy="use modules that the distribution signs (Ubuntu: linux-modules-nvidia-*), or "
        "enrol the key that DKMS signs with: mokutil --import /var/lib/shim-signed/mok/MOK.der "
        "(RHEL family: /var/lib/dkms/mok.pub), reboot, confirm on the console",
    )


def flavour(seen: Observed) -> Answers:
    """Open or proprietary modules, or the branch, do not serve this GPU."""
    here = module(seen, seen.facts.kernel)
    if owned(seen) or (here is None and not loaded(seen)):
        return
    version = loaded_version(seen) or (here.version if here else "")
    text = seen.text("/proc/driver/nvidia/version")
    kind = "open" if "Open Kernel Module" in text else "proprietary" if text else ""
    kind = kind or (here.flavour if here else "")
    found = log(seen)
    said = found.with_any(*FLAVOURS_IN_LOG) if found else ()
    reasons = dict.fromkeys(
        reason
        for item in gpus(seen)
        for reason in _misfits(f"{item.vendor}:{item.device}", kind, version)
    )
    if not reasons and not said:
        return
    evidence = [f"/proc/driver/nvidia/version: {text.splitlines()[0]}"] if text else []
    if here:
        evidence.append(f"{here.said.command}: version: {here.version}, license: {here.licence}")
    yield Finding(
        severity="problem",
        cause="; ".join(reasons)
        or f"the {kind} driver {version} does not serve a GPU of this host",
        evidence=(*evidence, *(found.quote(said) if found else ())),
        remedy="aiprov resolve says which driver serves all GPUs of this host; "
        "aiprov apply with role nvidia_driver installs it",
    )


def _misfits(pci_id: str, kind: str, version: str) -> list[str]:
    """Why a driver does not serve a GPU model, by the catalog."""
    try:
        gpu = catalog.gpu(pci_id)
        support = drivers.support(gpu.architecture)
    except CatalogError:
        return []  # the kernel log still tells
    found = []
    only_open = gpu.grace or "proprietary" not in support.modules
    if kind == "open" and "open" not in support.modules:
        found.append(f"the open kernel modules do not serve {gpu.name} ({gpu.architecture})")
    if kind == "proprietary" and only_open:
        found.append(f"{gpu.name} needs the open kernel modules, these are the proprietary ones")
    branch = version.partition(".")[0]
    if not branch.isdigit():
        return found
    if support.newest_branch and int(branch) > int(support.newest_branch):
        found.append(f"driver {version} no longer serves {gpu.name}, {support.newest_branch} was "
                     "the last branch that does")  # fmt: skip
    if support.oldest_branch and int(branch) < int(support.oldest_branch):
        found.append(f"driver {version} does not know {gpu.name} yet, which needs "
                     f"{support.oldest_branch} or later")  # fmt: skip
    return found


def end_of_life(seen: Observed) -> Answers:
    """The branch gets no fixes any more."""
    here = module(seen, seen.facts.kernel)
    version = loaded_version(seen) or (here.version if here else None)
    version = version_in(version or "")
    if version is None:
        return
    try:
        row = drivers.branch(version)
    except CatalogError as error:
        yield Unseen(what=f"whether driver {version} is still served", why=error.message)
        return
    if row.eol is not None and row.eol <= seen.today:
        yield Finding(
            severity="warning",
            cause=f"driver branch {row.name} is end of life since {row.eol:%B %Y}",
            evidence=(f"driver version: {version}", f"catalog: {row.source}"),
            remedy="plan a move to a branch that gets fixes: aiprov resolve names it",
        )


def built_for_other_kernels(seen: Observed) -> Answers:
    """Modules exist, but not for the kernel that runs, or not for the one that runs next."""
    running, following = seen.facts.kernel, seen.facts.next_kernel
    if seen.ran(f"modinfo {running}").missing:
        yield Unseen(what="which kernels have the NVIDIA module", why="there is no modinfo command")
        return
    there = modules(seen)
    if not there and not driver_packages(seen):
        return
    others = tuple(f"{item.said.command}: filename: {item.path}" for item in there)
    status = tuple(f"dkms status: {item.line}" for item in built(seen))
    fix = (
        "install the headers of that kernel (linux-headers, kernel-devel-matched) and run dkms "
        "autoinstall; of modules that the distribution signs, install those of that kernel"
    )
    if module(seen, running) is None and not loaded(seen):
        only = f", only for {', '.join(item.kernel for item in there)}" if there else ""
        yield Finding(
            severity="problem",
            cause=f"no NVIDIA kernel module is there for the running kernel {running}{only}",
            evidence=(*seen.ran(f"modinfo {running}").ending(1), *others, *status),
            remedy=f"{fix}; or boot a kernel that has one",
        )
    if following != running and module(seen, following) is None:
        yield Finding(
            severity="problem",
            cause=f"the next kernel {following} has no NVIDIA kernel module: the next reboot loses "
            "the GPUs",
            evidence=(*seen.ran(f"modinfo {following}").ending(1), *others, *status),
            remedy=f"before any reboot: {fix}",
        )
