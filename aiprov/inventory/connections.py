"""From variables to a ``Connection``: the names, defaults and precedence that Ansible has.

Strongest first: the inventory's variables, the command line (``-u``, ``-b``, …), the environment,
``ansible.cfg``, Ansible's defaults.
"""

from __future__ import annotations

import configparser
import functools
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from aiprov.connection import BecomeMethod, Connection, Transport
from aiprov.errors import InventoryError, InventoryErrors
from aiprov.inventory.variables import Variables
from aiprov.resources import Secret

T = TypeVar("T")

_PLUGINS: dict[str, tuple[str, Transport]] = {
    "smart": ("ssh", "auto"),
    "ssh": ("ssh", "auto"),
    "paramiko": ("ssh", "paramiko"),
    "paramiko_ssh": ("ssh", "paramiko"),
    "local": ("local", "auto"),
}
_TRANSPORTS = ("auto", "paramiko", "openssh")
_BECOME_METHODS = ("sudo", "su")
_DISCOVERED = ("auto", "auto_silent", "auto_legacy", "auto_legacy_silent")
_TRUE = ("1", "true", "yes", "on", "y", "t")
_FALSE = ("0", "false", "no", "off", "n", "f")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says of connections. As in Ansible, the inventory is stronger."""

    user: str | None = None
    private_key_file: str | None = None
    password: Secret | None = None
    become: bool = False
    become_user: str | None = None
    become_method: str | None = None
    become_password: Secret | None = None
    ssh_common_args: str | None = None
    ssh_extra_args: str | None = None
    timeout_s: float | None = None


NO_OPTIONS = Options()


def address(name: str, variables: Variables) -> str:
    """The address of a host: its name, where the inventory gives none."""
    return _Reader(variables).text("ansible_host", "ansible_ssh_host") or name


def connection(name: str, variables: Variables, options: Options) -> Connection:
    """How to reach the host. Raises ``InventoryErrors`` for all that is wrong with it."""
    from ansible import constants

    get = _Reader(variables)
    kind, transport = get.checked(_plugin, constants.DEFAULT_TRANSPORT, "ansible_connection")
    method = get.checked(
        _become_method,
        options.become_method or constants.DEFAULT_BECOME_METHOD,
        "ansible_become_method",
    )
    found = Connection(
        name=name,
        address=get.text("ansible_host", "ansible_ssh_host") or name,
        port=get.checked(_port, constants.DEFAULT_REMOTE_PORT, "ansible_port", "ansible_ssh_port"),
        user=get.text("ansible_user", "ansible_ssh_user")
        or options.user
        or constants.DEFAULT_REMOTE_USER,
        password=get.secret("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")
        or options.password,
        private_key_file=_key_file(get, options.private_key_file),
        ssh_args=_ssh_args(get, options),
        kind=kind,
        transport=get.checked(_transport, transport, "aiprov_transport"),
        become=get.checked(_bool, options.become or constants.DEFAULT_BECOME, "ansible_become"),
        become_user=get.text("ansible_become_user", f"ansible_{method}_user")
        or options.become_user
        or constants.DEFAULT_BECOME_USER
        or "root",
        become_method=method,
        become_password=get.secret(
            "ansible_become_password", "ansible_become_pass", f"ansible_{method}_pass"
        )
        or options.become_password,
        python=get.checked(_python, constants.INTERPRETER_PYTHON, "ansible_python_interpreter"),
        timeout_s=get.checked(
            _seconds,
            options.timeout_s or constants.DEFAULT_TIMEOUT,
            "ansible_ssh_timeout",
            "ansible_timeout",
        ),
    )
    if get.errors:
        raise InventoryErrors(get.errors)
    return found


class _Reader:
    """Reads a host's variables under Ansible's several names, and collects what is wrong."""

    def __init__(self, variables: Variables) -> None:
        self._variables = variables
        self.errors: list[InventoryError] = []

    def checked(self, check: Callable[[Any], T], default: Any, *names: str) -> T:
        """The checked value of the first name that is set, else the checked default."""
        for name in names:
            try:
                value = self._variables.value(name)
            except InventoryError as error:
                self.errors.append(error)
                continue
            if value is None:
                continue
            try:
                return check(value)
            except ValueError as error:
                self.errors.append(self._variables.error(f"{name}: {error}", name))
        try:
            return check(default)
        except ValueError as error:
            raise InventoryError(f"ansible.cfg or environment: {error}") from error

    def text(self, *names: str) -> str | None:
        return self.checked(_text, None, *names)

    def secret(self, *names: str) -> Secret | None:
        value = self.text(*names)
        return None if value is None else Secret(value)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, dict | list):
        raise ValueError("should be text")
    return str(value)


def _argv(value: Any) -> list[str]:
    return shlex.split(_text(value) or "")


def _plugin(value: Any) -> tuple[Any, Transport]:
    name = str(value).removeprefix("ansible.builtin.").removeprefix("ansible.netcommon.")
    if name not in _PLUGINS:
        raise ValueError(f"{value!r} is not a connection that aiprov has (ssh, paramiko, local)")
    return _PLUGINS[name]


def _become_method(value: Any) -> BecomeMethod:
    name = str(value).removeprefix("ansible.builtin.")
    if name not in _BECOME_METHODS:
        raise ValueError(f"{value!r} is not a way to become root that aiprov has (sudo, su)")
    return cast("BecomeMethod", name)


def _transport(value: Any) -> Transport:
    if value not in _TRANSPORTS:
        raise ValueError(f"{value!r} is not one of {', '.join(_TRANSPORTS)}")
    return cast("Transport", value)


def _port(value: Any) -> int | None:
    if value is None:
        return None
    if str(value).isdecimal() and 0 < int(value) < 65536:
        return int(value)
    raise ValueError(f"{value!r} is not a port (1 to 65535)")


def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if seconds <= 0:
        raise ValueError(f"{value!r} is not a number of seconds")
    return seconds


def _bool(value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{value!r} is neither true nor false")
    return word in _TRUE


def _python(value: Any) -> str | None:
    return None if value in _DISCOVERED or not value else str(value)


def _key_file(get: _Reader, option: str | None) -> str | None:
    from ansible import constants

    path = (
        get.text("ansible_private_key_file", "ansible_ssh_private_key_file")
        or option
        or constants.DEFAULT_PRIVATE_KEY_FILE
    )
    return str(Path(path).expanduser()) if path else None


def _ssh_args(get: _Reader, options: Options) -> tuple[str, ...]:
    """Ansible's own, common and extra arguments; its default for the first is not repeated here."""
    options_given = {
        "ssh_args": None,
        "ssh_common_args": options.ssh_common_args,
        "ssh_extra_args": options.ssh_extra_args,
    }
    arguments: list[str] = []
    for name, option in options_given.items():
        arguments += get.checked(_argv, option or configured(name), f"ansible_{name}")
    if not _host_keys_checked(get):
        arguments += ["-o", "StrictHostKeyChecking=no"]
    return tuple(arguments)


def _host_keys_checked(get: _Reader) -> bool:
    from ansible import constants

    return get.checked(
        _bool,
        constants.HOST_KEY_CHECKING,
        "ansible_host_key_checking",
        "ansible_ssh_host_key_checking",
    )


def configured(option: str) -> str | None:
    """One of the ssh plugin's options from the environment or ``ansible.cfg``.

    Ansible can tell, but first loads and parses the documentation of the plugin: 0.2 s.
    """
    from ansible import constants

    return os.environ.get(f"ANSIBLE_{option.upper()}") or _ssh_section(constants.CONFIG_FILE).get(
        option
    )


@functools.cache
def _ssh_section(config_file: str | None) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    if config_file:
        parser.read(config_file, encoding="utf-8")
    return dict(parser["ssh_connection"]) if parser.has_section("ssh_connection") else {}
