"""How a host is reached and how root is had on it: plain values, as the inventory gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aiprov.resources import Secret

Kind = Literal["ssh", "local"]
Transport = Literal["auto", "paramiko", "openssh"]
BecomeMethod = Literal["sudo", "su"]


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One way to one host.

    ``ssh_args`` are OpenSSH options in argv form (Ansible's common and extra arguments).
    ``python`` is an interpreter that the inventory names; ``None`` leaves the choice to the survey.
    ``None`` elsewhere means that the inventory does not say, so ssh's own configuration decides.
    """

    name: str
    address: str
    port: int | None = None
    user: str | None = None
    password: Secret | None = None
    private_key_file: str | None = None
    ssh_args: tuple[str, ...] = ()
    kind: Kind = "ssh"
    transport: Transport = "auto"
    become: bool = False
    become_user: str = "root"
    become_method: BecomeMethod = "sudo"
    become_password: Secret | None = None
    python: str | None = None
    timeout_s: float = 10.0
