"""Xids, NVSwitch errors and PCIe errors in a kernel log, as dmesg or journalctl print it.

Formats: NVIDIA's Xid catalog and fabric manager guide (Xid, SXid), nv_pci_probe of the open kernel
modules (a GPU that has fallen off the bus), Linux' drivers/pci/pcie/aer.c (PCIe errors); read
2026-11-21. What stands before a message (times, host, level) is not looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from aiprov.catalog.xids import Severity, xid
from aiprov.checks.model import Bound, Check, Evidence, Measurement, Subject

Kind = Literal["Xid", "SXid", "PCIe"]

FALLEN_OFF = 79
RECOVERY = 154
SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note")
"""The worst first."""

_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9A-Fa-f:.]+)[^)]*\): (\d{1,4})\b,?\s*(.*)")
_PROCESS = re.compile(r"pid='?(?:<unknown>|(\d+))'?, name=(?:<unknown>|([^,]*))(?:, |$)")
_CAUSED = re.compile(r"caused by previous Xid (\d+)")
_NVLINK = re.compile(r"\b(Fatal|Nonfatal) XC\d+ i\d+ Link (-?\d+)|on link (\d+)\b")
_ACTION_NOW = re.compile(r"\bto 0x[0-9a-fA-F]+ \(([A-Za-z0-9 ]+)\)")
_SXID = re.compile(
    r"SXid \(PCI:([0-9A-Fa-f:.]+)\): (\d{1,6}), (Fatal|Non-fatal), (?:Link (\d+) )?(.*)"
)
_FALLEN = re.compile(
    r"NVRM: (?:The NVIDIA )?GPU (?:at )?(?:PCI:)?([0-9A-Fa-f]{4,8}:[0-9A-Fa-f:.]+)"
)
_FALLEN_TEXT = "fallen off the bus"
_PCIE = re.compile(
    r"(?:\w+ )?([0-9A-Fa-f]{4}:[0-9A-Fa-f:.]+): PCIe Bus Error: "
    r"(?:severity=)?((?:Unc|C)orrect\w+(?: \([\w-]+\))?), type=([\w ]+?)(?:,|$)"
)

_RECOVERIES = {
    "None": "IGNORE",
    "GPU Reset Required": "RESET_GPU",
    "PF FLR": "RESET_GPU",
    "Drain P2P": "RESET_GPU",
    "Drain and Reset": "RESET_GPU",
    "Node Reboot Required": "RESTART_BM",
    "OS Reboot": "RESTART_BM",
}
"""What an Xid 154 asks for, in the words of drivers 570 to 610, as an action of the catalog."""


@dataclass(frozen=True, kw_only=True)
class KernelEvent:
    """One error that the kernel reports. ``address``: of the PCI function, ``0000:3b:00.0``.

    ``code``: of an Xid or SXid; 0 of a PCIe error. ``link``: the NVLink that it names. ``cause``:
    the Xid that it says it follows from. ``action``: NVIDIA's name of what to do; may be empty.
    """

    kind: Kind
    address: str
    code: int
    severity: Severity
    meaning: str
    line: str
    action: str = ""
    link: int | None = None
    cause: int | None = None
    pid: int | None = None
    process: str = ""

    def __str__(self) -> str:
        code = f" {self.code}" if self.code else ""
        return f"{self.kind}{code} on {self.address}: {self.meaning}"


def events(text: str) -> tuple[KernelEvent, ...]:
    """All errors in a log, in its order. Lines that are none are passed over."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        event = _xid(line) or _sxid(line) or _pcie(line) or _fallen(lines, number)
        if event:
            found.append(event)
    return tuple(_without_repeated_fall(found))


def since(before: str, after: str) -> str:
    """The lines of the second log that are not in the first, which was read earlier."""
    seen = Counter(before.splitlines())
    new = []
    for line in after.splitlines():
        if seen[line]:
            seen[line] -= 1
        else:
            new.append(line)
    return "\n".join(new)


def check(
    subject: Subject, log: str | None, *, addresses: Sequence[str], under_load: bool, why: str = ""
) -> Check:
    """Whether the kernel reported errors of the PCI functions at these addresses.

    No ``addresses``: of any. ``log`` is ``None`` where it cannot be read, and ``why`` says why.
    Under load, when nothing but the validation runs, warnings count as well: no application is
    there to be blamed for them.
    """
    name = "kernel log under load" if under_load else "kernel log"
    if log is None:
        return Check(name=name, subject=subject, error=why or "the kernel log cannot be read")
    wanted = {address_of(address) for address in addresses}
    found = [item for item in events(log) if not wanted or item.address in wanted]
    worst_first = sorted(found, key=lambda item: SEVERITIES.index(item.severity))
    counts = Counter(item.severity for item in found)
    none = (Bound(relation="at most", value=0, basis="exact", reason="no error is expected"),)
    return Check(
        name=name,
        subject=subject,
        measurements=(
            Measurement(name="problems", value=counts["problem"], bounds=none),
            Measurement(
                name="warnings", value=counts["warning"], bounds=none if under_load else (),
                required=under_load,
            ),
            Measurement(name="notes", value=counts["note"], required=False),
        ),
        evidence=tuple(Evidence.of("kernel log", text) for text in _lines(worst_first)),
        action=next((item.action for item in worst_first if item.action), ""),
    )  # fmt: skip


