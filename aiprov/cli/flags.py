"""Flags that verbs share, and the request that they come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from aiprov.app import Request

F = TypeVar("F", bound=Callable[..., Any])

INVENTORY = [
    click.option(
        "-i", "--inventory", "sources", multiple=True, metavar="PATH",
        help="Inventory file, directory or host list, as for Ansible. May be given several times.",
    ),
    click.option("-l", "--limit", metavar="PATTERN", help="Only these hosts (Ansible pattern)."),
    click.option(
        "--vault-password-file", "vault_password_files", multiple=True, metavar="PATH",
        help="File (or script) with the password of vaulted values.",
    ),
    click.option("--ask-vault-pass", is_flag=True, help="Ask for the vault password."),
]  # fmt: skip

HOSTS = [
    click.option("-u", "--user", help="Log in as this user."),
    click.option("--private-key", metavar="PATH", help="Log in with this key."),
    click.option("-b", "--become", is_flag=True, help="Become root by sudo (or su)."),
    click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the become password."),
    click.option(
        "-f", "--forks", default=32, show_default=True, type=click.IntRange(1, 1000),
        help="How many hosts are worked on at once.",
    ),
    click.option(
        "-T", "--timeout", type=click.FloatRange(1, 600), metavar="SECONDS",
        help="How long to wait for a connection (default: the inventory's, else 10).",
    ),
]  # fmt: skip

ROLES = [
    click.option(
        "--role", "roles", multiple=True, metavar="ROLE",
        help="Only this role and those it requires, on hosts that the inventory gives it to.",
    ),
]  # fmt: skip

OUTPUT = [
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    click.option("-v", "--verbose", count=True, help="Show more; twice for more still."),
]


def with_flags(*groups: list[Callable[[F], F]]) -> Callable[[F], F]:
    """A decorator that gives a verb these flags, in this order."""

    def add(function: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return add


def request_of(**flags: Any) -> Request:
    """What the flags ask for. Asks for a password where they say so."""
    from aiprov.app import Request
    from aiprov.inventory import Options
    from aiprov.resources import Secret

    password = None
    if flags.get("ask_become_pass"):
        password = Secret(click.prompt("BECOME password", hide_input=True, err=True))
    options = Options(
        user=flags.get("user"),
        private_key_file=flags.get("private_key"),
        become=flags.get("become", False),
        become_password=password,
        timeout_s=flags.get("timeout"),
    )
    return Request(
        sources=flags["sources"],
        limit=flags["limit"],
        roles=flags.get("roles", ()),
        forks=flags.get("forks", 32),
        options=options,
        vault_password_files=flags["vault_password_files"],
        ask_vault_password=flags["ask_vault_pass"],
        bootstrap=flags.get("bootstrap", False),
    )
