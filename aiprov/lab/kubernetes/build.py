"""Kubernetes built and packed, once per version and recipe: kept in the lab's cache.

A build is finished when its folder is renamed into place; one that was interrupted begins again,
with what Go's cache has. Test processes that ask at the same time wait for the first.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from aiprov.errors import LabError
from aiprov.lab.kubernetes import contents, packages, source
from aiprov.lab.kubernetes.source import SOURCE, UPSTREAM
from aiprov.lab.state import cache_directory, locked
from aiprov.lab.vendor import deb

COMMANDS = [
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
]
_OWN = ("crictl", "coredns", "device_plugin")
_PROGRAMS = Path(__file__).parent / "programs"
_STAMPED = (
    "k8s.io/kubernetes/vendor/k8s.io/component-base/version",
    "k8s.io/kubernetes/vendor/k8s.io/client-go/pkg/version",
)
"""What reports the version. By other paths than the vendored ones nothing would be set, and
kubeadm refuses a kubelet that calls itself v0.0.0."""
_VERSION = re.compile(r"1\.2[0-9]\.[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Release:
    """A folder with image archives (``images/PART/*.tar``) and packages (``packages/*.deb``)."""

    folder: Path

    @property
    def images(self) -> list[Path]:
        """Archives in the format of ``docker save``, one image each: for all nodes those of
        ``node``, for control planes ``control-plane`` too."""
        return sorted((self.folder / "images").glob("*/*.tar"))

    @property
    def packages(self) -> list[Path]:
        return sorted((self.folder / "packages").glob("*.deb"))


def ensure(
    versions: Iterable[str], say: Callable[[str], object] = lambda text: None
) -> dict[str, Release]:
    """The releases of these versions, built where they are missing; ``common`` is what all share.

    Every version but ``UPSTREAM`` is its source with another number, and its packages say so.
    Raises ``LabError`` for what is no version that the source can pass for.
    """
    wanted = ["common", *versions]
    for version in wanted[1:]:
        check(version)
    home = cache_directory() / "kubernetes"
    home.mkdir(parents=True, exist_ok=True)
    own = recipe()
    with locked(home / ".lock"):
        return {name: _release(home, name, own, say) for name in wanted}


def check(version: str) -> None:
    """Raise ``LabError`` unless the lab can make this version."""
    if not _VERSION.fullmatch(version):
        raise LabError(
            f"the lab has no Kubernetes {version}",
            hint=f"it has {UPSTREAM}, and can call the same source 1.20.3 or 1.21.0",
        )


def recipe() -> str:
    """A hash of all that a release depends on: how it is packed is code, so of the code too."""
    vendor = Path(deb.__file__).parent
    here = Path(__file__).parent
    paths = [here / name for name in ("build.py", "contents.py", "packages.py")]
    paths += [path for path in _PROGRAMS.rglob("*") if path.is_file()]
    paths += [vendor / "deb.py", vendor / "package.py", vendor.parent / "images.py"]
    told = json.dumps([source.recipe(), source.CONTENTS])
    digest = hashlib.sha256(told.encode())
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def ldflags(version: str) -> str:
    """What makes the programs say that they are this version."""
    major, minor, _ = version.split(".")
    told = {
        "gitVersion": f"v{version}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitCommit": "aiprov-lab" if version == UPSTREAM else f"aiprov-lab-stamped-{UPSTREAM}",
        "gitTreeState": "clean",
        "buildDate": "2021-01-13T00:00:00Z",
    }
    words = [f"-X {package}.{key}={value}" for package in _STAMPED for key, value in told.items()]
    return " ".join(["-s", "-w", *words])


def _release(home: Path, name: str, own: str, say: Callable[[str], object]) -> Release:
    place = home / f"{name}-{own}"
    if not place.exists():
        tree = source.ensure(home, say)
        began = time.monotonic()
        if name != "common":
            say(f"building Kubernetes {name}: minutes the first time, once on this machine")
        scratch = home / f".{name}.building"
        if scratch.exists():
            shutil.rmtree(scratch)
        (scratch / "packages").mkdir(parents=True)
        source.install(tree)
        programs = _own_programs(tree) if name == "common" else _commands(tree, name)
        for archive, data in contents.archives(tree, programs, name):
            path = scratch / "images" / f"{archive}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for package in packages.packages(tree, programs, name):
            (scratch / "packages" / deb.filename(package)).write_bytes(deb.write(package))
        scratch.rename(place)
        for other in home.glob(f"{name}-*"):
            if other != place:
                shutil.rmtree(other)
        say(f"Kubernetes {name} is built after {time.monotonic() - began:.0f} s")
    return Release(folder=place)


def _commands(tree: Path, version: str) -> dict[str, bytes]:
    """Upstream's programs by name, with this version in them."""
    targets = [f"./cmd/{command}" for command in COMMANDS]
    return _built(tree, targets, ldflags(version), COMMANDS)


def _own_programs(tree: Path) -> dict[str, bytes]:
    """The lab's own programs, built in the source's tree against what it brings with it."""
    place = tree / SOURCE.lstrip("/") / "cmd" / "aiprov-lab"
    if place.exists():
        shutil.rmtree(place)
    for name in _OWN:
        shutil.copytree(_PROGRAMS / name, place / name)
    static = ("gcc", "-Os", "-static", "-s", "-o", "/build/pause", "/build/pause.c")
    shutil.copy(_PROGRAMS / "pause.c", tree / "build" / "pause.c")
    source.inside(tree, static)
    found = _built(tree, [f"./cmd/aiprov-lab/{name}" for name in _OWN], "-s -w", _OWN)
    return {**found, "pause": (tree / "build/pause").read_bytes()}


def _built(
    tree: Path, targets: Iterable[str], flags: str, names: Iterable[str]
) -> dict[str, bytes]:
    out = tree / "build/out"
    if out.exists():
        shutil.rmtree(out)
    out.mkdir()
    go = ("go", "build", "-trimpath", "-o", "/build/out/", "-ldflags", flags, *targets)
    source.inside(tree, ("env", f"--chdir={SOURCE}", *go))
    found = {name: (out / name).read_bytes() for name in names}
    shutil.rmtree(out)
    return found


def digest(versions: Iterable[str]) -> str:
    """A hash for an archive of these versions, which is another one when any of it changes."""
    told = json.dumps([recipe(), sorted(set(versions))])
    return hashlib.sha256(told.encode()).hexdigest()[:12]
