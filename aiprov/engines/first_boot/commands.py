"""Running commands: argv in, exit code and output back, everything printed goes to the log."""

import logging
import os
import signal
import subprocess
import tempfile
import time
from typing import Callable, NamedTuple, Sequence

LOG = logging.getLogger("aiprov-first-boot")
TIMEOUT_S = 3600
SHOWN_LINES = 5

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_SUSPEND": "1",
}


class StepFailedError(Exception):
    """A step could not be made so; the message is for the person who reads the log."""


class Result(NamedTuple):
    """How a command ended."""

    code: int
    output: str

    @property
    def last_lines(self) -> str:
        return " | ".join(self.output.strip().splitlines()[-SHOWN_LINES:])


def run(
    argv: Sequence[str], quiet: bool = False, stdin: str = "", hidden: Sequence[str] = ()
) -> Result:
    """Run a command to its end. ``quiet`` keeps what it prints out of the log.

    ``stdin`` is what it reads; ``hidden`` are texts that are taken out of what it prints.
    """
    # A file, not a pipe: a daemon that the command leaves behind would hold a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as error:
            return Result(127, f"{argv[0]}: {error.strerror}")
        code = _wait(process, stdin)
        output.seek(0)
        text = _without(output.read().decode("utf-8", "replace"), hidden)
    if not quiet:
        LOG.info("$ %s -> %d", " ".join(argv), code)
        for line in text.splitlines():
            LOG.info("    %s", line)
    return Result(code, text)


def _without(text: str, hidden: Sequence[str]) -> str:
    words = {word for one in hidden for word in (one, *one.split()) if len(word) > 5}
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "***")
    return text


def _wait(process: "subprocess.Popen[bytes]", stdin: str) -> int:
    try:
        process.communicate(stdin.encode() if stdin else None, TIMEOUT_S)
        return process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return 124


def must(
    argv: Sequence[str], quiet: bool = False, stdin: str = "", hidden: Sequence[str] = ()
) -> str:
    """Run a command that has to succeed; its output. Raises ``StepFailedError``."""
    result = run(argv, quiet, stdin, hidden)
    if result.code != 0:
        shown = "" if quiet else ": " + result.last_lines
        raise StepFailedError(f"{argv[0]} exited {result.code}{shown}")
    return result.output


def again(attempt: Callable[[], str], delays: Sequence[int]) -> str:
    """``attempt``, and while it fails again after each delay. Raises its last failure.

    At first boot the network, the name server and the clock may come later than we do.
    """
    for delay in delays:
        try:
            return attempt()
        except StepFailedError as error:
            LOG.info("again in %d s: %s", delay, error)
            time.sleep(delay)
    return attempt()
