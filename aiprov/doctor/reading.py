"""What answers mean: the driver's versions, its packages, nvidia-smi's tree, the kernel log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from aiprov import stack
from aiprov.doctor.observed import Observed, Output
from aiprov.doctor.questions import DNF_LOCKS, LOG_PATTERN, kernels
from aiprov.survey.facts import PciDevice

_VERSION = re.compile(r"(?<![\d.])(\d{3}\.\d{2,3}(?:\.\d{2})?)(?![\d.]*\d)")

APART = (
    "nvidia-modprobe", "nvidia-settings", "nvidia-persistenced", "nvidia-xconfig", "nvidia-prime",
    "nvidia-driver-pinning", "nvidia-container", "libnvidia-container", "libnvidia-egl-",
    "nvidia-kernel-common", "nvidia-support", "nvidia-installer", "nvlsm", "libxnvctrl",
    "nvidia-driver-assistant", "nvidia-cuda", "nvidia-gds", "nvidia-fs", "nvidia-docker",
)  # fmt: skip
"""Packages of NVIDIA's whose versions are their own, by the beginnings of their names.

Debian and Ubuntu build modprobe, settings and persistenced apart from the driver.
"""


def version_in(text: str) -> str | None:
    """The first driver version (``580.95.05``) in a text."""
    found = _VERSION.search(text)
    return found[1] if found else None


def gpus(seen: Observed) -> tuple[PciDevice, ...]:
    """The host's GPUs as PCI has them."""
    return stack.gpu_devices(seen.facts)


def has_gpus(seen: Observed) -> bool:
    """Whether the host has GPUs."""
    return bool(gpus(seen))


def owned(seen: Observed) -> bool:
    """Whether another driver than NVIDIA's holds a GPU: then NVIDIA's tools say nothing of it."""
    return any(item.driver not in ("", "nvidia") for item in gpus(seen))


def loaded(seen: Observed) -> bool:
    """Whether NVIDIA's kernel module is loaded."""
    return "nvidia" in seen.names("/sys/module")


def loaded_version(seen: Observed) -> str | None:
    """The version of the loaded module."""
    if not loaded(seen):
        return None
    return version_in(seen.text("/sys/module/nvidia/version")) or version_in(
        seen.text("/proc/driver/nvidia/version")
    )


@dataclass(frozen=True, kw_only=True)
class Module:
    """NVIDIA's kernel module as it lies on disk for a kernel. ``signer``: empty if unsigned."""

    kernel: str
    path: str
    version: str
    licence: str
    signer: str
    said: Output

    @property
    def flavour(self) -> Literal["open", "proprietary"]:
        """The open module is under MIT and GPL, the other under NVIDIA's licence."""
        return "open" if "GPL" in self.licence else "proprietary"


def module(seen: Observed, kernel: str) -> Module | None:
    """The module for a kernel; ``None`` where modinfo finds none."""
    said = seen.ran(f"modinfo {kernel}")
    fields: dict[str, str] = {}
    for line in said.out.splitlines():
        key, colon, value = line.partition(":")
        if key == "filename" and "filename" in fields:
            break  # the same module by another of its names
        if colon:
            fields.setdefault(key.strip(), value.strip())
    if "filename" not in fields:
        return None
    return Module(
        kernel=kernel,
        path=fields["filename"],
        version=fields.get("version", ""),
        licence=fields.get("license", ""),
        signer=fields.get("signer", ""),
        said=said,
    )


def modules(seen: Observed) -> tuple[Module, ...]:
    """The modules that are there, the running kernel's first."""
    found = (module(seen, kernel) for kernel in kernels(seen.facts))
    return tuple(item for item in found if item is not None)


@dataclass(frozen=True, kw_only=True)
class Package:
    """An installed package. ``driver``: the driver version that it is of; ``None``: of none."""

    name: str
    version: str
    held: bool
    driver: str | None


def listed(seen: Observed) -> bool:
    """Whether the host told its packages. dpkg-query ends with 1 where a pattern has none."""
    said = seen.ran("packages")
    return said.ok or (said.rc == 1 and seen.facts.family == "debian")


def packages(seen: Observed) -> tuple[Package, ...]:
    """NVIDIA's packages that are installed."""
    locks = "\n".join(seen.text(path) for path in DNF_LOCKS)
    found = []
    for line in seen.ran("packages").out.splitlines():
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 3 or fields[0][1:2] != "i":
            continue
        status, name, version = fields
        apart = name.startswith(APART)
        held = status.startswith("h") or bool(locks and _locked(locks, name))
        found.append(
            Package(
                name=name, version=version, held=held,
                driver=None if apart else version_in(version),
            )
        )  # fmt: skip
    return tuple(found)


