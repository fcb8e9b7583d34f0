"""The GPUs themselves: all there, on a full link, without memory errors and Xids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from aiprov.catalog.xids import xid
from aiprov.checks.kernel_log import FALLEN_OFF, RECOVERY, SEVERITIES, KernelEvent, events
from aiprov.doctor.findings import Answers, Finding, Unseen
from aiprov.doctor.observed import Observed
from aiprov.doctor.reading import Log, Reading, gpus, loaded, log, owned, readings

_FALLEN = r"GPU has fallen off the bus|GPU is lost"

EXAMINE = "drain the host, reset the GPU (nvidia-smi --gpu-reset -i BUS_ID) or reboot"


def smi(seen: Observed) -> Answers:
    """nvidia-smi hangs or fails though the driver is loaded."""
    said = seen.ran("smi")
    if not loaded(seen) or owned(seen) or said.ok:
        return
    if said.missing:
        yield Finding(
            severity="warning",
            cause="the driver is loaded, and nvidia-smi is not installed",
            evidence=said.ending(1),
            remedy="install the user part of the driver (nvidia-utils, nvidia-driver-cuda, "
            "libnvidia-compute)",
        )
    elif said.rc is None and seen.ran("gpus").ok:
        pass  # it answers, slowly: what it said is not whole
    elif said.rc is None:
        found = log(seen)
        lines = found.quote(found.with_any(r"NVRM: Xid", _FALLEN, r"GSP"), 2) if found else ()
        yield Finding(
            severity="problem",
            cause="nvidia-smi hangs: a GPU or its driver does not answer",
            evidence=(*said.ending(), *lines),
            remedy="look at the Xids, keep nvidia-bug-report.sh's output, and power-cycle the "
            "host: a process that waits for a GPU cannot be ended",
        )
    else:
        yield _smi_failed(seen)
    yield Unseen(what="memory errors and the fabric", why="; ".join(said.ending(1)))


def _smi_failed(seen: Observed) -> Finding:
    said = seen.ran("smi")
    text = " ".join(said.lines)
    if "mismatch" in text:
        cause = "nvidia-smi fails: its library is of another version than the loaded module"
        remedy = "reload the module or reboot; aiprov apply with role nvidia_driver keeps them one"
    elif "No devices were found" in text:
        cause = "the driver is loaded and finds no GPU that it can start"
        remedy = "the kernel log says why (RmInitAdapter); power-cycle, check the driver's flavour"
    else:
        cause = "nvidia-smi fails"
        remedy = "look at the kernel log; where the GPU is lost, power-cycle the host"
    found = log(seen)
    lines = found.quote(found.with_any(r"RmInitAdapter", r"API mismatch", _FALLEN)) if found else ()
    return Finding(
        severity="problem", cause=cause, evidence=(*said.ending(), *lines), remedy=remedy
    )


def count(seen: Observed) -> Answers:
    """PCI, the driver and nvidia-smi do not count the same GPUs."""
    if not loaded(seen) or owned(seen):
        return
    expected = {item.address.lower() for item in gpus(seen)}
    driver = {name.lower() for name in seen.names("/proc/driver/nvidia/gpus")}
    said = seen.ran("gpus")
    listed = [line for line in said.out.splitlines() if re.match(r"GPU \d+:", line)]
    broken = [line for line in said.lines if "Unable to determine" in line or "is lost" in line]
    short_smi = said.ok and len(listed) < len(expected)
    missing = sorted(expected ^ driver)
    if not missing and not short_smi and not broken:
        return
    gone = f": look for {', '.join(missing)}" if missing else ""
    yield Finding(
        severity="problem",
        cause=f"GPUs are missing: PCI has {len(expected)}, the driver {len(driver)} and nvidia-smi "
        f"{len(listed)}{gone}",
        evidence=(
            f"/sys/bus/pci/devices: {', '.join(sorted(expected))}",
            f"/proc/driver/nvidia/gpus: {', '.join(sorted(driver)) or 'empty'}",
            f"nvidia-smi -L: {len(listed)} GPUs",
            *(said.quote(line) for line in broken),
        ),
        remedy="look at the kernel log for these addresses (RmInitAdapter, Xid 79); power-cycle "
        "the host; a GPU that stays away must be reseated or replaced",
    )


def link(seen: Observed) -> Answers:
    """A GPU's PCIe link is narrower or slower than the GPU can."""
    narrow, slow = [], []
    for item in gpus(seen):
        place = f"/sys/bus/pci/devices/{item.address}"
        width, speed = seen.text(f"{place}/max_link_width"), seen.text(f"{place}/max_link_speed")
        most = int(width) if width.isascii() and width.isdigit() and len(width) < 4 else 0
        if item.link_width and not most:
            yield Unseen(what=f"the PCIe link of {item.address}", why="max_link_width is not told")
        if item.link_width and item.link_width < most:
            narrow.append(f"{place}: current_link_width {item.link_width}, max_link_width {most}")
        fastest = re.match(r"\d+(?:\.\d+)?", speed)
        if item.link_speed and fastest and item.link_speed < float(fastest[0]):
            slow.append(f"{place}: current_link_speed {item.link_speed:g} GT/s, max_link_speed "
                        f"{float(fastest[0]):g} GT/s")  # fmt: skip
    if narrow:
        yield Finding(
            severity="problem",
            cause=f"the PCIe link of {_some(narrow)} is narrower than the GPU can",
            evidence=tuple(narrow),
            remedy="is the slot that wide (dmidecode -t slot, the machine's manual)? If so reseat "
            "the GPU or its riser; a link that stays narrow is a hardware fault",
        )
    if slow:
        yield Finding(
            severity="note",
            cause=f"the PCIe link of {_some(slow)} is slower than the GPU can",
            evidence=tuple(slow),
            remedy="idle GPUs lower their link's speed: look again under load; then it is the "
            "slot, a riser or the firmware's setting",
        )


