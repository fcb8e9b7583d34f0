"""A worker: has one device and PyTorch, does cells from standard input, says what it sees.

Everything that it says is a line of JSON on what was its standard output when it began. Whatever
else writes there (libraries do) goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from typing import Any, Callable, Dict, Mapping, Set

import torch

from . import arithmetic
from .collectives import communicate_verified
from .copies import copy_verified
from .inject import SPEAKING
from .links import gpus
from .memory import test_memory
from .models import decode_verified, train_verified
from .parallel import train_together
from .process import end_with_parent
from .products import multiply_unverified, multiply_verified
from .untested import NotTestedError

Say = Callable[..., None]
Test = Callable[[torch.device, int, Mapping[str, Any], Say], Dict[str, Any]]

TESTS: Mapping[str, Test] = {
    "gemm": multiply_verified,
    "gemm unverified": multiply_unverified,
    "memory": test_memory,
    "copy": copy_verified,
    "train": train_verified,
    "decode": decode_verified,
}


RANK_TESTS: Mapping[str, Test] = {
    "collective": communicate_verified,
    "train together": train_together,
}
"""Of cells on several devices; each rank does its part in a process group that is ready."""


def work(device_name: str) -> int:
    """Do cells until standard input ends. One that fails ends the worker: its device may be ill."""
    parent = os.getppid()
    end_with_parent()
    # cuBLAS then gives the same bits each time (its documentation, Results reproducibility).
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if os.getppid() != parent:
        return 1  # it is gone already
    say = _speaker()
    device = device_of(device_name)
    for line in sys.stdin:
        cell = json.loads(line)
        parameters = {**cell["parameters"], "device": device_name}
        try:
            test = TESTS[cell["kind"]]
            arithmetic.allow()  # whatever other cells have set: bits are compared across GPUs
            result = test(device, int(cell["seed"]), parameters, say)
            if device.type == "cuda":
                # PyTorch keeps what it had: the next test would take it for used, and other
                # devices could not copy to this one. What refers to itself is kept till collected.
                gc.collect()
                torch.cuda.empty_cache()
        except NotTestedError as error:
            say("end", status="not tested", error=str(error), result={})
        except Exception as error:  # noqa: BLE001 - whatever it is, the journal has to have it
            say("end", status="error", error=f"{type(error).__name__}: {error}"[:2000])
            return 1
        else:
            say("end", status="done", result=result)
    return 0


def _speaker() -> Say:
    """Says events on standard output; everything else that writes there is led away."""
    ours = os.dup(1)
    os.dup2(2, 1)
    SPEAKING.append(ours)
    lock = threading.Lock()

    def say(event: str, **fields: Any) -> None:
        data = json.dumps({"event": event, **fields}, allow_nan=False).encode() + b"\n"
        with lock:
            while data:
                data = data[os.write(ours, data) :]

    return say


def device_of(name: str) -> torch.device:
    """The device of a name. ``cpu:3`` is the third of several that stand for GPUs: one thread."""
    kind, _, number = name.partition(":")
    if kind == "cpu":
        torch.set_num_threads(1)
        return torch.device("cpu")
    device = torch.device(kind, int(number or 0))
    torch.cuda.set_device(device)
    go_near(device)
    return device


def go_near(device: torch.device, root: str = "/") -> None:
    """Run on the CPUs that are next to the GPU: memory beside others is slower to copy.

    Stays where it is if nothing tells which they are, or none of them is allowed.
    """
    address = _address(device, root)
    try:
        with open(f"{root}sys/bus/pci/devices/{address}/local_cpulist", encoding="ascii") as source:
            near = _cpus(source.read())
    except (OSError, ValueError):
        return
    allowed = near & os.sched_getaffinity(0)
    if allowed:
        os.sched_setaffinity(0, allowed)


def _address(device: torch.device, root: str) -> str:
    """Of a GPU on the bus; empty where it cannot be known."""
    told = torch.cuda.get_device_properties(device)
    names = ("pci_domain_id", "pci_bus_id", "pci_device_id")
    domain, bus, number = (getattr(told, name, None) for name in names)
    if domain is not None and bus is not None and number is not None:
        return f"{domain:04x}:{bus:02x}:{number:02x}.0"
    every = sorted(gpus(root))  # older PyTorch; in a container there may be more than are seen
    whole = bool(every) and len(every) == torch.cuda.device_count()
    return every[device.index or 0] if whole else ""


def _cpus(text: str) -> Set[int]:
    """``0-3,8``: 0, 1, 2, 3 and 8."""
    found: Set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
