"""Speaks with the control daemon of CUDA's multi-process service, which takes orders on its input.

mps limit [--threads PERCENT] [--memory GPU=LIMIT ...]   defaults of clients that start from now
mps check [--threads PERCENT]                            0: it answers, with that limit
mps stop                                                 ends servers and daemon
"""

import argparse
import subprocess
import sys
from typing import Any, List

CONTROL = "nvidia-cuda-mps-control"
PATIENCE_S = 30
"""How long clients may go on after ``stop``, before their servers end under them."""


class MpsError(Exception):
    """The control daemon does not answer, or refuses."""


def control(order: str) -> str:
    """The control daemon's answer to an order."""
    try:
        done = subprocess.run(
            [CONTROL],
            input=f"{order}\n".encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S + 30,
            check=False,
        )
    except OSError as error:
        raise MpsError(f"{CONTROL}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise MpsError(f"{order}: the control daemon does not answer") from error
    text = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0 or text.startswith("Cannot find MPS control daemon"):
        raise MpsError(f"{order}: {text or done.returncode}")
    return text


def limit(asked: Any) -> None:
    if asked.threads is not None:
        control(f"set_default_active_thread_percentage {asked.threads}")
    for pair in asked.memory:
        device, _, most = pair.partition("=")
        control(f"set_default_device_pinned_mem_limit {device} {most}")


def check(asked: Any) -> None:
    text = control("get_default_active_thread_percentage")
    try:
        share = float(text.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise MpsError(f"the control daemon answers {text!r}, no percentage") from error
    if asked.threads is not None and share != asked.threads:
        raise MpsError(f"clients get {share:g} % of the threads, not {asked.threads} %")


def stop(_asked: Any) -> None:
    control(f"quit -t {PATIENCE_S}")


def main(words: List[str]) -> int:
    """Run a verb."""
    parser = argparse.ArgumentParser(prog="mps")
    parser.add_argument("verb", choices=("limit", "check", "stop"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--memory", action="append", default=[], metavar="GPU=LIMIT")
    asked = parser.parse_args(words)
    verbs = {"limit": limit, "check": check, "stop": stop}
    try:
        verbs[asked.verb](asked)
    except MpsError as error:
        sys.stderr.write(f"mps: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