def _locked(locks: str, name: str) -> bool:
    return re.search(rf"(?:^|[\s\"']){re.escape(name)}(?:-\d|[\"']|\*)", locks, re.M) is not None


def driver_packages(seen: Observed) -> tuple[Package, ...]:
    """The packages that must all be of one driver version."""
    return tuple(item for item in packages(seen) if item.driver)


def toolkit(seen: Observed) -> str | None:
    """The container toolkit's version; ``None`` where it is not installed."""
    for item in packages(seen):
        if item.name in ("nvidia-container-toolkit", "nvidia-container-toolkit-base"):
            return item.version.partition("-")[0].rpartition(":")[2]
    found = re.search(r"version (\d+\.\d+\.\d+)", seen.ran("ctk").out)
    return found[1] if found else None


# ---------------------------------------------------------------- nvidia-smi


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One line of ``nvidia-smi -q``: of which GPU, under which headings, its name and value."""

    gpu: str
    path: tuple[str, ...]
    value: str

    @property
    def quoted(self) -> str:
        """As evidence."""
        return f"nvidia-smi -q: GPU {self.gpu}: {' / '.join(self.path)}: {self.value}"


def readings(seen: Observed) -> Iterator[Reading]:
    """What ``nvidia-smi -q`` says of each GPU."""
    gpu, headings = "", list[tuple[int, str]]()
    for line in seen.ran("smi").out.splitlines():
        if found := re.match(r"GPU ([0-9A-Fa-f:.]+)\s*$", line):
            gpu, headings = found[1], []
            continue
        indent = len(line) - len(line.lstrip())
        if not gpu or not indent:
            continue
        headings = [heading for heading in headings if heading[0] < indent]
        name, colon, value = line.partition(" : ")
        if colon:
            path = (*(heading[1] for heading in headings), name.strip())
            yield Reading(gpu=gpu, path=path, value=value.strip())
        else:
            headings.append((indent, line.strip().rstrip(":")))


# ---------------------------------------------------------------- the kernel log


@dataclass(frozen=True, kw_only=True)
class Log:
    """What the kernel wrote about the driver since it started, oldest first."""

    source: str
    entries: tuple[str, ...]

    def with_any(self, *patterns: str) -> tuple[str, ...]:
        """The entries that match one of these."""
        return tuple(entry for entry in self.entries if any(re.search(p, entry) for p in patterns))

    def quote(self, entries: tuple[str, ...], most: int = 3) -> tuple[str, ...]:
        """The last of these entries as evidence, and how many there are."""
        shown = tuple(f"{self.source}: {' '.join(entry.split())}" for entry in entries[-most:])
        more = len(entries) - len(shown)
        return (*shown, f"{self.source}: {more} more like this") if more > 0 else shown


def log(seen: Observed) -> Log | None:
    """The kernel log of this boot; ``None`` where it cannot be read."""
    journal, ring = seen.ran("journal"), seen.ran("dmesg")
    if entries := tuple(reversed(_entries(journal.out))):
        return Log(source="journalctl -k", entries=entries)
    found = tuple(entry for entry in _entries(ring.out) if re.search(LOG_PATTERN, entry))
    if found or (ring.ok and not seen.contained):
        return Log(source="dmesg", entries=found)
    # Without the right to read it, journalctl says as little as where there is nothing to say.
    said_nothing = journal.rc in (0, 1) and not journal.err.strip()
    if said_nothing and seen.root and not seen.contained:
        return Log(source="journalctl -k", entries=())
    return None


def _entries(text: str) -> tuple[str, ...]:
    """The entries of a log: a line that begins with blanks belongs to the one before."""
    found: list[str] = []
    for line in text.splitlines():
        if line[:1].isspace() and found:
            found[-1] += "\n" + line
        elif line.strip():
            found.append(line)
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A line of ``dkms status`` about NVIDIA's module. ``kernel`` is empty where it is for none."""

    version: str
    kernel: str
    state: str
    line: str


def built(seen: Observed) -> tuple[Built, ...]:
    """What DKMS says of NVIDIA's module."""
    found = []
    for line in seen.ran("dkms").out.splitlines():
        if match := re.match(r"nvidia[\w-]*(?:/|, )([\w.~+-]+)(?:, ([^,:]+), [\w]+)?: (\w+)", line):
            version, kernel, state = match.groups()
            found.append(Built(version=version, kernel=kernel or "", state=state, line=line))
    return tuple(found)
