"""What goes wrong with the simulated GPUs of a running host, on demand."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from aiprov.errors import LabError
from aiprov.lab.access import enter, must, run_in
from aiprov.lab.simulated import HOME

GpuFault = Literal["missing", "narrow", "xid", "nouveau"]
_HOLDER = """
import os, sys
held = open(sys.argv[1])
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def gpu_fault(directory: Path, name: str, fault: GpuFault, *, gpu: int = 0, code: int = 79) -> None:
    """Break a simulated GPU of a running host. ``gpu``: its index on the bus.

    ``missing``: it is gone from the bus. ``narrow``: its link has four lanes left. ``xid``: the
    kernel log has this code. ``nouveau``: that driver takes the GPUs, at once if NVIDIA's is not
    loaded, else at the next boot. Raises ``LabError`` where the host has no such GPU.
    """
    words = {"xid": [str(code), str(gpu)], "nouveau": []}.get(fault, [str(gpu)])
    argv = [f"/{HOME}/gpus-fault", fault, *words]
    must(name, argv, run_in(directory, name, argv))


@contextmanager
def hold_gpu(directory: Path, name: str, index: int = 0) -> Iterator[int]:
    """For a while, a process on the host works on a GPU; yields its process id there."""
    argv = ["python3", "-c", _HOLDER, f"/dev/nvidia{index}"]
    command = enter(directory, name, argv)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None  # noqa: S101 - asked for above
        said = holder.stdout.readline().strip()
        if not said.isdigit():
            raise LabError(
                f"{name}: /dev/nvidia{index} cannot be opened",
                hint="the driver makes it: modprobe nvidia on the host",
            )
        yield int(said)
