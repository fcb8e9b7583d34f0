"""The process behind one host: it runs systemd-nspawn, and again when the host reboots.

nspawn ends with a status of its own when a host asks for a reboot; the keeper then starts it
afresh, as a mainboard would. When the host is powered off or nspawn is killed, the keeper ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from aiprov.lab import cgroups, daemon
from aiprov.lab.machine import Process, environment, run
from aiprov.lab.state import KUBERNETES, Folder, Host

_REBOOT = 133
_PR_SET_PDEATHSIG = 1
# Debian 13 boots on v1 only when told twice.
_LEGACY = ["systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]
_CALLS = "add_key keyctl bpf perf_event_open"
IMAGES = "/opt/aiprov-lab/images"
"""Where hosts that are made for Kubernetes find archives of its images."""


def nspawn(folder: Folder, host: Host, bridge: str) -> list[str]:
    """The command that boots a host.

    Capabilities are all but loading kernel modules, which would load them into the machine. runc
    needs keyctl, Docker needs bpf for its devices, kubelet reads /dev/kmsg.
    """
    images = [f"--bind-ro={folder.images}:{IMAGES}"] if KUBERNETES in host.groups else []
    return [
        *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
        f"--directory={folder.tree(host.name)}",
        f"--machine={host.machine}",
        f"--hostname={host.name}",
        f"--network-bridge={bridge}",
        *("--capability=all", "--drop-capability=CAP_SYS_MODULE"),
        f"--system-call-filter={_CALLS}",
        "--bind=/dev/kmsg",
        *images,
        *("--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe"),
        "systemd.unified_cgroup_hierarchy=0",
        "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
    ]


def main(arguments: list[str]) -> int:
    """The keeper of a host: ``python -m aiprov.lab.keeper FOLDER HOST``."""
    folder, name = Folder(Path(arguments[0])), arguments[1]
    held = daemon.claim(folder, folder.host(name))
    if held is None:
        return 1
    host, network = folder.read_host(name), folder.network()
    # nspawn leaves lock files and folders there; in this process's own mounts they vanish with it.
    Path("/run/systemd").mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "aiprov-lab", "/run/systemd"])
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.getpid()

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != own:
            os._exit(1)
        try:
            cgroups.enter(host.group, os.getpid())
        except OSError as error:  # the parent is told that it failed, and not why
            os.write(2, f"control groups: {error}\n".encode())
            raise

    env = {**environment(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": str(int(unified()))}
    status = _REBOOT
    while status == _REBOOT:
        command = nspawn(folder, host, network.bridge)
        child = subprocess.Popen(command, env=env, preexec_fn=tie)  # noqa: PLW1509 - one thread
        process = Process.of(child.pid)
        if process is not None:
            process.write(folder.host(name) / "nspawn")
        status = child.wait()
        cgroups.kill(host.group)
        cgroups.remove(host.group)
    return 0


def unified() -> bool:
    """Whether the machine has cgroup v2 alone; hosts then see one v2 hierarchy.

    Elsewhere the controllers are bound to v1 and v2 has none, so a host on v2 could limit nothing:
    Docker would ignore limits and containerd's default containers would not start.
    """
    return all((root / "cgroup.controllers").exists() for root in cgroups.hierarchies())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
