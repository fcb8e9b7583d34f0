"""What ssh is told about one host: the connection's fields, ssh arguments, ssh's configuration.

The order is OpenSSH's own: what the inventory says, then arguments, then the user's file, then
the system's. ``openssh_reason`` says what in it only OpenSSH itself can honour.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiprov.connection import Connection
from aiprov.errors import UnreachableError
from aiprov.survey.transport import ssh_config
from aiprov.survey.transport.ssh_args import given_options
from aiprov.survey.transport.ssh_config import Options

Strict = Literal["yes", "accept-new", "no"]


@dataclass(frozen=True, kw_only=True)
class Hop:
    """A machine on the way, as ProxyJump names it."""

    name: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that is needed to connect to one machine."""

    host: str  # the inventory's name, for errors
    hostname: str
    port: int
    user: str
    key_name: str  # what the machine is called in known_hosts
    known_hosts: tuple[str, ...]
    strict: Strict
    identities: tuple[str, ...]
    identities_given: bool  # false: ssh's default names
    identities_only: bool
    agent: bool
    connect_timeout_s: float
    address_family: str
    jumps: tuple[Hop, ...]
    proxy_command: str | None
    reasons: tuple[str, ...]  # why only OpenSSH can do this


def settings_for(connection: Connection) -> Settings:
    """The settings for a host. Raises ``UnreachableError`` where configuration cannot be used."""
    try:
        given = given_options(connection.ssh_args)
        options = _fields(connection).over(given.over(_configured(given, connection.address)))
        return _settings(connection, options)
    except (OSError, ValueError) as error:
        raise UnreachableError(
            connection.name,
            f"ssh's configuration cannot be used: {error}",
            hint="correct that line, or the inventory's ssh arguments",
        ) from error


def hop_settings(hop: Hop, connection: Connection) -> Settings:
    """The settings for a machine on the way: its own configuration, not the target's fields.

    As with OpenSSH, the arguments given for the target do not hold for the jump host, save the
    configuration file and what decides about host keys. Raises ``UnreachableError``.
    """
    given = given_options(connection.ssh_args)
    kept = ("include", "stricthostkeychecking", "userknownhostsfile", "globalknownhostsfile")
    args: list[str] = []
    for keyword in kept:
        value = given.get(keyword)
        if value is not None:
            args += ["-F", value] if keyword == "include" else ["-o", f"{keyword}={value}"]
    return settings_for(
        Connection(
            name=connection.name,
            address=hop.name,
            port=hop.port,
            user=hop.user,
            ssh_args=tuple(args),
            timeout_s=connection.timeout_s,
        )
    )


def _fields(connection: Connection) -> Options:
    values: dict[str, tuple[str, ...]] = {}
    if connection.port is not None:
        values["port"] = (str(connection.port),)
    if connection.user is not None:
        values["user"] = (connection.user,)
    file = connection.private_key_file
    return Options(values=values, identities=(file,) if file else ())


def _configured(given: Options, address: str) -> Options:
    own = given.get("include")
    home = Path.home() / ".ssh"
    if own == "none":
        return Options()
    if own is not None:
        return _user_options(str(Path(own).expanduser()), home, address)
    system = ssh_config.options_for(
        ssh_config.read("/etc/ssh/ssh_config", relative_to="/etc/ssh"), address
    )
    # Distributions switch GSSAPI on for everyone; only a user's own line is a wish for it.
    quiet = {k: v for k, v in system.values.items() if k != "gssapiauthentication"}
    system = Options(values=quiet, identities=system.identities, matches=system.matches)
    return _user_options(str(home / "config"), home, address).over(system)


def _user_options(path: str, home: Path, address: str) -> Options:
    return ssh_config.options_for(ssh_config.read(path, relative_to=str(home)), address)


def _settings(connection: Connection, options: Options) -> Settings:
    user = options.get("user") or getpass.getuser()
    port = int(options.get("port") or 22)
    hostname = (options.get("hostname") or connection.address).replace("%h", connection.address)
    alias = options.get("hostkeyalias")
    key_name = alias or (hostname if port == 22 else f"[{hostname}]:{port}")
    tokens = {
        "%h": hostname,
        "%p": str(port),
        "%r": user,
        "%n": connection.address,
        "%u": getpass.getuser(),
        "%d": str(Path.home()),
        "%l": socket.gethostname(),
        "%%": "%",
    }
    jumps, proxy_command = _way(options, tokens)
    identities = tuple(_path(item, tokens) for item in options.identities if item != "none")
    return Settings(
        host=connection.name,
        hostname=hostname,
        port=port,
        user=user,
        key_name=key_name.lower(),
        known_hosts=_known_hosts(options, tokens),
        strict=_strict(options.get("stricthostkeychecking")),
        identities=identities or _default_identities(),
        identities_given=bool(identities),
        identities_only=(options.get("identitiesonly") or "no").lower() == "yes",
        agent="SSH_AUTH_SOCK" in os.environ and (options.get("identityagent") or "") != "none",
        connect_timeout_s=float(options.get("connecttimeout") or connection.timeout_s),
        address_family=(options.get("addressfamily") or "any").lower(),
        jumps=jumps,
        proxy_command=proxy_command,
        reasons=_reasons(options, identities, proxy_command),
    )


