"""What the resolver is asked and what it answers: one set of versions that fit, or why not.

Values only. ``resolver.resolve`` makes one from the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from aiprov.catalog import OperatingSystem

Modules = Literal["open", "proprietary"]
"""NVIDIA's kernel modules: the open ones (GPL/MIT), or the proprietary ones."""

DriverSource = Literal["nvidia", "distribution"]
"""Whose driver packages: NVIDIA's CUDA repository, or the distribution's archive."""

Build = Literal["dkms", "signed"]
"""Built on the host for each kernel, or delivered built and signed by the distribution."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A host and what is wished for it. ``None`` and empty leave the choice to the resolver.

    ``gpus`` are PCI ids (``10de:2335``), one entry a device. ``switches``: whether NVSwitches are
    on the PCI bus; ``None`` goes by the GPU models. ``kernels``: the kernels (``uname -r``) that
    need modules. ``driver`` is a branch (``580``) or a version of one (``580.95.05``), ``cuda``,
    ``containerd`` and ``kubernetes`` hold at least major and minor (``13.0``). ``toolkit`` is the
    container toolkit's version. ``mok_enrolled``: the machine owner key that DKMS signs with is
    known to the firmware. ``today`` is the day that ends of life are judged by; ``None``: that of
    the catalog's newest row, so that the same question always has the same answer.
    """

    os: OperatingSystem
    architecture: str = "x86_64"
    gpus: tuple[str, ...] = ()
    switches: bool | None = None
    kernels: tuple[str, ...] = ()
    secure_boot: bool = False
    mok_enrolled: bool = False
    driver: str | None = None
    modules: Modules | None = None
    source: DriverSource | None = None
    graphics: bool = False
    cuda: tuple[str, ...] = ()
    containerd: str | None = None
    kubernetes: str | None = None
    toolkit: str | None = None
    today: date | None = None


@dataclass(frozen=True, kw_only=True)
class Driver:
    """The driver to have.

    ``branch`` (``580``) and ``version``: the exact version where one was asked for, else ``None``,
    the newest of the branch that the repository has. ``first`` is installed before all others
    (NVIDIA's pinning package), ``locked`` are at one version together, ``beside`` have versions of
    their own, ``replaced`` must not be there: other branches', flavours' and sources' packages.
    ``stream`` is dnf's module stream. ``headers`` belong to the kernels that need modules.
    ``minimum``: the oldest version of the branch that will do, where not each of it does.
    """

    branch: str
    version: str | None
    kernel_modules: Modules
    source: DriverSource
    build: Build
    first: str | None = None
    stream: str | None = None
    locked: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    minimum: str | None = None

    @property
    def packages(self) -> tuple[str, ...]:
        """All packages of the driver, in the order of installing."""
        first = (self.first,) if self.first is not None else ()
        return (*first, *self.headers, *self.beside, *self.locked)


@dataclass(frozen=True, kw_only=True)
class Cuda:
    """A CUDA toolkit to have. ``packages`` never hold one that brings a driver."""

    version: str
    packages: tuple[str, ...]
    minimum_driver: str


@dataclass(frozen=True, kw_only=True)
class Containerd:
    """The containerd line to have, and the newest config schema that it reads."""

    version: str
    config_schema: int


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """One set that fits together. ``reasons`` say why each choice fell as it did.

    ``fabric_manager``: the GPUs are joined by NVSwitches, which it must bring up. ``nvlink5``: the
    switches are of the fifth generation, which need nvlsm too. ``imex``: several hosts share
    NVLink memory. ``coherent``: Grace hosts, whose GPU memory the driver keeps to itself (CDMM).
    """

    driver: Driver | None
    cuda: tuple[Cuda, ...] = ()
    fabric_manager: bool = False
    nvlink5: bool = False
    imex: bool = False
    coherent: bool = False
    containerd: Containerd | None = None
    kubernetes: str | None = None
    warnings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    ok: Literal[True] = True


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Two facts or wishes that exclude each other, and the way out."""

    what: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Nothing fits. ``nearest``: the wishes changed as little as makes them work, in words."""

    conflicts: tuple[Conflict, ...]
    nearest: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    ok: Literal[False] = False
