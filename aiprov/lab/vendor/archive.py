"""The stand-in repositories as a folder: built once for their definitions, kept in the cache.

The folder is laid out by the vendors' host names (``nvidia.github.io/…``), so an address of a
stand-in is the vendor's with the lab's gateway before it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiprov.lab import builtin
from aiprov.lab.state import cache_directory, locked
from aiprov.lab.vendor import apt, dnf, places, signing
from aiprov.lab.vendor.package import Package
from aiprov.lab.vendor.packages import cuda, dcgm, driver_deb, kernel, rdma, toolkit
from aiprov.lab.vendor.signing import SigningKey

Kind = Literal["apt", "dnf", "docker"]

_LOCK = ".lock"
"""One for all kinds: who has built ends gpg's agent, which signs for all of them."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A built set of repositories: its folder, and the public key that signed it (armoured)."""

    folder: Path
    key: str


def ensure(
    kind: Kind, *, broken: Iterable[str] = (), say: Callable[[str], object] = lambda text: None
) -> Archive:
    """The repositories of a kind, built if this machine does not have them yet.

    ``broken`` are versions of the driver to publish beside the others whose modules never build.
    Raises ``LabError`` where a tool is missing or fails.
    """
    home = cache_directory() / "vendor"
    home.mkdir(parents=True, exist_ok=True)
    key = signing.key(home / "key")
    wanted = tuple(sorted(set(broken)))
    place = home / f"{kind}-{_recipe(kind, wanted, key)}"
    with locked(home / _LOCK):
        if not place.exists():
            say(f"building the stand-in {kind} repositories: seconds, once on this machine")
            scratch = home / f".{kind}.building"
            if scratch.exists():
                shutil.rmtree(scratch)
            scratch.mkdir()
            _build(kind, scratch, wanted, key)
            scratch.rename(place)
    return Archive(folder=place, key=key.armoured)


def ensure_kubernetes(
    versions: Iterable[str], say: Callable[[str], object] = lambda text: None
) -> Archive:
    """Kubernetes' repositories with these versions, built if this machine does not have them yet.

    Each minor version has its own, as at the vendor. Raises ``LabError`` where a build fails.
    """
    # Not at the top: it fetches through the lab's proxy, which serves these archives.
    from aiprov.lab.kubernetes import build

    home = cache_directory() / "vendor"
    home.mkdir(parents=True, exist_ok=True)
    key = signing.key(home / "key")
    wanted = sorted(set(versions))
    releases = build.ensure(wanted, say)
    place = home / f"kubernetes-{build.digest([*wanted, key.fingerprint])}"
    with locked(home / _LOCK):
        if not place.exists():
            scratch = home / ".kubernetes.building"
            if scratch.exists():
                shutil.rmtree(scratch)
            minors: dict[str, list[Path]] = {}
            for version in wanted:
                minor = version.rpartition(".")[0]
                found = minors.setdefault(minor, list(releases["common"].packages))
                found += releases[version].packages
            for minor, paths in minors.items():
                folder = scratch / places.KUBERNETES / "core:" / "stable:" / f"v{minor}" / "deb"
                apt.write_flat(folder, map(apt.entry_of, paths), key)
            signing.rest(key)
            scratch.rename(place)
    return Archive(folder=place, key=key.armoured)


def apt_packages(os: str, broken: tuple[str, ...] = ()) -> list[Package]:
    """All that NVIDIA's places.CUDA repository holds for an OS (``debian12``)."""
    family: driver_deb.Family = "debian" if os in places.DEBIANS else "ubuntu"
    return [
        *driver_deb.packages(family, broken),
        *cuda.deb_packages(),
        *dcgm.deb_packages(),
        *rdma.deb_packages(),
    ]


def _recipe(kind: Kind, broken: tuple[str, ...], key: SigningKey) -> str:
    """A hash of all that the result depends on: the definitions are code, so of the code too."""
    told = [kind, key.fingerprint]
    own = Path(__file__).resolve().parent
    if kind == "docker":
        paths = [own / name for name in ("apt.py", "deb.py", "docker.py", "package.py")]
    else:
        told += [*broken, kernel.running(), *builtin.modules()]
        catalog = own.parents[1] / "catalog" / "data" / "nvidia.toml"
        simulated = own.parent / "simulated" / "nvidia_smi.py"
        paths = [path for path in own.rglob("*") if path.is_file()] + [catalog, simulated]
    digest = hashlib.sha256(json.dumps(told).encode())
    for path in sorted(path for path in paths if "__pycache__" not in path.parts):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _build(kind: Kind, folder: Path, broken: tuple[str, ...], key: SigningKey) -> None:
    try:
        if kind == "apt":
            _build_apt(folder, broken, key)
        elif kind == "dnf":
            dnf.build(folder, broken, key)
        else:
            # Not at the top: it fetches through the lab's proxy, which serves these archives.
            from aiprov.lab.vendor import docker

            docker.build(folder, key)
    finally:
        signing.rest(key)


def _build_apt(folder: Path, broken: tuple[str, ...], key: SigningKey) -> None:
    for systems in (places.DEBIANS, places.UBUNTUS):
        first = folder / places.CUDA / systems[0] / "x86_64"
        apt.write_flat(first, map(apt.entry, apt_packages(systems[0], broken)), key)
        for other in systems[1:]:
            (folder / places.CUDA / other).symlink_to(systems[0])
    apt.write_flat(
        folder / places.TOOLKIT / "deb" / "amd64", map(apt.entry, toolkit.deb_packages()), key
    )
    apt.write_flat(folder / places.KERNELS, map(apt.entry, kernel.packages()), key)
    apt.write_flat(folder / places.GDRCOPY, map(apt.entry, rdma.gdrcopy_packages()), key)
    for system in (*places.DEBIANS, *places.UBUNTUS):
        place = folder / places.DOCA / _doca_name(system) / "x86_64"
        apt.write_flat(place, map(apt.entry, rdma.doca_packages()), key)


def _doca_name(system: str) -> str:
    """An OS as places.DOCA's repository names it: ``ubuntu24.04``, ``debian12``."""
    name, number = system[:6], system[6:]
    return f"{name}{number[:2]}.{number[2:]}" if name == "ubuntu" else system
