"""Base trees: a plain Debian, made once per recipe and then copied for every host.

They lie outside any checkout, named by a hash of their recipe, and are renamed into place when they
are finished: a tree that exists is whole. Building runs in its own mount and process namespaces,
which end with the builder, so an interrupted build leaves nothing but a folder to sweep.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from aiprov.errors import LabError
from aiprov.lab import proxy, sources
from aiprov.lab.machine import run
from aiprov.lab.state import cache_directory, locked

SUITES = ("bookworm", "trixie")
_PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,kmod,openssh-server,iproute2,ca-certificates,sudo,pciutils,"
    "procps,netbase,"
    "python3-minimal,python3-apt"
)
_APT_GET = ("apt-get", "-y", "-o", "Dpkg::Options::=--force-confnew")
_DOCUMENTATION = "/usr/share/doc /usr/share/man /usr/share/locale /usr/share/info"
_FILES = {
    # Hosts are thrown away: losing the last seconds of a crashed machine costs nothing.
    "etc/dpkg/dpkg.cfg.d/aiprov-lab": "force-unsafe-io\n"
    + "".join(f"path-exclude={path}/*\n" for path in _DOCUMENTATION.split()),
    "etc/apt/apt.conf.d/02aiprov-lab": (
        'Acquire::Languages "none";\nAcquire::http::Timeout "300";\n'
    ),
    "etc/sudoers.d/aiprov-lab": "ops ALL=(ALL:ALL) ALL\nadmin ALL=(ALL:ALL) NOPASSWD: ALL\n",
    "etc/resolv.conf": "# No name server: packages come through the lab's proxy.\n",
    "etc/ssh/sshd_config.d/aiprov-lab.conf": "PermitRootLogin prohibit-password\n",
}
_STEPS: tuple[tuple[str, ...], ...] = (
    (*_APT_GET, "update"),
    (*_APT_GET, "dist-upgrade"),
    ("useradd", "--create-home", "--shell", "/bin/bash", "ops"),
    ("useradd", "--create-home", "--shell", "/bin/bash", "admin"),
    ("systemctl", "enable", "systemd-networkd.service", "ssh.service"),
    ("systemctl", "disable", "apt-daily.timer", "apt-daily-upgrade.timer"),
    ("systemctl", "mask", "console-getty.service"),
    (*_APT_GET, "clean"),
)
_NO_PYTHON: tuple[tuple[str, ...], ...] = (
    (*_APT_GET, "purge", "--auto-remove", "^python3.*", "^libpython3.*"),
)


def recipe(suite: str) -> str:
    """The name of the base tree that this recipe makes."""
    parts = (_PACKAGES, _FILES, _STEPS, _NO_PYTHON, sources.deb822(sources.debian(suite)))
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{suite}-{digest[:12]}"


def ensure(suite: str, *, python: bool = True, say: Callable[[str], object] = print) -> Path:
    """The base tree of a suite, built if this machine does not have it yet."""
    if suite not in SUITES:
        raise LabError(f"no lab hosts of suite {suite!r}", hint=f"one of: {', '.join(SUITES)}")
    name = recipe(suite) if python else f"{recipe(suite)}-nopython"
    place = cache_directory() / "base" / name
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.parent / f".{name}.lock"):
        if place.exists():
            return place
        scratch = place.parent / f".{name}.building"
        if scratch.exists():
            shutil.rmtree(scratch)
        say(f"building the base {name}: a minute or two, once on this machine")
        if python:
            _build(suite, scratch)
        else:
            run(["cp", "-a", "--reflink=auto", str(ensure(suite, say=say)), str(scratch)])
            inside(scratch, _NO_PYTHON)
        scratch.rename(place)
    return place


def sweep() -> None:
    """Remove what interrupted builds left, unless a build is running."""
    for scratch in (cache_directory() / "base").glob(".*.building"):
        lock = scratch.with_suffix(".lock")
        try:
            with locked(lock, wait=False):
                if scratch.exists():  # the builder may have been done
                    shutil.rmtree(scratch)
        except LabError:
            continue


def isolated(argv: tuple[str, ...]) -> list[str]:
    """A command whose mounts and processes end with this process, even if it is killed."""
    wall = ["--mount", "--propagation=slave", "--pid", "--fork", "--kill-child"]
    return ["setpriv", "--pdeathsig=KILL", "unshare", *wall, *argv]


def _build(suite: str, tree: Path) -> None:
    archives = sources.debian(suite)
    with proxy.serving(archives, cache_directory() / "packages") as address:
        env = {"http_proxy": f"http://{address}", "DEBIAN_FRONTEND": "noninteractive"}
        mirror = sources.plain_http(archives[0].uri)
        options = ["--variant=minbase", f"--include={_PACKAGES}"]
        run(isolated(("debootstrap", *options, suite, str(tree), mirror)), env=env)
        for name, text in _FILES.items():
            path = tree / name
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (tree / "etc/sudoers.d/aiprov-lab").chmod(0o440)
        (tree / "etc/apt/sources.list").unlink(missing_ok=True)
        listing = tree / "etc/apt/sources.list.d/debian.sources"
        listing.write_text(sources.deb822(archives), encoding="utf-8")
        inside(tree, _STEPS, env)
    for pattern in ("etc/ssh/ssh_host_*", "var/log/*.log", "var/cache/apt/*.bin"):
        for path in tree.glob(pattern):
            path.unlink()
    for name in _DOCUMENTATION.split():
        shutil.rmtree(tree / name.lstrip("/"))
        (tree / name.lstrip("/")).mkdir()


def inside(
    tree: Path, steps: tuple[tuple[str, ...], ...], env: dict[str, str] | None = None
) -> None:
    """Run programs in a tree, one after the other, as on a Debian of its own."""
    for step in steps:
        wall = (f"--mount-proc={tree}/proc", "chroot", str(tree), *step)
        run(isolated(wall), env={"DEBIAN_FRONTEND": "noninteractive", **(env or {})})
