"""Stand-in of aiprov's lab: the simulated GPUs of a lab host, as its programs find them.

Runs on the host: Python 3.6 and its standard library only. What the host has lies in
/usr/lib/aiprov-lab/gpus.json; what a GPU remembers over reboots in /var/lib/aiprov-lab/gpus;
what it forgets in /run/aiprov-lab/gpus; what the driver shows in /proc/driver/nvidia and /sys.
"""

# For the host's Python 3.6, and small.
# ruff: noqa: PTH103, PTH105, PTH110, PTH112, PTH115, PTH118, PTH119, PTH120, PTH123, PTH208, UP006, UP031, UP035, UP045
import fcntl
import json
import os
import re
import socket
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Tuple

ROOT = os.environ.get("AIPROV_LAB_ROOT", "/")
"""Another root, for tests only."""
HARDWARE = "/usr/lib/aiprov-lab/gpus.json"
DEVICES = "/sys/bus/pci/devices"
DRIVER = "/proc/driver/nvidia"
KERNEL_LOG = "/run/aiprov-lab/kernel.log"
_KEPT = "/var/lib/aiprov-lab/gpus"
_STATE = "/run/aiprov-lab/gpus"
_NOT_WORK = ("nvidia-persiste", "nv-fabricmanag", "nv-hostengine", "nvidia-imex")
"""Daemons that have a GPU open without keeping it from being set anew (names as in /proc)."""

Fields = Dict[str, Any]


def at(path: str) -> str:
    """Where a path of the host is."""
    return os.path.join(ROOT, path.lstrip("/"))


def text_of(path: str) -> str:
    """A file of the host; empty where there is none."""
    try:
        with open(at(path), encoding="utf-8", errors="replace") as source:
            return source.read()
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return ""


def names_in(path: str) -> List[str]:
    """The names in a folder of the host, sorted; none where it is not there."""
    try:
        return sorted(os.listdir(at(path)))
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return []


