"""The errors of connecting, each with its way out. One wording for every ssh transport."""

from __future__ import annotations

import os
from shlex import quote

from aiprov.errors import HostKeyError, UnreachableError
from aiprov.survey.transport.known_hosts import Entry, Verdict, fingerprint
from aiprov.survey.transport.settings import Settings


def host_key(
    settings: Settings, verdict: Verdict, key_type: str, key: bytes, entries: tuple[Entry, ...]
) -> HostKeyError:
    """The host shows a key that is unknown, revoked, or not the one on record."""
    shown = f"{key_type} {fingerprint(key)}"
    name = settings.key_name
    if verdict == "unknown":
        return unknown_host_key(settings, shown)
    where = ", ".join(f"{entry.path}:{entry.number}" for entry in entries)
    if verdict == "revoked":
        return HostKeyError(
            settings.host,
            f"the host key of {name} ({shown}) is revoked in {where}",
            hint="this key must not be trusted: give the host a new one",
        )
    return changed_host_key(settings, shown, where, entries[0].path if entries else "")


def unknown_host_key(settings: Settings, shown: str) -> HostKeyError:
    """Nobody vouches for the host's key."""
    file = settings.known_hosts[0] if settings.known_hosts else "~/.ssh/known_hosts"
    port = f" -p {settings.port}" if settings.port != 22 else ""
    return HostKeyError(
        settings.host,
        f"the host key of {settings.key_name} is not known ({shown})",
        hint=f"compare the fingerprint with the host's own, then: "
        f"ssh-keyscan{port} {quote(settings.hostname)} >> {quote(file)}",
    )


def changed_host_key(settings: Settings, shown: str, where: str, file: str) -> HostKeyError:
    """Another key is on record."""
    of_file = f" -f {quote(file)}" if file else ""
    return HostKeyError(
        settings.host,
        f"the host key of {settings.key_name} has changed: it shows {shown}, "
        f"{where} has another one",
        hint="a reinstalled host, or someone in between: find out which. If it was reinstalled: "
        f"ssh-keygen -R {quote(settings.key_name)}{of_file}",
    )


def not_connected(settings: Settings, error: OSError) -> UnreachableError:
    """No connection: refused, no route, no such name, no answer."""
    reason = error.strerror or str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        reason = f"no answer within {settings.connect_timeout_s:g} s"
    return UnreachableError(
        settings.host,
        f"cannot connect to {settings.hostname} port {settings.port}: {reason}",
        hint="is it up, is sshd running, are ansible_host and ansible_port right, "
        "is a firewall in between?",
    )


def no_ssh(settings: Settings, reason: str) -> UnreachableError:
    """Something listens there, but it does not speak ssh, or not as this side can."""
    return UnreachableError(
        settings.host,
        f"no ssh connection to {settings.hostname} port {settings.port}: {reason}",
        hint=f"try it by hand: ssh -v -p {settings.port} {settings.user}@{settings.hostname}",
    )


def no_way(settings: Settings, reason: str) -> UnreachableError:
    """A jump host does not let the connection through."""
    way = ",".join(hop.name for hop in settings.jumps)
    return UnreachableError(
        settings.host,
        f"jump host {way} does not reach {settings.hostname} port {settings.port}: {reason}",
        hint="does it allow forwarding (AllowTcpForwarding), and does it reach the host?",
    )


def refused(settings: Settings, tried: list[str], reason: str) -> UnreachableError:
    """The host takes none of the keys and passwords."""
    what = ", ".join(tried) if tried else "nothing: no key, no agent and no password"
    return UnreachableError(
        settings.host,
        f"{settings.user}@{settings.hostname} was not let in: {reason} (tried {what})",
        hint="set ansible_user and ansible_ssh_private_key_file, or load the key into an agent"
        + ("" if os.environ.get("SSH_AUTH_SOCK") else " (none is running)"),
    )


def lost(host: str, what: str = "") -> UnreachableError:
    """The connection ended before its time."""
    return UnreachableError(
        host,
        "the connection was lost" + (f" ({what})" if what else ""),
        hint="run again: what was done is read from the host, not remembered",
    )