def openssh_reason(settings: Settings) -> str | None:
    """Why a host is left to OpenSSH; ``None`` where aiprov's own connection can do it."""
    return "; ".join(settings.reasons) or None


def _reasons(
    options: Options, identities: tuple[str, ...], proxy_command: str | None
) -> tuple[str, ...]:
    found = [f"Match block at {place}" for place in options.matches]
    if proxy_command is not None:
        found.append("ProxyCommand")
    for keyword, name in _ONLY_OPENSSH.items():
        if (options.get(keyword) or "no").lower() not in ("no", "none", "false", "ssh_auth_sock"):
            found.append(name)
    found += [f"security key {path}" for path in identities if _is_security_key(path)]
    return tuple(found)


_ONLY_OPENSSH = {
    "controlpath": "ControlPath",
    "gssapiauthentication": "GSSAPIAuthentication",
    "pkcs11provider": "PKCS11Provider",
    "securitykeyprovider": "SecurityKeyProvider",
    "knownhostscommand": "KnownHostsCommand",
    "canonicalizehostname": "CanonicalizeHostname",
    "verifyhostkeydns": "VerifyHostKeyDNS",
    "identityagent": "IdentityAgent",
}


def _is_security_key(path: str) -> bool:
    public = Path(f"{path}.pub")
    return "_sk" in Path(path).name or (
        public.is_file() and public.read_text("utf-8", "replace").startswith("sk-")
    )


_SIMPLE_PROXY = re.compile(
    r"ssh(?: -q)? (?:-W (?:%h|\[%h\]):%p (?P<last>[\w.@:-]+)|(?P<first>[\w.@-]+) -W %h:%p)"
)


def _way(options: Options, tokens: dict[str, str]) -> tuple[tuple[Hop, ...], str | None]:
    """Jump hosts, and the proxy's command where it is more than a plain jump."""
    jump = options.get("proxyjump")
    if jump and jump.lower() != "none":
        return tuple(_hop(item.strip()) for item in jump.split(",")), None
    command = options.get("proxycommand")
    if not command or command.lower() == "none":
        return (), None
    simple = _SIMPLE_PROXY.fullmatch(" ".join(command.split()))
    if simple:
        return (_hop(simple["last"] or simple["first"]),), None
    return (), _expand(command, tokens)


def _hop(text: str) -> Hop:
    parsed = re.fullmatch(
        r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<name>\[[^\]]+\]|[^:\s/]+)(?::(?P<port>\d+))?/?", text
    )
    if parsed is None:
        raise ValueError(f"jump host {text!r} is not [user@]host[:port]")
    port = parsed["port"]
    return Hop(
        name=parsed["name"].strip("[]"), user=parsed["user"], port=int(port) if port else None
    )


def _strict(value: str | None) -> Strict:
    match (value or "ask").lower():
        case "accept-new":
            return "accept-new"
        case "no" | "off" | "false":
            return "no"
    return "yes"  # "ask" too: there is nobody to ask


def _known_hosts(options: Options, tokens: dict[str, str]) -> tuple[str, ...]:
    user = options.values.get("userknownhostsfile") or (
        "~/.ssh/known_hosts",
        "~/.ssh/known_hosts2",
    )
    system = options.values.get("globalknownhostsfile") or (
        "/etc/ssh/ssh_known_hosts",
        "/etc/ssh/ssh_known_hosts2",
    )
    return tuple(_path(item, tokens) for item in (*user, *system) if item != "none")


def _default_identities() -> tuple[str, ...]:
    names = ("id_rsa", "id_ecdsa", "id_ed25519")
    return tuple(str(Path.home() / ".ssh" / name) for name in names)


def _path(text: str, tokens: dict[str, str]) -> str:
    return str(Path(_expand(text, tokens)).expanduser())


def _expand(text: str, tokens: dict[str, str]) -> str:
    return re.sub(r"%[a-zA-Z%]", lambda found: tokens.get(found[0], found[0]), text)