def address_of(text: str) -> str:
    """A PCI address as the kernel writes it. The driver leaves out the function or adds zeros."""
    domain, _, rest = text.strip().lower().partition(":")
    return f"{domain[-4:].zfill(4)}:{rest if '.' in rest else f'{rest}.0'}"


def _lines(found: Iterable[KernelEvent]) -> list[str]:
    """The lines, the worst first; of many alike (same kind, code and address) the first two."""
    shown: Counter[tuple[str, int, str]] = Counter()
    kept = []
    for item in found:
        key = (item.kind, item.code, item.address)
        shown[key] += 1
        if shown[key] <= 2:
            kept.append(item.line)
    return kept


def _xid(line: str) -> KernelEvent | None:
    match = _XID.search(line)
    if not match:
        return None
    code, text = int(match[2]), match[3]
    row = xid(code)
    severity: Severity = row.severity if row else "warning"
    meaning = row.meaning if row else "not documented by NVIDIA"
    action = row.action if row else "CONTACT_SUPPORT"
    now, link = _ACTION_NOW.search(text), _NVLINK.search(text)
    if code == RECOVERY and now:
        severity = "note" if now[1] == "None" else "problem"
        meaning = f"the GPU's recovery action is now: {now[1]}"
        action = _RECOVERIES.get(now[1], "RESTART_BM")
    elif link and link[1] == "Nonfatal":
        severity = "warning"
    process, caused = _PROCESS.search(text), _CAUSED.search(text)
    return KernelEvent(
        kind="Xid",
        address=address_of(match[1]),
        code=code,
        severity=severity,
        meaning=meaning,
        line=line.strip(),
        action=action,
        link=_link(link),
        cause=int(caused[1]) if caused else None,
        pid=int(process[1]) if process and process[1] else None,
        process=(process[2] or "") if process else "",
    )


def _link(match: re.Match[str] | None) -> int | None:
    number = int(match[2] or match[3]) if match else -1
    return number if number >= 0 else None  # -1: of no link in particular


def _sxid(line: str) -> KernelEvent | None:
    match = _SXID.search(line)
    if not match:
        return None
    fatal = match[3] == "Fatal"
    return KernelEvent(
        kind="SXid",
        address=address_of(match[1]),
        code=int(match[2]),
        severity="problem" if fatal else "warning",
        meaning=f"{'fatal' if fatal else 'non-fatal'} error of an NVSwitch: {match[5].strip()}",
        line=line.strip(),
        action="RESET_GPU" if fatal else "",
        link=int(match[4]) if match[4] else None,
    )


def _pcie(line: str) -> KernelEvent | None:
    match = _PCIE.search(line)
    if not match:
        return None
    corrected = match[2].startswith("Correct")
    return KernelEvent(
        kind="PCIe",
        address=address_of(match[1]),
        code=0,
        severity="warning" if corrected else "problem",
        meaning=f"{match[2]} error of the {match[3].strip()}",
        line=line.strip(),
        action="" if corrected else "RESTART_BM",
    )


def _fallen(lines: Sequence[str], number: int) -> KernelEvent | None:
    """A GPU that is told to have fallen off the bus without an Xid, in one line or in three."""
    match = _FALLEN.search(lines[number])
    if not match:
        return None
    rest = [lines[number]]
    for line in lines[number + 1 : number + 3]:
        if "NVRM: " not in line or _FALLEN.search(line):
            break
        rest.append(line)
    if _FALLEN_TEXT not in " ".join(rest):
        return None
    row = xid(FALLEN_OFF)
    return KernelEvent(
        kind="Xid",
        address=address_of(match[1].rstrip(":.")),
        code=FALLEN_OFF,
        severity="problem",
        meaning=row.meaning if row else _FALLEN_TEXT,
        line=" ".join(" ".join(rest).split()),
        action=row.action if row else "RESTART_BM",
    )


def _without_repeated_fall(found: Iterable[KernelEvent]) -> Iterable[KernelEvent]:
    """The driver tells of a fall by an Xid and in words: that is one event."""
    fallen: set[str] = set()
    for item in found:
        if item.code == FALLEN_OFF and item.kind == "Xid":
            if item.address in fallen:
                continue
            fallen.add(item.address)
        yield item
