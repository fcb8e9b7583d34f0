"""The engine for ``aiprov apply --engine ansible``: one ``ansible-playbook`` for one stage.

The changes go to it in a memory file and come back through a pipe: nothing of them is on a disk or
in a process list. Ansible itself loads the inventory, so the connection is what its users know.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiprov.connection import Connection
from aiprov.engines import Listener, Outcome
from aiprov.engines.ansible.tasks import unsupported
from aiprov.errors import BecomeError, HostError, HostKeyError, UnreachableError
from aiprov.plan import Change
from aiprov.resources import Reboot, Resource, Secret

PLAYBOOK = Path(__file__).parent / "play" / "apply.yml"
CHANGES_FD = "AIPROV_CHANGES_FD"
RESULTS_FD = "AIPROV_RESULTS_FD"

_ERRORS = {error.__name__: error for error in (UnreachableError, HostKeyError, BecomeError)}
_DEFAULTS = {
    "ANSIBLE_PIPELINING": "True",
    # Without these a host that has vanished is noticed after a quarter of an hour.
    "ANSIBLE_SSH_EXTRA_ARGS": "-o ServerAliveInterval=15 -o ServerAliveCountMax=4",
}
_MEMORY = "/dev/shm"  # noqa: S108  where Ansible makes a folder of its own to stage contents in
_FIXED = {
    "ANSIBLE_NOCOLOR": "True",
    "ANSIBLE_RETRY_FILES_ENABLED": "False",
    "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
}


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the other side is given."""

    changes: tuple[Change, ...]
    password: Secret | None
    become_password: Secret | None


class AnsibleEngine:
    """Realises changes on one host.

    ``inventory`` are the sources as ``-i`` takes them; ``options`` further arguments of
    ``ansible-playbook`` (vault ids, extra variables), ``vault_password`` one that somebody typed.
    ``silence_s``: a change that takes longer than this is ended and reported.
    """

    name = "ansible"

    def __init__(
        self,
        connection: Connection,
        *,
        inventory: Sequence[str],
        options: Sequence[str] = (),
        vault_password: Secret | None = None,
        silence_s: float = 3600.0,
    ) -> None:
        self._connection = connection
        self._inventory = tuple(inventory)
        self._options = tuple(options)
        self._vault_password = vault_password
        self._silence_s = silence_s

    def unsupported(self, resource: Resource) -> str | None:
        """See ``Engine.unsupported``."""
        if self._connection.kind == "local" and isinstance(resource, Reboot):
            return "the host is the controller itself, which Ansible does not reboot"
        return unsupported(resource)

    def apply(self, changes: Sequence[Change], listener: Listener) -> Sequence[Outcome]:
        """See ``Engine.apply``."""
        run = _Run(changes, listener, self._connection.name)
        with ExitStack() as stack:
            work = Work(
                changes=tuple(changes),
                password=self._connection.password,
                become_password=self._connection.become_password,
            )
            given = stack.enter_context(_memory_file(pickle.dumps(work)))
            said = stack.enter_context(_memory_file(b""))
            argv, passed = [*self._argv()], [given]
            if self._vault_password is not None:
                word = stack.enter_context(_memory_file(self._vault_password.reveal().encode()))
                os.fchmod(word, 0o600)  # Ansible would run an executable one
                argv += ["--vault-password-file", f"/dev/fd/{word}"]
                passed.append(word)
            results, told = os.pipe()
            stack.callback(os.close, results)
            try:
                process = subprocess.Popen(
                    argv,
                    env=self._environment(given, told),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    pass_fds=(*passed, told),
                    start_new_session=True,
                )
            finally:
                os.close(told)
            try:
                run.follow(results, self._silence_s)
            finally:
                _end(process, patience_s=30.0 if run.ended else 0.0)
            output = os.pread(said, os.fstat(said).st_size, 0).decode(errors="replace")
        return run.outcomes(process.returncode, output)

    def _argv(self) -> Iterator[str]:
        yield from (sys.executable, "-m", "ansible", "playbook", str(PLAYBOOK))
        for source in self._inventory:
            yield from ("--inventory", source)
        yield from ("--limit", self._connection.name)
        # As with Ansible's own options, what the inventory says goes before these.
        if self._connection.user is not None:
            yield from ("--user", self._connection.user)
        if self._connection.private_key_file is not None:
            yield from ("--private-key", self._connection.private_key_file)
        if self._connection.become:
            yield from ("--become", "--become-user", self._connection.become_user)
            yield from ("--become-method", self._connection.become_method)
        yield from self._options

    def _environment(self, given: int, told: int) -> dict[str, str]:
        fixed = {**_FIXED, CHANGES_FD: str(given), RESULTS_FD: str(told)}
        if os.access(_MEMORY, os.W_OK):
            fixed["ANSIBLE_LOCAL_TEMP"] = _MEMORY
        return {**_DEFAULTS, **os.environ, **fixed}


