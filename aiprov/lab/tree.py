"""A host's own file tree: a copy of the base, made this host's by its names, keys and address."""

from __future__ import annotations

import secrets
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from aiprov.lab import builtin, pci, proxy, simulated
from aiprov.lab.gpus import Gpus, is_gpu
from aiprov.lab.machine import call, may_lower_oom_scores, replace, run
from aiprov.lab.state import KUBERNETES, Folder, Host, Network

_GUEST = Path(__file__).parent / "guest"
_OWN_VALUES = ("vm", "fs", "kernel")
_LIVE = {"random", "binfmt_misc", "ns_last_pid"}
_USERS = {"root": "root", "ops": "home/ops", "admin": "home/admin"}

LOGIND = """\
# A user's manager that ends ten seconds after the last session sometimes does not (systemd 252 with
# cgroup version 1: "Processes still around after final SIGKILL"), and logins wait two minutes.
[Login]
UserStopDelaySec=infinity
"""


def copy(base: Path, tree: Path) -> None:
    """Copy the base. The copy ends with this process, so that no orphan writes behind ``down``."""
    tree.mkdir(parents=True)
    run(["setpriv", "--pdeathsig=KILL", "cp", "-a", "--reflink=auto", f"{base}/.", str(tree)])


def personalise(folder: Folder, host: Host, network: Network, has: Gpus) -> None:
    """Everything in which this host differs from the base."""
    tree = folder.tree(host.name)
    password = folder.password.read_text(encoding="ascii").strip()
    files = {
        "etc/hostname": f"{host.name}\n",
        "etc/hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{host.name}\n::1\tlocalhost\n",
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/systemd/network/80-aiprov-lab.network": _network(host, network),
        "etc/systemd/logind.conf.d/80-aiprov-lab.conf": LOGIND,
        "etc/apt/apt.conf.d/01aiprov-lab": _apt(network),
    }
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text, encoding="utf-8")
    run(["chroot", str(tree), "chpasswd"], stdin=f"ops:{password}\n".encode())
    public = folder.key.with_suffix(".pub").read_text(encoding="ascii")
    for user, home in _USERS.items():
        run(
            [
                "chroot",
                str(tree),
                "install",
                "-d",
                "-m",
                "700",
                "-o",
                user,
                "-g",
                user,
                f"/{home}/.ssh",
            ]
        )
        keys = tree / home / ".ssh/authorized_keys"
        keys.write_text(public, encoding="ascii")
        owner = (tree / home).stat()
        shutil.chown(keys, owner.st_uid, owner.st_gid)
        keys.chmod(0o600)
    key = tree / "etc/ssh/ssh_host_ed25519_key"
    make_key(key, f"root@{host.name}")
    _lab_unit(tree, has.devices)
    if any(is_gpu(device) for device in has.devices):
        simulated.lay(tree, has, (tree / "etc/machine-id").read_text(encoding="ascii").strip())
    if KUBERNETES in host.groups:
        builtin.lay(tree)
    if not may_lower_oom_scores(Path("/proc/self/status").read_text(encoding="ascii")):
        shutil.copy(_GUEST / "runc", tree / "usr/local/sbin/runc")
        (tree / "usr/local/sbin/runc").chmod(0o755)


def remove(place: Path) -> None:
    """Remove a folder with everything in it, and nothing that is mounted there."""
    run(["rm", "-rf", "--one-file-system", str(place)])


def make_key(path: Path, comment: str) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def new_password() -> str:
    return secrets.token_urlsafe(12)


def _network(host: Host, network: Network) -> str:
    return (
        "[Match]\nName=host0\n\n"
        f"[Network]\nAddress={host.address}/24\nGateway={network.gateway}\nLinkLocalAddressing=no\n"
    )


def _apt(network: Network) -> str:
    """The proxy, and the leniency that this machine's own apt has towards a frozen mirror."""
    lines = [f'Acquire::http::Proxy "http://{network.gateway}:{proxy.PORT}";']
    for option in ("Acquire::Check-Valid-Until", "Acquire::Check-Date"):
        told = call(["apt-config", "dump", "--format=%v%n", option])
        value = told.stdout.decode().strip()
        if value:
            lines.append(f'{option} "{value}";')
    return "\n".join(lines) + "\n"


def _lab_unit(tree: Path, devices: Sequence[pci.PciDevice]) -> None:
    """The unit that prepares the host at every boot, and what it lays over /sys and /proc/sys."""
    home = tree / "usr/lib/aiprov-lab"
    home.mkdir(parents=True)
    shutil.copy(_GUEST / "boot", home / "boot")
    (home / "boot").chmod(0o755)
    unit = tree / "etc/systemd/system/aiprov-lab.service"
    shutil.copy(_GUEST / unit.name, unit)
    wants = unit.parent / "sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit.name).symlink_to(f"../{unit.name}")
    pci.write(devices, home / "pci")
    for name in _OWN_VALUES:
        _copy_values(Path("/proc/sys") / name, home / "sysctl" / name)


def _copy_values(source: Path, target: Path) -> None:
    """A plain-file copy of a tree of sysctls, with their modes."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        copied = target / path.name
        if path.name in _LIVE:
            copied.mkdir(exist_ok=True) if path.is_dir() else copied.touch()
        elif path.is_dir():
            _copy_values(path, copied)
        else:
            mode = path.stat().st_mode & 0o777
            try:
                copied.write_bytes(path.read_bytes())
            except OSError:  # some may only be written, or answer only where a feature is on
                copied.touch()
            copied.chmod(mode)


def write_known_hosts(folder: Folder) -> None:
    """Who each host is, from the moment before it first boots."""
    lines = []
    for host in folder.read_hosts():
        public = folder.tree(host.name) / "etc/ssh/ssh_host_ed25519_key.pub"
        if public.exists():
            kind, key, *_ = public.read_text(encoding="ascii").split()
            lines.append(f"{host.address} {kind} {key}\n")
    replace(folder.known_hosts, "".join(lines))
