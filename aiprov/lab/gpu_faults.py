"""What goes wrong with the simulated GPUs of a running host, on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from aiprov.errors import LabError
from aiprov.lab.access import must, run_in
from aiprov.lab.simulated import HOME

GpuFault = Literal["missing", "narrow", "xid", "nouveau", "nvlink", "crc", "ecc"]
_HOLDER = """
import os, signal, socket, sys
held = open(sys.argv[1])
ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ready.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
signal.pause()
"""


def gpu_fault(directory: Path, name: str, fault: GpuFault, *, gpu: int = 0, code: int = 79) -> None:
    """Break a simulated GPU of a running host. ``gpu``: its index on the bus.

    ``missing``: it is gone from the bus. ``narrow``: its link has four lanes left. ``xid``: the
    kernel log has this code. ``nouveau``: that driver takes the GPUs, at once if NVIDIA's is not
    loaded, else at the next boot. ``nvlink``: the NVLink of number ``code`` goes down, ``crc``: it
    counts errors; ``ecc``: memory corrects ``code`` errors a second under load.

    Raises ``LabError`` where the host has no such GPU.
    """
    with_code = fault in ("xid", "nvlink", "crc", "ecc")
    words = [] if fault == "nouveau" else [*([str(code)] if with_code else []), str(gpu)]
    argv = [f"/{HOME}/gpus-fault", fault, *words]
    must(name, argv, run_in(directory, name, argv))


@contextmanager
def hold_gpu(directory: Path, name: str, index: int = 0) -> Iterator[int]:
    """For a while, or until the host reboots, a process on the host works on a GPU; yields its
    process id there. Raises ``LabError`` where the GPU cannot be opened."""
    # A service of the host's own: a process that came in from outside would hold its reboot up.
    unit = f"aiprov-lab-holds-gpu{index}.service"
    start = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=notify",
             "python3", "-c", _HOLDER, f"/dev/nvidia{index}"]  # fmt: skip
    if run_in(directory, name, start).returncode != 0:
        raise LabError(
            f"{name}: /dev/nvidia{index} cannot be opened",
            hint="the driver makes it: modprobe nvidia on the host",
        )
    pid = ["systemctl", "show", "--property=MainPID", "--value", unit]
    try:
        yield int(must(name, pid, run_in(directory, name, pid)).stdout)
    finally:
        run_in(directory, name, ["systemctl", "stop", unit])