class _Run:
    """What is heard from one ``ansible-playbook``."""

    def __init__(self, changes: Sequence[Change], listener: Listener, host: str) -> None:
        self._changes = changes
        self._listener = listener
        self._host = host
        self._heard: dict[int, Outcome] = {}
        self._error: HostError | None = None
        self._silent_s: float | None = None
        self.ended = False

    def follow(self, results: int, silence_s: float) -> None:
        """Read until the other end is closed, or nothing came for too long."""
        rest = b""
        while True:
            ready, _, _ = select.select([results], [], [], silence_s)
            if not ready:
                self._silent_s = silence_s
                return
            data = os.read(results, 65536)
            if not data:
                self.ended = True
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))

    def _hear(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "begin":
                self._listener(self._changes[event["change"]])
            case "outcome":
                self._heard[event["change"]] = Outcome(
                    change=self._changes[event["change"]],
                    status=event["status"],
                    message=event["message"],
                    seconds=event["seconds"],
                    lost=event.get("lost", False),
                )
            case "error":
                error = _ERRORS.get(event["type"], HostError)
                self._error = error(self._host, event["message"], hint=event["hint"])

    def outcomes(self, code: int, output: str) -> list[Outcome]:
        """One outcome a change. Raises the ``HostError`` that the other side met."""
        if self._error is not None:
            raise self._error
        made = []
        problem: str | None = self._problem(code, output)
        for number, change in enumerate(self._changes):
            outcome = self._heard.get(number)
            if outcome is None and problem is not None:
                outcome, problem = Outcome(change=change, status="failed", message=problem), None
            made.append(outcome or Outcome(change=change, status="not run"))
        return made

    def _problem(self, code: int, output: str) -> str | None:
        if any(outcome.status == "failed" for outcome in self._heard.values()):
            return None
        if self._silent_s is not None:
            return f"it did not end within {self._silent_s:g} s, so ansible-playbook was ended"
        tail = "\n".join(output.strip().splitlines()[-15:])
        return f"ansible-playbook ended with exit code {code}:\n{tail}"


@contextmanager
def _memory_file(content: bytes) -> Iterator[int]:
    """A file in memory alone; its number is the same in a process that it is passed to."""
    number = os.memfd_create("aiprov", 0)
    try:
        os.set_inheritable(number, False)
        view = memoryview(content)
        while view:
            view = view[os.write(number, view) :]
        os.lseek(number, 0, os.SEEK_SET)
        yield number
    finally:
        os.close(number)


def _end(process: subprocess.Popen[bytes], *, patience_s: float) -> None:
    """Wait for the process; where it does not end by itself, end it and its workers."""
    deadline = time.monotonic() + patience_s
    for send in (None, signal.SIGTERM, signal.SIGKILL):
        if send is not None:
            os.killpg(process.pid, send)  # Ansible passes it on to its workers' own groups
        try:
            process.wait(timeout=max(deadline - time.monotonic(), 0.01))
            return
        except subprocess.TimeoutExpired:
            deadline = time.monotonic() + 10.0
    process.wait()
