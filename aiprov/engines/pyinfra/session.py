"""One host inside pyinfra: its connector, its state, and one operation at a time.

pyinfra is made to run one deploy over many hosts by greenlets. Here each host has its own ``State``
in its own thread and operations run one by one, so that a slow host holds up nobody. What makes
that sound is in ``_own_state_per_thread``; everything that touches a host goes through aiprov's
transport, so ssh behaves as it does in the survey.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyinfra import context
from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command_for_host

from aiprov.engines.pyinfra.shell import Shell
from aiprov.errors import ApplyError, BecomeError
from aiprov.resources import Secret

QUICK_S = 120
"""For commands that only look or change one small thing."""

LISTS_S = 600
"""For package lists, and for tools that check or write a configuration."""

LONG_S = 3600
"""For transactions of packages and for commands of roles, whose length nobody knows."""


def _own_state_per_thread() -> None:
    """Let each thread have its own pyinfra ``State``.

    pyinfra (3.10) keeps the current ``Host`` and ``Config`` per greenlet, thus per thread, but the
    current ``State`` in one slot of the process. The slot gets the same kind of container.
    """
    context.ctx_state.context._container = context.LocalContextObject._container_cls()


_own_state_per_thread()
logging.getLogger("pyinfra").addHandler(logging.NullHandler())
logging.getLogger("pyinfra").propagate = False


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command answered. ``command`` has its hidden values masked."""

    command: str
    rc: int
    stdout: str = ""
    stderr: str = ""


class Connector(BaseConnector):
    """Runs pyinfra's commands through the host's transport, which knows about becoming root."""

    handles_execution = True

    def __init__(self, state: State, host: Host, *, shell: Shell) -> None:
        super().__init__(state, host)
        self.shell = shell
        self.said: list[Said] = []
        self.stdin = b""  # for the commands of the operation under way

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Not to be named in a pyinfra inventory: the engine makes its own."""
        yield name, {}, []

    def run_shell_command(
        self,
        command: StringCommand,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> tuple[bool, CommandOutput]:
        """Run one command. What it said stays in ``said`` until the next operation."""
        timeout_s = arguments.pop("_timeout", None) or QUICK_S
        accepted = arguments.pop("_success_exit_codes", None) or [0]
        arguments.pop("_get_pty", None)
        arguments.pop("_stdin", None)  # a text; ours is a secret until it is written
        arguments["_shell_executable"] = None  # the shell is ours
        shell = make_unix_command_for_host(self.state, self.host, command, **arguments)
        done = self.shell.run(shell.get_raw_value(), stdin=self.stdin, timeout_s=float(timeout_s))
        stdout = done.stdout.decode(errors="replace")
        stderr = done.stderr.decode(errors="replace")
        said = Said(command=str(command), rc=done.rc, stdout=stdout, stderr=stderr)
        self.said.append(said)
        lines = [OutputLine("stdout", line) for line in stdout.splitlines()]
        lines += [OutputLine("stderr", line) for line in stderr.splitlines()]
        return done.rc in accepted, CommandOutput(lines)

    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Write a file that only root can read. Its content is in no argument and no message."""
        data = filename_or_io.read()
        done = self.shell.put(data, remote_filename)
        stderr = done.stderr.decode(errors="replace")
        self.said.append(Said(command=f"write {remote_filename}", rc=done.rc, stderr=stderr))
        return done.rc == 0

    def get_file(self, *args: Any, **kwargs: Any) -> bool:
        """No resource is fetched from a host."""
        raise NotImplementedError


class _OneHost(Inventory):
    """An inventory of one host. (pyinfra's own scans all installed packages for connectors.)"""

    def __init__(self, name: str, connector: Callable[..., Connector]) -> None:
        self._connector = connector
        super().__init__(([name], {}))  # type: ignore[no-untyped-call]

    def make_hosts_and_groups(self, names: list[str], groups: Any) -> None:
        self.hosts = {
            name: Host(name, inventory=self, groups=[], connector_cls=self._connector)
            for name in names
        }


class Session:
    """A connected host that pyinfra's operations can be run on, one at a time, in any thread."""

    def __init__(self, name: str, shell: Shell) -> None:
        self.host_name = name
        connector = functools.partial(Connector, shell=shell)
        inventory = _OneHost(name, connector)
        config = Config()  # type: ignore[no-untyped-call]
        self._state = State(inventory, config, check_for_changes=False)
        self._state.set_stage(StateStage.Execute)
        self._host = inventory.hosts[name]
        self._host.connected = True
        self._state.activate_host(self._host)
        self.cleaned: set[str] = set()

    @property
    def _connector(self) -> Connector:
        connector = self._host.connector
        assert isinstance(connector, Connector)  # noqa: S101 - _OneHost makes no other
        return connector

    def begin(self) -> None:
        """Connect, and make sure to be root. Raises ``UnreachableError`` or ``BecomeError``."""
        with self._current():
            _, output = self._connector.run_shell_command(StringCommand("id", "-u"))
        if output.stdout.strip() != "0":
            raise BecomeError(
                self.host_name,
                f"commands run as user id {output.stdout.strip() or 'unknown'}, not as root",
                hint="set ansible_become: true for this host, or log in as root",
            )

    @property
    def said(self) -> list[Said]:
        """What the commands of the last operation answered."""
        return self._connector.said

    def run(
        self,
        operation: Callable[..., Any],
        /,
        *args: Any,
        timeout_s: int = QUICK_S,
        env: Mapping[str, str] | None = None,
        stdin: Secret | None = None,
        **kwargs: Any,
    ) -> None:
        """Run one operation to its end. ``stdin`` goes to its commands and is kept nowhere.

        Raises ``OperationFailed`` with what the host said, and ``UnreachableError`` or
        ``BecomeError`` from the transport.
        """
        self.said.clear()
        given = {"name": operation.__name__, "_timeout": timeout_s, "_env": dict(env or {})}
        self._connector.stdin = stdin.reveal().encode() if stdin is not None else b""
        try:
            with self._current():
                operation(*args, **given, **kwargs)
                succeeded = run_host_op(self._state, self._host, self._host.op_hash_order[-1])
        except PyinfraError as error:
            raise OperationFailed(self.host_name, str(error), said=tuple(self.said)) from error
        finally:
            self._connector.stdin = b""
        if not succeeded:
            raise OperationFailed(self.host_name, "", said=tuple(self.said))

    def fact(self, fact: type[Any], **kwargs: Any) -> Any:
        """Read one of pyinfra's facts (or of ours)."""
        self.said.clear()
        try:
            with self._current():
                return self._host.get_fact(fact, **kwargs)
        except PyinfraError as error:
            raise OperationFailed(self.host_name, str(error), said=tuple(self.said)) from error

    def disconnect(self) -> None:
        """Let go of the connection. The next operation connects anew."""
        self._connector.shell.close()

    @contextmanager
    def _current(self) -> Iterator[None]:
        # pyinfra's own ``use`` does not put the old values back after an exception.
        try:
            context.ctx_state.set(self._state)  # type: ignore[no-untyped-call]
            context.ctx_host.set(self._host)  # type: ignore[no-untyped-call]
            yield
        finally:
            context.ctx_host.reset()
            context.ctx_state.reset()


class OperationFailed(ApplyError):  # noqa: N818 - says what happened, as its base does
    """An operation did not succeed. ``said`` is what its commands answered, the last one failed."""

    def __init__(
        self, host: str, message: str, *, said: tuple[Said, ...], hint: str | None = None
    ) -> None:
        super().__init__(host, message, hint=hint)
        self.said = said