def _some(items: list[str]) -> str:
    return "1 GPU" if len(items) == 1 else f"{len(items)} GPUs"


def memory(seen: Observed) -> Answers:
    """Memory errors: rows that wait to be remapped, that could not be, uncorrectable errors."""
    pending, failed, errors, recovery = [], [], [], []
    for item in readings(seen):
        name = item.path[-1]
        if name in ("Pending", "Pending Page Blacklist") and item.value == "Yes":
            pending.append(item)
        elif name in ("Remapping Failure Occurred", "SRAM Threshold Exceeded"):
            failed += [item] if item.value == "Yes" else []
        elif _uncorrected(item):
            errors.append(item)
        elif name == "GPU Recovery Action":
            recovery += [item] if item.value not in ("None", "N/A", "") else []
        elif name in ("Reset Required", "Drain and Reset Recommended"):
            recovery += [item] if item.value == "Yes" else []
    for severity, cause, items, remedy in (
        ("problem", "memory rows could not be replaced, or the SRAM has too many errors", failed,
         "replace the GPU: run dcgmi diag -r 3 or the vendor's field diagnostic for the return"),
        ("problem", "the driver asks for a recovery of the GPU", recovery, EXAMINE),
        ("problem", "memory rows wait to be replaced, which a reset does", pending, EXAMINE),
        ("warning", "uncorrectable memory errors since the driver was loaded", errors,
         f"{EXAMINE}; look at the Xids 48, 63, 64, 94 and 95"),
    ):  # fmt: skip
        if items:
            yield Finding(
                severity=severity,  # type: ignore[arg-type]
                cause=cause, evidence=tuple(item.quoted for item in items), remedy=remedy,
            )  # fmt: skip


