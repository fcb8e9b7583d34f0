"""What a host's links say: NVLinks, the PCI Express of GPUs, ports of InfiniBand and RoCE.

``python -m aiprov_payload links`` prints it as one JSON object. It runs as a process of its own:
reading a port's counters asks its adapter's firmware, and nvidia-smi asks the driver, and either
may hang. Texts are those of nvidia-smi's ``nvlink`` of drivers 535 to 595 and of Linux'
Documentation/ABI (sysfs-class-infiniband, sysfs-bus-pci-devices-aer_stats); read 2026-11-21.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any, Dict, List, Optional, Sequence, Tuple

Fields = Dict[str, Any]

ASK_S = 25.0
"""For an answer of nvidia-smi."""
_DEVICES = "sys/bus/pci/devices"
_PORTS = "sys/class/infiniband"
_NVIDIA = "0x10de"
_DISPLAY = "0x03"
_AER = {
    "correctable": ("aer_dev_correctable", "TOTAL_ERR_COR"),
    "nonfatal": ("aer_dev_nonfatal", "TOTAL_ERR_NONFATAL"),
    "fatal": ("aer_dev_fatal", "TOTAL_ERR_FATAL"),
}
COUNTERS = (
    "link_downed", "link_error_recovery", "symbol_error", "port_rcv_errors",
    "port_rcv_remote_physical_errors", "local_link_integrity_errors",
    "excessive_buffer_overrun_errors", "port_rcv_constraint_errors", "port_xmit_constraint_errors",
    "port_xmit_discards", "VL15_dropped",
)  # fmt: skip
_GPU = re.compile(r"GPU \d+: .*\(UUID: ([^)\s]+)\)(.*)")
_SPEED = re.compile(r"Link (\d+): (?:(\d+(?:\.\d+)?) GB/s|<inactive>)$")
_COUNT = re.compile(r"Link (\d+): (\D.*?): (\d+)$")
_INACTIVE = "all links are inactive"
_NONE = "does not have or support nvlink"


def read(root: str = "/", smi: Sequence[str] = ("nvidia-smi",)) -> Fields:
    """All of it. ``errors``: what could not be asked."""
    errors: List[str] = []
    speeds, told = _asked([*smi, "nvlink", "-s"], nvlink_speeds, errors)
    counters, _ = _asked([*smi, "nvlink", "-e"], nvlink_counters, errors)
    return {
        "gpus": gpus(root),
        "ports": ports(root),
        "nvlinks": {
            uuid: {"speeds": speeds.get(uuid), "counters": counters.get(uuid)}
            for uuid in [*speeds, *(uuid for uuid in counters if uuid not in speeds)]
        }
        if told
        else None,
        "errors": errors,
    }


def parsed(document: Any) -> Fields:
    """A document of ``read``. Raises ``ValueError`` for one that is none."""
    names = ("gpus", "ports", "nvlinks", "errors")
    if not isinstance(document, dict) or not all(name in document for name in names):
        raise ValueError("it tells of no links")
    return {name: document[name] for name in names}


# ---------------------------------------------------------------- sysfs


def gpus(root: str = "/") -> Dict[str, Fields]:
    """The GPUs on the bus by address: ``numa_node`` and errors of their PCI Express links.

    ``aer``: of the GPU, ``upstream``: of the port that it is at; each is ``None`` where the kernel
    does not count. ``way``: the addresses of all that it is behind, so that an adapter behind the
    same switch is found.
    """
    folder, found = os.path.join(root, _DEVICES), {}
    for address in _names(folder):
        place = os.path.join(folder, address)
        if _text(place, "vendor") != _NVIDIA or not _text(place, "class").startswith(_DISPLAY):
            continue
        node = _integer(_text(place, "numa_node"))
        real = os.path.realpath(place)
        above = os.path.dirname(real)
        found[address] = {
            "numa_node": None if node is None or node < 0 else node,  # -1: there are no nodes
            "aer": _aer(place),
            "upstream": _aer(above),
            "way": _way(real),
        }
    return found


def _way(place: str) -> List[str]:
    """A PCI device's place below the root of its bus."""
    found = re.search(r"/(pci[0-9a-f]{4,}:[0-9a-f]{2}/.*)", place)
    return found[1].split("/") if found else []


def _aer(place: str) -> Optional[Fields]:
    counts = {
        name: _integer(dict(_pairs(_text(place, file))).get(total, ""))
        for name, (file, total) in _AER.items()
    }
    return None if all(count is None for count in counts.values()) else counts


