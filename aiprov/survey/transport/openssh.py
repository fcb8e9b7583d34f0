"""ssh by OpenSSH's own client: for configurations that only it understands.

``connect`` starts one master process, and what runs after it shares that connection. ``open``
without ``connect`` is one plain ssh process: the cheaper way for a single command.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from aiprov.connection import Connection
from aiprov.errors import HostError, UnreachableError
from aiprov.resources import Argv
from aiprov.survey.transport import Channel, Received, failures
from aiprov.survey.transport.exchange import Deadline, Exchange, Runner
from aiprov.survey.transport.process import ProcessChannel
from aiprov.survey.transport.settings import Settings

_FAILED = 255  # ssh's own exit status; the command's statuses are below it
_READY = b"aiprov-connected\n"
_SSH_SPEAKS = re.compile(
    rb"^(ssh: |kex_|mux_|client_loop|Host key verification|Permission denied|Received disconnect"
    rb"|Disconnected from|Connection |Timeout, server|Shared connection|Too many auth"
    rb"|.*: Permission denied \(|.*: Broken pipe|channel \d+: open failed)",
    re.MULTILINE,
)


class OpensshTransport(Runner):
    """One host by ssh processes."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.host = connection.name
        self.user: str | None = settings.user
        self._connection = connection
        self._settings = settings
        self._folder: str | None = None
        self._master: Exchange | None = None

    def connect(self) -> None:
        if self._master is not None and not self._master.ended:
            return
        self.close()
        self._folder = tempfile.mkdtemp(prefix="aiprov-ssh-")  # 0700: the socket is ours alone
        channel = self._channel(f"echo {_READY.decode().strip()}; exec cat", ("-M",))
        master = Exchange(self.host, channel)
        self._master = master
        # ssh's own limit comes first and says more.
        deadline = Deadline(self._settings.connect_timeout_s + 5.0, "connecting")
        try:
            ready = master.read_until(lambda: _READY in master.stdout, deadline)
            if not ready:
                raise failure(self._settings, bytes(master.stderr))
        except BaseException:
            self.close()
            raise

    def open(self, command: str) -> Channel:
        return self._channel(command, ())

    def close(self) -> None:
        master, self._master = self._master, None
        if master is not None:
            master.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def argv(self, command: str, extra: Argv) -> Argv:
        """The ssh command line. ssh takes the first value given for an option: the user's own
        arguments stand before ours."""
        connection = self._connection
        options: list[str] = [*connection.ssh_args, *extra]
        if connection.port is not None:
            options += ["-p", str(connection.port)]
        if connection.user is not None:
            options += ["-l", connection.user]
        if connection.private_key_file is not None:
            options += ["-i", connection.private_key_file]
        options += [
            *("-T", "-o", "BatchMode=yes"),
            *("-o", f"ConnectTimeout={max(1, round(self._settings.connect_timeout_s))}"),
            *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=2"),
        ]
        return ("ssh", *options, "--", connection.address, command)

    def _channel(self, command: str, extra: Argv) -> Channel:
        if self._connection.password is not None:
            raise UnreachableError(
                self.host,
                "the openssh transport cannot use ansible_password",
                hint="use a key, or the paramiko transport (chosen because of: "
                f"{', '.join(self._settings.reasons) or 'the inventory'})",
            )
        if self._folder is not None and "ControlPath" not in self._settings.reasons:
            extra = (*extra, "-S", str(Path(self._folder) / "s"))
        try:
            argv = self.argv(command, extra)
            return OpensshChannel(self._settings, ProcessChannel(argv))
        except FileNotFoundError as error:
            raise UnreachableError(
                self.host,
                "there is no ssh program on this machine",
                hint="install OpenSSH's client, or use the paramiko transport",
            ) from error


class OpensshChannel:
    """A command behind an ssh process: tells ssh's own failures from the command's."""

    def __init__(self, settings: Settings, process: ProcessChannel) -> None:
        self._settings = settings
        self._process = process
        self._stderr = bytearray()

    def send(self, data: bytes, timeout_s: float) -> int:
        return self._process.send(data, timeout_s)

    def finish(self) -> None:
        self._process.finish()

    def receive(self, timeout_s: float) -> Received:
        received = self._process.receive(timeout_s)
        self._stderr += received.stderr
        del self._stderr[:-8192]
        return received

    def exit_status(self, timeout_s: float) -> int | None:
        rc = self._process.exit_status(timeout_s)
        if rc == _FAILED and _SSH_SPEAKS.search(self._stderr):
            raise failure(self._settings, bytes(self._stderr))
        return rc

    def close(self) -> None:
        self._process.close()


def failure(settings: Settings, stderr: bytes) -> HostError:
    """What ssh's last words mean."""
    text = stderr.decode("utf-8", "replace").replace("\r", "")
    if "REVOKED HOST KEY" in text or "IDENTIFICATION HAS CHANGED" in text:
        offending = re.search(r"Offending \S+ key in (\S+):(\d+)", text)
        shown = re.search(r"(\w+) key sent by the remote host is\n(SHA256:\S+?)\.?\n", text)
        return failures.changed_host_key(
            settings,
            f"{shown[1]} {shown[2]}" if shown else "another key",
            f"{offending[1]}:{offending[2]}" if offending else "known_hosts",
            offending[1] if offending else "",
        )
    if "Host key verification failed" in text:
        shown = re.search(r"No (\S+) host key is known", text)
        return failures.unknown_host_key(settings, shown[1] if shown else "no entry")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = lines[-1] if lines else "ssh ended without a word"
    if "Permission denied" in reason or "Too many authentication failures" in text:
        return failures.refused(settings, ["what ssh's configuration gives"], reason)
    if re.search(r"Connection (reset|closed|to .* closed)|Broken pipe|not responding", reason):
        return failures.lost(settings.host, reason)
    return failures.no_ssh(settings, reason)
