"""Glue: the action of the internal play. See aiprov.engines.ansible.applying."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from aiprov.engines.ansible.applying import run


class ActionModule(ActionBase):  # type: ignore[misc]
    """Makes the changes that the calling process gave."""

    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        super().run(tmp, task_vars)
        return run(self, task_vars or {})
