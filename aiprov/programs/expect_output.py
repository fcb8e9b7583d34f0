"""Whether a command says what it should: ``expect-output [--within SECONDS] TEXT COMMAND [ARG]…``.

0 when the command succeeds and its output (standard error too) holds TEXT, not within a word or
number: ``8 GPUs`` is not in ``18 GPUs``. Otherwise 1, and what it said instead is told on standard
error. With ``--within`` it is asked again until then, for what takes a while to come up. The
command must only read. Python 3.6.
"""

import argparse
import re
import subprocess
import sys
import time
from typing import List


def said(command: List[str]) -> "tuple[bool, str]":
    """Whether the command succeeded, and all that it said."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        return False, f"{command[0]}: {error.strerror}"
    return done.returncode == 0, done.stdout.decode("utf-8", "replace").strip()


def main(arguments: List[str]) -> int:
    """0 or 1, as told above."""
    parser = argparse.ArgumentParser(
        prog="expect-output", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--within", type=float, default=0, metavar="SECONDS")
    parser.add_argument("text")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    if not given.command:
        parser.error("give a command")
    wanted = re.compile(r"(?<![\w.])" + re.escape(given.text))
    until = time.monotonic() + given.within
    while True:
        succeeded, text = said(given.command)
        if succeeded and wanted.search(text):
            return 0
        if time.monotonic() >= until:
            break
        time.sleep(1)
    lines = text.splitlines()[-10:] or ["nothing"]
    sys.stderr.write(
        "{} does not say {!r}, but:\n{}\n".format(
            " ".join(given.command), given.text, "\n".join("  " + line for line in lines)
        )
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
