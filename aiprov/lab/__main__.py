"""``python -m aiprov.lab``: the lab without the rest of aiprov, for those who develop it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from aiprov.errors import LabError
from aiprov.lab import HostSpec, default_directory, down, ssh_argv, up


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m aiprov.lab")
    parser.add_argument("verb", choices=["up", "down", "ssh"])
    parser.add_argument(
        "host", nargs="*", help="NAME[:SUITE[:GPUS]]; for ssh: a host and a command"
    )
    parser.add_argument("--hosts", type=int, default=0, metavar="N", help="hosts lab1 to labN")
    parser.add_argument("--directory", type=Path, default=default_directory())
    given = parser.parse_intermixed_args()
    if given.verb == "down":
        down(given.directory)
        return 0
    if given.verb == "ssh":
        command = [*ssh_argv(given.directory, given.host[0]), *given.host[1:]]
        os.execvp(command[0], command)  # noqa: S606
    specs = [HostSpec(name=f"lab{number}") for number in range(1, given.hosts + 1)]
    for word in given.host:
        specs.append(HostSpec.named(word))
    up(specs, given.directory, say=lambda text: sys.stderr.write(f"{text}\n"))
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except LabError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"  {error.hint}\n" if error.hint else ""))
        raise SystemExit(1) from None