def write(path: str, text: str) -> None:
    """Write a file of the host, all or nothing."""
    place = at(path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    scratch = "%s.%d" % (place, os.getpid())
    with open(scratch, "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(scratch, place)


@contextmanager
def locked() -> Iterator[None]:
    """One program at a time changes the simulated hardware."""
    os.makedirs(at("/run/aiprov-lab"), exist_ok=True)
    with open(at("/run/aiprov-lab/gpus.lock"), "a", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def hardware() -> Fields:
    """What the lab gave this host: ``gpus`` and ``switches`` by PCI address, and what is broken."""
    told = json.loads(text_of(HARDWARE) or "{}")
    return {"gpus": {}, "switches": [], "nouveau": False, "xids": [], "modules": [], **told}


def on_bus() -> Dict[str, Fields]:
    """The GPUs that are on the bus now, in the order of their addresses."""
    known = hardware()["gpus"]
    return {name: known[name] for name in names_in(DEVICES) if name in known}


def driver_of(address: str) -> str:
    """The driver that holds a device; empty where none does."""
    try:
        return os.path.basename(os.readlink(at(f"{DEVICES}/{address}/driver")))
    except OSError:
        return ""


def loaded(module: str) -> bool:
    """Whether a kernel module is loaded."""
    return os.path.isdir(at(f"/sys/module/{module}"))


def driver_version() -> str:
    """The version of the driver that is loaded; empty where none is."""
    found = re.search(r"Kernel Module.*?\s{2}([0-9.]+)\s", text_of(DRIVER + "/version"))
    return found.group(1) if found else ""


def library_version() -> str:
    """The version of the user space library; empty where it is not installed."""
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"):
        try:
            target = os.readlink(at(folder + "/libnvidia-ml.so.1"))
        except OSError:
            continue
        return os.path.basename(target).replace("libnvidia-ml.so.", "")
    return ""


def driven() -> List[Tuple[str, Fields]]:
    """The GPUs that the driver took, in its order: address and properties."""
    known = hardware()["gpus"]
    return [(name, known[name]) for name in names_in(DRIVER + "/gpus") if name in known]


def keeps_mig(gpu: Fields) -> bool:
    """Whether MIG mode survives a reboot and takes effect by a reset: on Ampere only.

    docs.nvidia.com/datacenter/tesla/mig-user-guide, Enable MIG Mode (2026-11-21).
    """
    return bool(gpu["architecture"] == "ampere")


def state(address: str, gpu: Fields) -> Fields:
    """How a GPU is set right now."""
    kept = json.loads(text_of(f"{_KEPT}/{address}.json") or "{}")
    mig = bool(kept.get("mig_pending")) and keeps_mig(gpu)
    fresh = {
        "mig_mode": mig,
        "mig_pending": mig,
        "instances": [],
        "compute_mode": "Default",
        "persistence": False,
        "ecc_corrected": 0,
        "ecc_uncorrected": 0,
        "ecc_rate": 0,
        "ecc_at": 0.0,
        "nvlinks_down": [],
        "nvlink_errors": {},
        "temperature": 31,
        "recovery_action": "None",
    }
    return {**fresh, **json.loads(text_of(f"{_STATE}/{address}.json") or "{}")}


def save(address: str, gpu: Fields, now: Fields) -> None:
    """Remember how a GPU is set; what is in its own memory also over a reboot."""
    write(f"{_STATE}/{address}.json", json.dumps(now, sort_keys=True))
    if keeps_mig(gpu):
        kept = json.dumps({"mig_pending": now["mig_pending"]})
        write(f"{_KEPT}/{address}.json", kept)


def mig_uuid(gpu: Fields, instance: int, compute: int) -> str:
    """The UUID of a MIG device; the same whenever it is made at the same place."""
    name = "%s/%d/%d" % (gpu["uuid"], instance, compute)
    import uuid  # starts a process of its own in Python 3.6, and only MIG devices need it

    return f"MIG-{uuid.uuid5(uuid.NAMESPACE_OID, name)}"


def holders(node: str) -> List[int]:
    """The processes that have a device node open."""
    found = []
    for name in names_in("/proc"):
        if not name.isdigit():
            continue
        if node in _open_files(name):
            found.append(int(name))
    return found


def _open_files(pid: str) -> List[str]:
    """What a process has open; nothing where it ended, or belongs to another user."""
    found: List[str] = []
    try:
        handles = names_in(f"/proc/{pid}/fd")
    except PermissionError:
        return found
    for handle in handles:
        try:
            found.append(os.readlink(at(f"/proc/{pid}/fd/{handle}")))
        except OSError:  # closed meanwhile
            continue
    return found


def workers(index: int) -> List[int]:
    """The processes that work on a GPU: those that have it open and are no daemon of the driver."""
    found = holders("/dev/nvidia%d" % index)
    return [pid for pid in found if not text_of("/proc/%d/comm" % pid).startswith(_NOT_WORK)]


def daemon(pid_file: str) -> str:
    """The command line of a daemon whose pid file names a live process; empty where none runs."""
    pid = text_of(pid_file).strip()
    return text_of(f"/proc/{pid}/cmdline") if pid.isdigit() else ""


def fabric_manager() -> bool:
    """Whether the fabric manager runs."""
    return bool(daemon("/run/nvidia-fabricmanager/nv-fabricmanager.pid"))


def persistent(now: Fields) -> bool:
    """Whether a GPU stays set up without users: by nvidia-smi -pm, or by the daemon for that."""
    running = daemon("/run/nvidia-persistenced/nvidia-persistenced.pid")
    return bool(now["persistence"]) or (bool(running) and "--no-persistence-mode" not in running)


def kernel_log(*lines: str) -> None:
    """Say something as the kernel would: in the journal as ``kernel``, and where dmesg looks.

    The kernel's own ring belongs to the machine and is not written to.
    """
    os.makedirs(os.path.dirname(at(KERNEL_LOG)), exist_ok=True)
    with open(at(KERNEL_LOG), "a", encoding="utf-8") as out:
        out.writelines(f"[{time.monotonic():12.6f}] {line}\n" for line in lines)
    journal = at("/run/systemd/journal/socket")
    if not os.path.exists(journal):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out_socket:
        for line in lines:
            told = f"MESSAGE={line}\nSYSLOG_IDENTIFIER=kernel\nPRIORITY=4\n"
            out_socket.sendto(told.encode(), journal)


def xid_line(address: str, code: int) -> str:
    """How the driver reports an error of a GPU."""
    what = {79: "GPU has fallen off the bus.", 48: "An uncorrectable double bit error (DBE)"}
    text = what.get(code, "Ch 00000000")
    return "NVRM: Xid (PCI:%s): %d, pid='<unknown>', name=<unknown>, %s" % (
        address.rpartition(".")[0],
        code,
        text,
    )


def only(addresses: List[str], wanted: Optional[str]) -> List[int]:
    """The indices that a ``-i`` argument names: indices, UUIDs or bus ids, joined by commas.

    Raises ``LookupError`` with the name of one that is not there.
    """
    if wanted is None:
        return list(range(len(addresses)))
    gpus = hardware()["gpus"]
    chosen = []
    for word in wanted.split(","):
        for index, address in enumerate(addresses):
            names = (str(index), gpus[address]["uuid"], address, "0000" + address)
            if word.lower() in [name.lower() for name in names]:
                chosen.append(index)
                break
        else:
            raise LookupError(word)
    return chosen