def _uncorrected(item: Reading) -> bool:
    wanted = item.path[:2] == ("ECC Errors", "Volatile") and "Uncorrectable" in item.path[-1]
    return wanted and item.value.isascii() and item.value.isdigit() and item.value.strip("0") != ""


def xids(seen: Observed) -> Answers:
    """What the driver reported in the kernel log since the host started."""
    found = log(seen)
    if found is None:
        why = "a container has no kernel log of its own" if seen.contained else (
            "it takes root, or a group such as adm" if not seen.root
            else "; ".join(seen.ran("dmesg").ending(1))
        )  # fmt: skip
        yield Unseen(what="the kernel log (Xids, refused modules)", why=why)
        return
    by_code: dict[tuple[int, bool], list[KernelEvent]] = {}
    for event in _events(found, "Xid"):
        told = "Xid (" in event.line  # a GPU that falls off the bus may be told of in words only
        by_code.setdefault((event.code, told), []).append(event)
    for (code, told), own in sorted(by_code.items()):
        if code == FALLEN_OFF and not told:
            yield Finding(
                severity="problem",
                cause=f"a GPU has fallen off the bus: {_where(own)}",
                evidence=_quoted(found, own),
                remedy="power-cycle the machine; where it comes back, reseat or replace the GPU",
            )
        else:
            yield _xid(code, own, found)


def sxids(seen: Observed) -> Answers:
    """What the NVSwitches reported in the kernel log since the host started."""
    found = log(seen)
    by_kind: dict[tuple[bool, str], list[KernelEvent]] = {}
    for event in _events(found, "SXid"):
        by_kind.setdefault((event.severity != "problem", str(event.code)), []).append(event)
    for (recovers, code), own in sorted(by_kind.items()):
        yield Finding(
            severity="warning" if recovers else "problem",
            cause=f"SXid {code}: an NVSwitch reports {'an' if recovers else 'a fatal'} error",
            evidence=_quoted(found, own),
            remedy="watch it: links recover from these; where they are many, have the link examined"
            if recovers
            else "reset all GPUs and NVSwitches together (stop the fabric manager, nvidia-smi "
            "--gpu-reset) or reboot; where it comes back, contact the machine's vendor",
        )


def pcie(seen: Observed) -> Answers:
    """What the kernel reported of the GPUs' PCIe links since the host started."""
    found, known = log(seen), {item.address.lower() for item in gpus(seen)}
    by_severity: dict[bool, list[KernelEvent]] = {}
    for event in _events(found, "PCIe"):
        if event.address in known:
            by_severity.setdefault(event.severity != "problem", []).append(event)
    for corrected, own in sorted(by_severity.items()):
        kind = "corrected" if corrected else "uncorrected"
        yield Finding(
            severity="warning" if corrected else "problem",
            cause=f"{kind} errors of the PCIe link of {_where(own)}",
            evidence=_quoted(found, own),
            remedy="reseat the GPU or its riser; where it comes back, have the slot, riser and GPU "
            "examined",
        )


def _events(found: Log | None, kind: str) -> Iterator[KernelEvent]:
    text = "\n".join(found.entries) if found else ""
    return (event for event in events(text) if event.kind == kind)


def _quoted(found: Log | None, own: Sequence[KernelEvent]) -> tuple[str, ...]:
    return found.quote(tuple(event.line for event in own)) if found else ()


def _where(own: Sequence[KernelEvent]) -> str:
    return ", ".join(sorted({event.address for event in own}))


def _xid(code: int, own: Sequence[KernelEvent], found: Log) -> Finding:
    row = xid(code)
    # What a GPU asks for now counts; of others, the worst that was.
    event = own[-1] if code == RECOVERY else min(own, key=lambda e: SEVERITIES.index(e.severity))
    return Finding(
        severity=event.severity,
        cause=f"Xid {code} on {_where(own)}: {event.meaning}",
        evidence=_quoted(found, own),
        remedy=row.text if row else "keep nvidia-bug-report.sh's output and contact NVIDIA",
    )