def _pairs(text: str) -> List[Tuple[str, str]]:
    words = [line.rpartition(" ") for line in text.splitlines()]
    return [(name.strip(), value) for name, _, value in words]


def ports(root: str = "/") -> Dict[str, Fields]:
    """The ports by name (``mlx5_0/1``): ``state`` (``ACTIVE``), ``rate_gbps``, ``layer``, counters,
    and ``way`` as of a GPU.

    None at all is empty: no adapter, or its driver is not loaded.
    """
    folder, found = os.path.join(root, _PORTS), {}
    for adapter in _names(folder):
        for number in _names(os.path.join(folder, adapter, "ports")):
            place = os.path.join(folder, adapter, "ports", number)
            rate = re.match(r"\d+(?:\.\d+)?", _text(place, "rate"))
            found[f"{adapter}/{number}"] = {
                "state": _text(place, "state").rpartition(": ")[2] or None,
                "rate_gbps": float(rate[0]) if rate else None,
                "layer": _text(place, "link_layer") or None,
                "way": _way(os.path.realpath(os.path.join(folder, adapter, "device"))),
                "counters": {
                    name: _integer(_text(place, os.path.join("counters", name)))
                    for name in COUNTERS
                },
            }
    return found


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _text(folder: str, name: str) -> str:
    """A file's text; empty where it cannot be read, which its readers take for not told."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as source:
            return source.read().strip()
    except OSError:
        return ""


def _integer(text: str) -> Optional[int]:
    return int(text) if re.fullmatch(r"-?\d+", text) else None


# ---------------------------------------------------------------- nvidia-smi nvlink


def nvlink_speeds(text: str) -> Dict[str, Dict[str, Optional[float]]]:
    """``nvlink -s``: by UUID the GB/s of each link, ``None`` for one that is not active.

    A GPU without NVLinks, or with none that is active, has no links here; one of which nothing that
    is known was said is not here. Raises ``ValueError`` where no GPU is told of.
    """
    found: Dict[str, Dict[str, Optional[float]]] = {}
    for uuid, lines in _by_gpu(text, "nvlink -s"):
        links = [match for line in lines if (match := _SPEED.match(line))]
        said = " ".join(lines).lower()
        if links and len(links) == len(lines):
            found[uuid] = {one[1]: float(one[2]) if one[2] else None for one in links}
        elif not links and (_INACTIVE in said or _NONE in said):
            found[uuid] = {}
    return found


def nvlink_counters(text: str) -> Dict[str, Dict[str, Dict[str, int]]]:
    """``nvlink -e``: by UUID and link its counters, by the names that the driver gives them.

    Those of drivers differ: up to Hopper they are replay, recovery and CRC errors. What is no whole
    number (``N/A``, bit error rates) is left out. Raises ``ValueError`` where no GPU is told of.
    """
    found: Dict[str, Dict[str, Dict[str, int]]] = {}
    for uuid, lines in _by_gpu(text, "nvlink -e"):
        own = found.setdefault(uuid, {})
        for line in lines:
            match = _COUNT.match(line)
            if match:
                own.setdefault(match[1], {})[match[2]] = int(match[3])
    return found


def _by_gpu(text: str, what: str) -> List[Tuple[str, List[str]]]:
    found: List[Tuple[str, List[str]]] = []
    for line in text.splitlines():
        gpu = _GPU.match(line.strip())
        if gpu:
            found.append((gpu[1], [gpu[2].strip()] if gpu[2].strip() else []))
        elif found and line.strip():
            found[-1][1].append(line.strip())
    if not found:
        raise ValueError(f"nvidia-smi {what} tells of no GPU: {text.strip()[-200:]}")
    return found


def _asked(argv: Sequence[str], parse: Any, errors: List[str]) -> Tuple[Fields, bool]:
    """What nvidia-smi says of NVLinks, and whether it said anything that is known."""
    shown = " ".join(argv)
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=ASK_S, check=False,
        )  # fmt: skip
        said = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            lines = said.strip().splitlines()
            raise ValueError(lines[-1] if lines else f"exit status {done.returncode}")
        return parse(said), True
    except OSError as error:
        errors.append(f"{shown}: {error.strerror}")
    except subprocess.TimeoutExpired:
        errors.append(f"{shown} did not end in {ASK_S:g} s")
    except ValueError as error:
        errors.append(f"{shown}: {error}"[:500])
    return {}, False
