"""NVIDIA's driver: branches, which GPUs and kernels each serves, and its packages on each OS.

Rows lie in ``data/nvidia.toml`` and ``data/driver_packages.toml``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from functools import cache
from typing import Literal

from aiprov.catalog import OperatingSystem, Row, _numbers, _rows
from aiprov.catalog.gpus import Architecture
from aiprov.catalog.resolution import Build, DriverSource, Modules
from aiprov.errors import CatalogError

_KERNEL = re.compile(r"\d+\.\d+(?=[.-]|\Z)(\.\d+)*")

Kind = Literal["long-term", "production", "new-feature", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Branch(Row):
    """A driver branch. ``latest``: its newest known version, ``cuda``: the newest CUDA major on it.

    No ``eol``: it is not known. Such a branch is a default only where nothing else serves.
    """

    name: str
    kind: Kind
    cuda: int
    latest: str | None = None
    eol: date | None = None

    @property
    def number(self) -> int:
        """For comparing branches."""
        return int(self.name)


@dataclass(frozen=True, kw_only=True)
class GpuSupport(Row):
    """What drives the GPUs of an architecture, and which CUDA toolkits compile for it.

    ``None`` is no limit. ``newest_branch`` is the last that serves it at all.
    """

    name: Architecture
    modules: list[Modules]
    oldest_branch: str | None = None
    newest_branch: str | None = None
    first_cuda: str | None = None
    last_cuda: str | None = None


@dataclass(frozen=True, kw_only=True)
class OpenOnly(Row):
    """From this branch on there are no proprietary modules."""

    branch: str


@dataclass(frozen=True, kw_only=True)
class ModelMinimum(Row):
    """GPU models that need at least this driver version."""

    pci_ids: list[str]
    driver: str


@dataclass(frozen=True, kw_only=True)
class KernelLimit(Row):
    """Modules of the branches do not build on these kernels, before ``mended``.

    ``kernels``: ``7.0`` means from that line on, ``6.12.97`` means the line 6.12 from there on.
    """

    branches: list[str]
    kernels: list[str]
    mended: str | None = None

    def concerns(self, kernel: str) -> bool:
        """Whether a kernel (``uname -r``) is one of them."""
        release = kernel_release(kernel)
        line = release[:2]
        return any(
            line >= first if len(first) == 2 else line == first[:2] and release >= first
            for first in map(_numbers, self.kernels)
        )


@dataclass(frozen=True, kw_only=True)
class Fault(Row):
    """What is wrong with versions of a branch, ``since`` to ``until``, both included."""

    branch: str
    since: str
    until: str
    text: str


@dataclass(frozen=True, kw_only=True)
class PackageSet(Row):
    """The driver's packages on an OS, as name patterns; the data file says what they hold.

    ``branches`` are those it has, or else all from ``oldest`` to ``newest``.
    """

    os: list[str]
    from_: DriverSource
    modules: Modules
    build: Build
    locked: list[str]
    os_versions: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    oldest: str | None = None
    newest: str | None = None
    asked_only: bool = False
    first: str | None = None
    stream: str | None = None
    beside: list[str] = field(default_factory=list)
    graphics: list[str] = field(default_factory=list)
    fabric: list[str] = field(default_factory=list)
    fabric_x86_64: list[str] = field(default_factory=list)
    nvlink5: list[str] = field(default_factory=list)
    imex: list[str] = field(default_factory=list)
    metas: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)

    def has(self, row: Branch) -> bool:
        """Whether the branch is among them."""
        if self.branches:
            return row.name in self.branches
        oldest, newest = self.oldest or row.name, self.newest or row.name
        return int(oldest) <= row.number <= int(newest)


@dataclass(frozen=True, kw_only=True)
class Headers(Row):
    """What modules are built with.

    ``suffix``: for kernels whose names end so. ``kernel``: for kernels from this line on.
    """

    os: list[str]
    packages: list[str]
    os_versions: list[str] = field(default_factory=list)
    suffix: str = ""
    kernel: str | None = None

    def serves(self, kernel: str | None) -> bool:
        """Whether the row is for this kernel; ``None``: for hosts without a known one."""
        if kernel is None:
            return not self.suffix and self.kernel is None
        old = self.kernel is not None and kernel_line(kernel) < _numbers(self.kernel)
        return kernel.endswith(self.suffix) and not old


@dataclass(frozen=True, kw_only=True)
class Flavour(Row):
    """The flavours of Ubuntu's kernels, as its meta packages are named."""

    os_version: str
    kernel: str
    names: list[str]
    own: str
    newer: str


@cache
def branches() -> tuple[Branch, ...]:
    """All driver branches, oldest first."""
    return _rows(Branch, "nvidia", "branch")


