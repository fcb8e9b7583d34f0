"""What the doctor asks a host, in two messages: what is always asked, and what follows from that.

Nothing that is asked changes anything on the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiprov.doctor.observed import Observed
from aiprov.stack import gpu_devices
from aiprov.survey.facts import Facts

SECONDS = 45.0
"""How long a command may take: nvidia-smi wakes the GPUs of a host without persistence daemon."""

LOG_PATTERN = (
    r"NVRM|nvidia|nouveau|nova|PKCS#7|module verification|rejected|Lockdown|unsigned module"
)
LOG_LINES = 5000

LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
)

UNITS = (
    "nvidia-persistenced.service",
    "nvidia-fabricmanager.service",
    "nvidia-cdi-refresh.path",
    "docker.service",
    "containerd.service",
    "kubelet.service",
    "k3s.service",
    "k3s-agent.service",
    "rke2-server.service",
    "rke2-agent.service",
    "snap.microk8s.daemon-containerd.service",
    "dnf-automatic.timer",
    "dnf-automatic-install.timer",
    "apt-daily-upgrade.timer",
)
_UNIT_KEYS = "Id,LoadState,ActiveState,SubState,UnitFileState,Result,ExecMainStartTimestamp"

PACKAGES = (
    "*nvidia*", "cuda-drivers*", "libcuda1*", "libnvsdm*", "nvlsm*", "firmware-nvidia*",
)  # fmt: skip
_DPKG_FORM = "${db:Status-Abbrev}\\t${Package}\\t${Version}\\n"
_RPM_FORM = "ii \\t%{NAME}\\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n"

MODPROBE_FOLDERS = ("/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d", "/run/modprobe.d")
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
CONTAINERD = "/etc/containerd/config.toml"
CONTAINERD_FOLDERS = ("/etc/containerd/conf.d", "/etc/containerd/config.d")
DAEMON = "/etc/docker/daemon.json"
TOOLKIT = "/etc/nvidia-container-runtime/config.toml"
DNF_LOCKS = ("/etc/dnf/plugins/versionlock.list", "/etc/dnf/versionlock.toml")
MODULES = ("nvidia", "nvidia-current", "nvidia-current-open")
"""The driver's module as NVIDIA, and Debian, name its file."""

RUNTIMES = ("containerd", "dockerd", "k3s", "rke2", "k3s-server", "k3s-agent", "crio")


def kernels(facts: Facts) -> tuple[str, ...]:
    """The kernels that matter: the running one, the next, and a few others for comparison."""
    newest = sorted(facts.kernels, reverse=True)[:4]
    return tuple(dict.fromkeys((facts.kernel, facts.next_kernel, *newest)))


def questions(facts: Facts) -> dict[str, Any]:
    """The first message."""
    folders = ["/sys/module", "/proc/driver/nvidia/gpus", "/proc/driver/nvidia-nvswitch/devices"]
    folders += ["/dev", "/dev/nvidia-caps", "/dev/dri", "/dev/char", "/etc/docker"]
    folders += ["/etc/containerd", *MODPROBE_FOLDERS, *CDI_FOLDERS, *CONTAINERD_FOLDERS]
    files = ["/sys/module/nvidia/version", "/proc/driver/nvidia/version", "/proc/cmdline"]
    files += [DAEMON, CONTAINERD, TOOLKIT, *DNF_LOCKS]
    for device in gpu_devices(facts):
        place = f"/sys/bus/pci/devices/{device.address}"
        files += [f"{place}/max_link_speed", f"{place}/max_link_width"]
    return {
        "ask": "look",
        "seconds": SECONDS,
        "commands": {**_commands(facts), **_packages(facts), **MAY_HANG},
        "files": files,
        "folders": folders,
        "links": [],
    }


