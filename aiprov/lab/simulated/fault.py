#!/usr/bin/python3
"""Stand-in of aiprov's lab: break a simulated GPU of this host while it runs.

``fault missing INDEX``, ``fault narrow INDEX``, ``fault xid CODE INDEX``, ``fault nouveau``: they
stay over reboots, but for the line of an Xid. Until the next boot: ``fault nvlink LINK INDEX`` (it
is down), ``fault crc LINK INDEX`` (it counts errors), ``fault ecc RATE INDEX`` (corrected memory
errors a second while the GPU works).
"""

# For the host's Python 3.6, and small.
# ruff: noqa: PTH112, T201, UP006, UP031, UP035
import json
import os
import shutil
import sys
import time
from typing import List

sys.path.insert(0, os.environ.get("AIPROV_LAB_HOME", "/usr/lib/aiprov-lab"))
import modules  # type: ignore[import-not-found]
import simulated_gpus as lab  # type: ignore[import-not-found]

_KEPT = "/usr/lib/aiprov-lab/pci"
_NARROW = "4\n"


def break_it(kind: str, numbers: List[int]) -> None:
    """Do one of the faults. Raises ``IndexError`` where the bus has no such GPU."""
    if kind == "nouveau":
        lab.write(lab.HARDWARE, json.dumps({**lab.hardware(), "nouveau": True}, sort_keys=True))
        if not lab.loaded("nvidia"):
            modules.modprobe(["-b", "nouveau"])
        return
    address = list(lab.on_bus())[numbers[-1]]
    if kind in ("nvlink", "crc", "ecc"):
        with lab.locked():
            wear_out(kind, address, numbers[0])
        return
    if kind == "xid":
        lab.kernel_log(lab.xid_line(address, numbers[0]))
    for folder in (_KEPT, lab.DEVICES):
        place = lab.at(f"{folder}/{address}")
        if kind == "missing" and os.path.isdir(place):
            shutil.rmtree(place)
        elif kind == "narrow":
            lab.write(f"{folder}/{address}/current_link_width", _NARROW)
    if kind == "missing" and lab.loaded("nvidia"):
        lab.kernel_log(lab.xid_line(address, 79))


def wear_out(kind: str, address: str, number: int) -> None:
    """What gets worse while it runs. ``number``: of a link, or a rate."""
    gpu = lab.hardware()["gpus"][address]
    now = lab.state(address, gpu)
    if kind == "nvlink":
        now["nvlinks_down"] = sorted({*now["nvlinks_down"], number})
    elif kind == "crc":
        counted = now["nvlink_errors"].setdefault(str(number), {})
        for name, more in (("CRC Errors", 4000), ("Replay Errors", 900)):
            counted[name] = counted.get(name, 0) + more
    else:
        now.update(ecc_rate=number, ecc_at=time.time())
    lab.save(address, gpu, now)


def main() -> int:
    """Read the fault from the command line."""
    try:
        break_it(sys.argv[1], [int(word) for word in sys.argv[2:]])
    except IndexError:
        print("there is no such GPU on the bus: it has %d" % len(lab.on_bus()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
