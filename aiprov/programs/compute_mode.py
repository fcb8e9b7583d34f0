"""The compute mode of all GPUs of this host: whether it is as wanted, and setting it.

    compute-mode check default|exclusive_process|prohibited   0: it is; 1: it is not; 2: not known
    compute-mode apply default|exclusive_process|prohibited

The driver forgets it at a reboot and with a reset of the GPU.
"""

import re
import subprocess
import sys
from typing import List

MODES = {
    "default": ("Default", "0"),
    "exclusive_process": ("Exclusive_Process", "3"),
    "prohibited": ("Prohibited", "2"),
}
"""How nvidia-smi shows a mode, and how it is told of it (nvidia-smi's manual, -c)."""
TIMEOUT_S = 60


class ModeError(Exception):
    """nvidia-smi failed, and what it said."""


def smi(*words: str) -> str:
    argv = ["nvidia-smi", *words]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise ModeError(f"{argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ModeError(f"{' '.join(argv)} did not end in {TIMEOUT_S} s") from error
    text = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        raise ModeError(f"{' '.join(argv)}: {text or done.returncode}")
    return text


def others(wanted: str) -> List[str]:
    """The GPUs that have another mode, each with what it has. Raises ``ModeError`` for no GPUs."""
    text = smi("--query-gpu=index,compute_mode", "--format=csv,noheader")
    found = re.findall(r"^(\d+), *(.*\S)", text, re.MULTILINE)
    if not found or len(found) != len(text.splitlines()):
        raise ModeError(f"nvidia-smi lists no GPUs with their modes: {text or 'nothing'}")
    return [f"GPU {index}: {mode}" for index, mode in found if mode != MODES[wanted][0]]


def main(words: List[str]) -> int:
    """Run a verb."""
    if len(words) != 2 or words[0] not in ("check", "apply") or words[1] not in MODES:
        sys.stderr.write((__doc__ or "") + "\n")
        return 2
    verb, wanted = words
    try:
        found = others(wanted)
        if verb == "apply" and found:
            for one in found:
                smi("-i", one.split(":")[0][4:], "-c", MODES[wanted][1])
            sys.stdout.write(f"compute-mode: {', '.join(found)}; now {wanted}\n")
            found = others(wanted)
    except ModeError as error:
        sys.stderr.write(f"compute-mode: {error}\n")
        return 2
    if found:
        sys.stderr.write(f"compute-mode: not {wanted}: {', '.join(found)}\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
