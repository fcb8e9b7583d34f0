"""One scenario with a resource of every kind that a Debian lab host can have.

``scenario()`` builds what has to lie on the host beforehand: unpack ``archive`` (a tar) at ``/``
and run the ``prepare`` commands, as root. ``resources()`` is what it is then asked to have. Any
engine that realises it leaves a host whose next plan is empty.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from aiprov.plain_files import grub_file
from aiprov.resources import (
    STAGED,
    Absent,
    AptRepository,
    Argv,
    Command,
    Directory,
    File,
    Group,
    KernelArgument,
    KernelModule,
    Link,
    Merge,
    Package,
    PathExists,
    Reboot,
    Resource,
    Secret,
    Service,
    Sysctl,
    User,
)
from tests.lab import local_archive

ARCHIVE = "/srv/aiprov-archive"
HOME = "/etc/aiprov-every"
REBOOT_FLAG = "/run/aiprov-wants-reboot"
SECRET = "s3cret-never-shown-Zq8"
"""Must be found nowhere but in ``SECRET_FILE``."""

GIVEN = f"umlaut ü, {SECRET} and no newline"
"""What a command is given on its standard input."""

SECRET_FILE = f"{HOME}/token"
UNIT = "aiprov-every.service"

PACKAGES = {
    "aiprov-probe": ("1.0-1", "1.1-1", "1.1-2", "2.0-1"),
    "aiprov-anything": ("3.1-1",),
    "aiprov-relic": ("0.9-1",),
}

_OLD_UNIT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
_UNIT = f"""[Unit]
Description=aiprov test service
[Service]
ExecStart=/bin/sh -c '! grep -q broken {HOME}/daemon.conf && exec sleep infinity'
[Install]
WantedBy=multi-user.target
"""
_UPDATE_GRUB = """#!/bin/sh
set -e
for part in /etc/default/grub.d/*.cfg; do
    if [ -e "$part" ]; then . "$part"; fi
done
mkdir -p /boot/grub
echo "linux /vmlinuz root=/dev/sda1 ro $GRUB_CMDLINE_LINUX" >/boot/grub/grub.cfg
"""
_GONE = grub_file(KernelArgument(argument="aiprov.gone=1"))

_ON_HOST: dict[str, tuple[str, int]] = {
    "/usr/sbin/update-grub": (_UPDATE_GRUB, 0o755),
    _GONE.path: (str(_GONE.content), 0o644),
    "/usr/lib/systemd/system/aiprov-old.service": (_OLD_UNIT, 0o644),
    "/usr/lib/systemd/system/aiprov-masked.service": (_OLD_UNIT, 0o644),
    # A guest sees no /sys/module, so the module that it asks for is listed as built in.
    f"/usr/lib/modules/{os.uname().release}/modules.builtin": (
        "kernel/fs/overlayfs/overlay.ko\n",
        0o644,
    ),
    f"{HOME}/leftover": ("to be removed\n", 0o644),
    f"{HOME}/shared.json": ('{"foreign": [1, 2], "owned": {"b": 2}}\n', 0o644),
}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What has to lie on a host beforehand. ``key`` is the archive's public key."""

    archive: bytes
    prepare: tuple[Argv, ...]
    key: str


def scenario(work: Path) -> Scenario:
    """Build the scenario in an empty folder (a second or two: it makes a key)."""
    built = local_archive.build(work, PACKAGES)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(built.folder.iterdir()):
            _add(tar, f"{ARCHIVE}/{path.name}", path.read_bytes(), 0o644)
        for name, (text, mode) in _ON_HOST.items():
            _add(tar, name, text.encode(), mode)
    prepare: tuple[Argv, ...] = (
        ("mkdir", "-p", "/srv/aiprov-empty"),
        ("dpkg", "-i", f"{ARCHIVE}/aiprov-relic_0.9-1_all.deb"),
        ("update-grub",),
        ("systemctl", "daemon-reload"),
        ("systemctl", "enable", "--now", "aiprov-old.service", "aiprov-masked.service"),
        ("touch", REBOOT_FLAG),
    )
    return Scenario(archive=buffer.getvalue(), prepare=prepare, key=built.key)


def _add(tar: tarfile.TarFile, path: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def resources(host_os: str, *, key: str) -> list[Resource]:
    """A resource of every kind, in an order in which they can be realised.

    ``host_os`` is the OS's id and major version (``debian12``); it is written into a file, so that
    each host differs a little. ``DnfRepository`` is not among them: no lab host has dnf.
    """
    return [*_packages(key), *_accounts(), *_paths(host_os), *_kernel(), *_services(), *_actions()]


def _packages(key: str) -> list[Resource]:
    repository = AptRepository(
        name="aiprov-every", uris=(f"file://{ARCHIVE}",), suites=("./",), key=key
    )
    return [
        repository,
        Package(name="aiprov-probe", version="1.1", hold=True),
        Package(name="aiprov-anything"),
        Package(name="aiprov-relic", absent=True),
    ]


def _accounts() -> list[Resource]:
    return [
        Group(name="aiprov-crew", gid=4321),
        Group(name="aiprov-daemon", system=True),
        User(
            name="aiprov-pilot",
            uid=4321,
            group="aiprov-crew",
            groups=("adm", "aiprov-daemon"),
            home="/home/aiprov-pilot",
            shell="/bin/sh",
        ),
        User(name="aiprov-bot", system=True, shell="/usr/sbin/nologin", home="/nonexistent"),
    ]


def _paths(host_os: str) -> list[Resource]:
    return [
        Directory(path=HOME, mode=0o750, group="aiprov-crew"),
        File(path=f"{HOME}/plain.conf", content=f"os = {host_os}\nümläut, no newline at the end"),
        File(path=f'{HOME}/it\'s $HOME "quoted".conf', content="'$(id)' `id` \\n %s\n"),
        File(
            path=f"{HOME}/validated.conf",
            content="setting=1\n",
            mode=0o640,
            owner="aiprov-pilot",
            group="aiprov-crew",
            validate=("grep", "-q", "^setting=", STAGED),
        ),
        File(
            path=f"{HOME}/shared.json",
            content=Merge(format="json", values={"owned": {"a": 1, "b": None}}),
        ),
        File(path=SECRET_FILE, content=Secret(f"token={SECRET}\n"), mode=0o600),
        Link(path=f"{HOME}/current", target="plain.conf"),
        Absent(path=f"{HOME}/leftover"),
        Absent(path="/srv/aiprov-empty"),
    ]


def _kernel() -> list[Resource]:
    return [
        KernelModule(name="overlay"),
        Sysctl(key="net.ipv4.conf.all.log_martians", value="1"),
        KernelArgument(argument="aiprov.probe=1"),
        KernelArgument(argument="aiprov.gone=1", absent=True),
    ]


def _services() -> list[Resource]:
    config = f"{HOME}/daemon.conf"
    return [
        File(path=config, content="mode = good\n"),
        File(path=f"/etc/systemd/system/{UNIT}", content=_UNIT),
        Service(name=UNIT, enabled=True, running=True, restart_on=(config,)),
        Service(name="aiprov-old.service", enabled=False, running=False),
        Service(name="aiprov-masked.service", masked=True, running=False),
    ]


def _actions() -> list[Resource]:
    done = "/var/lib/aiprov-every.done"
    read = "/var/lib/aiprov-every.read"
    # It prints what it reads: no log may hold that.
    script = 'test "$(tee /dev/stderr | sha256sum | cut -c 1-64)" = "$0" && touch "$1"'
    digest = hashlib.sha256(GIVEN.encode()).hexdigest()
    return [
        Command(name="touch once", argv=("touch", done), unless=PathExists(path=done)),
        Command(
            name="read a secret",
            argv=("sh", "-c", script, digest, read),
            unless=PathExists(path=read),
            stdin=Secret(GIVEN),
        ),
        Reboot(name="when flagged", unless=PathExists(path=REBOOT_FLAG, absent=True)),
    ]
