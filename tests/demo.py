"""``make demo``: real hosts from a plain OS to containers with GPUs, shown step by step.

Every step is the command that a user would type. The lab is removed at the end, also after Ctrl-C.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AIPROV = str(Path(sys.executable).parent / "aiprov")
LAB = ".lab/demo"
INVENTORY = ("-i", f"{LAB}/inventory.yml", "-i", "inventory/lab")
PAGE = ".lab/demo-report.html"
IMAGE = "aiprov.lab/busybox:1"

STEPS: Sequence[tuple[str, Sequence[str], tuple[int, ...]]] = (
    (
        "Three plain hosts, one with eight simulated GPUs",
        ("lab", "up", "web1", "web2", "gpu1:trixie:h200x8", "--directory", LAB),
        (0,),
    ),
    ("What they are", ("facts", *INVENTORY, "--limit", "gpu1"), (0,)),
    (
        "Which versions fit together for it",
        ("resolve", "--os", "debian-13", "--gpu", "10de:2335", "--driver", "580",
         "--cuda", "13.0"),
        (0,),
    ),
    ("The settings, checked before any host is touched", ("inventory", "check", *INVENTORY), (0,)),
    ("What would change on one of them", ("plan", *INVENTORY, "--limit", "web1"), (2,)),
    ("Make it so, everywhere", ("apply", *INVENTORY, "-v"), (0,)),
    ("The report as a page", ("report", "--html", PAGE), (0,)),
    ("Is it so?", ("verify", *INVENTORY), (0,)),
    ("A second run changes nothing", ("apply", *INVENTORY), (0,)),
    (
        "Docker runs there",
        ("lab", "ssh", "--directory", LAB, "web1", "docker", "info", "--format",
         "{{.ServerVersion}}/{{.CgroupDriver}}"),
        (0,),
    ),
    ("Is anything wrong with the GPUs?", ("doctor", *INVENTORY, "gpu1"), (0,)),
    ("An image to run", ("lab", "image", "--directory", LAB, "gpu1"), (0,)),
    (
        "docker run sees the GPUs, by CDI",
        ("lab", "ssh", "--directory", LAB, "gpu1", "docker", "run", "--rm",
         "--device", "nvidia.com/gpu=all", IMAGE, "busybox", "ls", "-C", "/dev"),
        (0,),
    ),
    (
        "The same image for containerd",
        ("lab", "image", "--directory", LAB, "gpu1", "--engine", "containerd"),
        (0,),
    ),
    (
        "ctr run sees the one it asks for, by CDI",
        ("lab", "ssh", "--directory", LAB, "gpu1", "ctr", "--namespace", "k8s.io", "run", "--rm",
         "--runc-binary", "/usr/bin/nvidia-container-runtime",
         "--env", "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=3", IMAGE, "demo",
         "busybox", "ls", "-C", "/dev"),
        (0,),
    ),
)  # fmt: skip

DOWN = ("lab", "down", "--directory", LAB)


def main() -> int:
    began = time.monotonic()
    try:
        for title, arguments, expected in STEPS:
            _say(title, arguments)
            code = subprocess.run([AIPROV, *arguments], cwd=ROOT, check=False).returncode
            if code not in expected:
                print(f"\nthe demo failed: exit code {code}, expected {expected[0]}", flush=True)
                return 1
    except KeyboardInterrupt:
        print("\ninterrupted", flush=True)
        return 130
    finally:
        _say("Nothing is left", DOWN)
        subprocess.run([AIPROV, *DOWN], cwd=ROOT, check=True)
    print(f"\nthe demo took {time.monotonic() - began:.0f} s; the report is {PAGE}", flush=True)
    return 0


def _say(title: str, arguments: Sequence[str]) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}== {title}{plain}\n$ aiprov {shlex.join(arguments)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