def branch(version: str) -> Branch:
    """The branch of a driver version or branch name.

    Raises ``CatalogError`` for one without a row; the hint names the nearest.
    """
    numbers = version.split(".")
    for row in branches():
        if row.name == numbers[0] and all(part.isdigit() for part in numbers):
            return row
    known = [row.name for row in branches()]
    near = get_close_matches(version, known, n=2, cutoff=0.5)
    mean = f"did you mean {' or '.join(near)}? " if near else ""
    raise CatalogError(
        f"driver {version} is of no branch that the catalog knows",
        hint=f"{mean}branches are {', '.join(known)}",
    )


@cache
def support(architecture: str) -> GpuSupport:
    """What drives an architecture. Raises ``CatalogError`` for one without a row."""
    for row in _rows(GpuSupport, "nvidia", "architecture"):
        if row.name == architecture:
            return row
    raise CatalogError(
        f"nothing is known of architecture {architecture!r}", hint="see aiprov/catalog/data"
    )


@cache
def open_only_since() -> int:
    """The first branch without proprietary modules."""
    return min(int(row.branch) for row in _rows(OpenOnly, "nvidia", "open_only"))


@cache
def least_driver(pci_id: str) -> str | None:
    """The driver version that a GPU model needs beyond what its architecture does."""
    for row in _rows(ModelMinimum, "nvidia", "minimum"):
        if pci_id in row.pci_ids:
            return row.driver
    return None


def kernel_limits(name: str, kernel: str) -> tuple[KernelLimit, ...]:
    """The limits of a branch that a kernel (``uname -r``) is subject to."""
    return tuple(row for row in _limits(name) if row.concerns(kernel))


@cache
def _limits(name: str) -> tuple[KernelLimit, ...]:
    return tuple(row for row in _rows(KernelLimit, "nvidia", "kernel") if name in row.branches)


def kernel_line(kernel: str) -> tuple[int, ...]:
    """Major and minor of a kernel: (6, 8) of ``6.8.0-60-generic``.

    Raises ``CatalogError`` for what is no kernel's name.
    """
    return kernel_release(kernel)[:2]


def kernel_release(kernel: str) -> tuple[int, ...]:
    """A kernel's version in full: (6, 12, 117) of ``6.12.117+deb13-amd64``.

    Raises ``CatalogError`` for what is no kernel's name.
    """
    found = _KERNEL.match(kernel)
    if found is None:
        raise CatalogError(
            f"{kernel!r} is not a kernel's name", hint="as uname -r says it: 6.8.0-60-generic"
        )
    return _numbers(found[0])


def faults(name: str, version: str | None) -> tuple[Fault, ...]:
    """What is known to be wrong with a version; of a branch, with its newest known one."""
    at = _numbers(version or branch(name).latest or "0")
    return tuple(
        row
        for row in _faults()
        if row.branch == name and _numbers(row.since) <= at <= _numbers(row.until)
    )


@cache
def _faults() -> tuple[Fault, ...]:
    return _rows(Fault, "nvidia", "fault")


@cache
def package_sets(os: OperatingSystem) -> tuple[PackageSet, ...]:
    """All driver packages that there are for an OS."""
    return tuple(
        row
        for row in _rows(PackageSet, "driver_packages", "set")
        if os.id in row.os and os.version in (row.os_versions or [os.version])
    )


def header_packages(os: OperatingSystem, kernels: tuple[str, ...]) -> tuple[str, ...]:
    """What building modules for these kernels takes; without kernels, the tools alone."""
    found: list[str] = []
    for kernel in kernels or (None,):
        row = next(row for row in _headers(os) if row.serves(kernel))
        found += [name.format(kernel=kernel) for name in row.packages if kernel or "{" not in name]
    return tuple(dict.fromkeys(found))


@cache
def _headers(os: OperatingSystem) -> tuple[Headers, ...]:
    return tuple(
        row
        for row in _rows(Headers, "driver_packages", "headers")
        if os.id in row.os and os.version in (row.os_versions or [os.version])
    )


def flavour(os: OperatingSystem, kernel: str) -> str | None:
    """The flavour of an Ubuntu kernel as its meta packages name it: ``generic-hwe-24.04``.

    ``None`` for kernels that Ubuntu has no signed modules for.
    """
    name = kernel.rpartition("-")[2]
    for row in _flavours():
        if (os.id, os.version) == ("ubuntu", row.os_version) and name in row.names:
            newer = kernel_line(kernel) > _numbers(row.kernel)
            return (row.newer if newer else row.own).format(flavour=name)
    return None


@cache
def _flavours() -> tuple[Flavour, ...]:
    return _rows(Flavour, "driver_packages", "flavour")
