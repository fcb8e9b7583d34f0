"""Roles and all that they require, each after what it requires."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ansible.errors import AnsibleFilterError

from aiprov.errors import UsageError
from aiprov.roles import order

DOCUMENTATION = r"""
name: with_required
short_description: Roles of aiprov and those that they require
version_added: "0.1.0"
description: Adds the required roles and puts all in the order in which they are applied.
options:
  _input:
    description: Names of roles.
    type: list
    elements: str
    required: true
author:
  - The aiprov authors
"""

EXAMPLES = r"""
roles: "{{ ['docker'] | aiprov.core.with_required }}"
"""

RETURN = r"""
_value:
  description: Names of roles, in order.
  type: list
  elements: str
"""


def with_required(roles: Iterable[str]) -> list[str]:
    """The roles and what they require. An unknown role is an error that names those there are."""
    try:
        return list(order(str(role) for role in roles))
    except UsageError as error:
        raise AnsibleFilterError(f"{error.message} ({error.hint})") from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[[Iterable[str]], list[str]]]:
        return {"with_required": with_required}
