"""The tree in which Kubernetes is built: a Debian 12 with its source, Go, and what images hold.

Everything comes from Debian by the machine's own apt sources. The source package ``kubernetes`` of
Debian 12 is upstream 1.20.2 with all that it needs, so nothing else is fetched. The tree stays in
the lab's cache with Go's own cache in it: another version of the same source only links anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from aiprov.lab import base, proxy, sources
from aiprov.lab.machine import run
from aiprov.lab.state import cache_directory

SUITE = "bookworm"
UPSTREAM = "1.20.2"
"""The version whose source Debian 12 has; it calls it ``1.20.5+really1.20.2``."""
SOURCE = "/build/go/src/k8s.io/kubernetes"
"""Where the source is, from inside the tree."""
_TOOLS = [
    "golang-1.19-go",
    "golang-github-modern-go-reflect2-dev",
    "dpkg-dev",
    "gcc",
    "libc6-dev",
    "make",
    "git",
    "rsync",
    "which",
]
CONTENTS = [
    "etcd-server",
    "etcd-client",
    "iptables",
    "conntrack",
    "busybox",
    "containernetworking-plugins",
]
"""Debian's packages whose files go into images and packages."""
_INSTALL = ("apt-get", "-y", "-qq", "install", "--no-install-recommends")
_REFLECT = "github.com/modern-go/reflect2"
_STEPS: tuple[tuple[str, ...], ...] = (
    ("apt-get", "-qq", "update"),
    (*_INSTALL, *_TOOLS),
    ("env", "--chdir=/build", "apt-get", "-qq", "--download-only", "source", "kubernetes"),
)
_PREPARE: tuple[tuple[str, ...], ...] = (
    # reflect2 1.0.1 of the source panics when built by Go 1.18 or later.
    ("rm", "-rf", f"{SOURCE}/vendor/{_REFLECT}"),
    ("cp", "-r", f"/usr/share/gocode/src/{_REFLECT}", f"{SOURCE}/vendor/{_REFLECT}"),
    # The makefiles ask git where they are, and the API server needs the file that they generate.
    ("git", "init", "-q", SOURCE),
    ("make", "-C", SOURCE, "gen_openapi"),
)
ENVIRONMENT = {
    "PATH": "/usr/lib/go-1.19/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "GOPATH": "/build/go",
    "GOCACHE": "/build/cache",
    "GOFLAGS": "",
    "GO111MODULE": "off",
    "GOPROXY": "off",
    "CGO_ENABLED": "0",
}


def recipe() -> str:
    """A hash of what makes the tree."""
    parts = (base.recipe(SUITE), _STEPS, _PREPARE, ENVIRONMENT)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def ensure(home: Path, say: Callable[[str], object]) -> Path:
    """The tree, made if this machine does not have it yet. The caller holds the cache's lock."""
    place = home / f"tree-{recipe()}"
    if not place.exists():
        began = time.monotonic()
        say("fetching the source of Kubernetes and its tools: a minute, once on this machine")
        scratch = home / ".tree.building"
        if scratch.exists():
            shutil.rmtree(scratch)
        run(["cp", "-a", "--reflink=auto", str(base.ensure(SUITE, say=say)), str(scratch)])
        _fill(scratch)
        scratch.rename(place)
        for other in home.glob("tree-*"):
            if other != place:
                shutil.rmtree(other)
        say(f"the source of Kubernetes is there after {time.monotonic() - began:.0f} s")
    return place


def install(tree: Path) -> None:
    """Have Debian's packages in the tree whose files go into images and packages."""
    done = tree / "build/contents"
    if not done.exists() or done.read_text(encoding="ascii").split() != CONTENTS:
        with proxy.serving(sources.debian(SUITE), cache_directory() / "packages") as address:
            env = {**ENVIRONMENT, "http_proxy": f"http://{address}"}
            base.inside(tree, (_STEPS[0], (*_INSTALL, *CONTENTS)), env)
        done.write_text("\n".join(CONTENTS), encoding="ascii")


def inside(tree: Path, argv: tuple[str, ...]) -> None:
    """Run a program in the tree. Raises ``LabError`` with what it said where it fails."""
    base.inside(tree, (argv,), ENVIRONMENT)


def said(tree: Path, argv: tuple[str, ...]) -> str:
    """What a program in the tree prints. Raises ``LabError`` where it fails."""
    wall = (f"--mount-proc={tree}/proc", "chroot", str(tree), *argv)
    return run(base.isolated(wall), env=ENVIRONMENT)


def _fill(tree: Path) -> None:
    archives = sources.debian(SUITE)
    listing = sources.deb822(archives).replace("Types: deb\n", "Types: deb deb-src\n")
    (tree / "etc/apt/sources.list.d/debian.sources").write_text(listing, encoding="utf-8")
    refuses = tree / "usr/sbin/policy-rc.d"
    refuses.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")  # no daemon starts here
    refuses.chmod(0o755)
    (tree / "build").mkdir()
    with proxy.serving(archives, cache_directory() / "packages") as address:
        base.inside(tree, _STEPS, {**ENVIRONMENT, "http_proxy": f"http://{address}"})
    description = next((tree / "build").glob("kubernetes_*.dsc")).name
    (tree / SOURCE.lstrip("/")).parent.mkdir(parents=True)
    unpack = ("dpkg-source", "--no-check", "-x", f"/build/{description}", SOURCE)
    base.inside(tree, (unpack, *_PREPARE), ENVIRONMENT)