def _commands(facts: Facts) -> dict[str, list[str]]:
    commands = {
        "id": ["id", "-u"],
        "journal": ["journalctl", "-k", "-q", "--no-pager", "-r", "-o", "short-iso",
                    "-n", str(LOG_LINES), "-g", LOG_PATTERN],
        "dmesg": ["dmesg"],
        "fm_log": ["journalctl", "-q", "--no-pager", "-o", "cat", "-b", "-n", "40",
                   "-u", "nvidia-fabricmanager.service"],
        "units": ["systemctl", "show", "--no-pager", "-p", _UNIT_KEYS, "--", *UNITS],
        "dkms": ["dkms", "status"],
        "make_logs": ["find", "/var/lib/dkms", "-maxdepth", "4",
                      "-path", "*nvidia*/build/make.log"],
        "library": ["readlink", "-f", *LIBRARIES],
        "fm": ["nv-fabricmanager", "--version"],
        "processes": ["ps", "-e", "-ww", "-o", "pid=,comm=,args="],
        "ctk": ["nvidia-ctk", "--version"],
        "containerd": ["containerd", "--version"],
        "containerd_config": ["containerd", "config", "dump"],
        "apt_config": ["apt-config", "dump"],
        "daemon_changed": ["stat", "-c", "%Y %n", DAEMON],
    }  # fmt: skip
    for kernel in kernels(facts):
        commands[f"modinfo {kernel}"] = ["modinfo", "-k", kernel, *MODULES]
    return commands


# A process that the kernel does not let go cannot be ended, and nobody can wait for it: `timeout`,
# which can be, stands between it and the agent.
_PATIENT = ("timeout", "300")

MAY_HANG = {
    "smi": [*_PATIENT, "nvidia-smi", "-q"],
    "gpus": [*_PATIENT, "nvidia-smi", "-L"],
    "docker": [*_PATIENT, "docker", "info", "--format", "{{json .}}"],
}
"""Asked last, the one that says most first: the agent reads one answer after the other, and what
waits for its turn behind one that hangs can say no more than a pipe holds."""


def _packages(facts: Facts) -> dict[str, list[str]]:
    if facts.family == "redhat":
        return {"packages": ["rpm", "-qa", "--qf", _RPM_FORM, *PACKAGES]}
    return {"packages": ["dpkg-query", "-W", "-f", _DPKG_FORM, *PACKAGES]}


def further(seen: Observed) -> dict[str, Any]:
    """The second message: what the first answer shows to be there."""
    modprobe = [f"{folder}/{name}" for folder in MODPROBE_FOLDERS for name in seen.names(folder)
                if name.endswith(".conf")]  # fmt: skip
    files = [*modprobe, *_in(seen, CDI_FOLDERS, ("yaml", "json"))]
    files += _in(seen, CONTAINERD_FOLDERS, ("toml",))
    files += [process.config for process in runtimes(seen) if process.config]
    commands: dict[str, list[str]] = {}
    for path in make_logs(seen):
        commands[f"head {path}"] = ["head", "-n", "1", path]
        commands[f"tail {path}"] = ["tail", "-n", "400", path]
    images = [name for kernel in kernels(seen.facts) for name in initramfs(kernel)]
    commands["changed"] = ["stat", "-c", "%Y %n", *images, *modprobe]
    return {
        "ask": "look",
        "seconds": 15.0,
        "commands": commands,
        "files": list(dict.fromkeys(files)),
        "folders": [],
        "links": [f"/proc/{process.pid}/exe" for process in runtimes(seen)],
    }


def _in(seen: Observed, folders: tuple[str, ...], endings: tuple[str, ...]) -> Iterator[str]:
    for folder in folders:
        for name in seen.names(folder):
            if name.rpartition(".")[2] in endings:
                yield f"{folder}/{name}"


def make_logs(seen: Observed) -> tuple[str, ...]:
    """The logs that builds by DKMS left where they failed; a build that succeeds moves its own."""
    found = seen.ran("make_logs").out.splitlines()
    return tuple(path for path in found if path.startswith("/var/lib/dkms/"))[:8]


def initramfs(kernel: str) -> tuple[str, str]:
    """Where Debian's and the RHEL family's initramfs of a kernel lies."""
    return f"/boot/initrd.img-{kernel}", f"/boot/initramfs-{kernel}.img"


@dataclass(frozen=True, kw_only=True)
class Process:
    """A running container runtime. ``config``: the file that its arguments name, if any."""

    pid: str
    name: str
    arguments: str

    @property
    def config(self) -> str:
        """The configuration file that its arguments name; empty where they name none."""
        found = re.search(r"(?:^|\s)(?:-c|--config)[ =](\S+\.toml)", self.arguments)
        return found[1] if found else ""


def runtimes(seen: Observed) -> tuple[Process, ...]:
    """The container runtimes that run, of the processes that ps lists."""
    found = []
    for line in seen.ran("processes").out.splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and words[0].isdigit() and words[1] in RUNTIMES:
            found.append(Process(pid=words[0], name=words[1], arguments=words[2]))
    return tuple(found)
