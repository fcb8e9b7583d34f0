"""Glue: what it does is aiprov.play, from the Python package of the same name."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from aiprov.play import run


class ActionModule(ActionBase):  # type: ignore[misc]
    """Brings a host to what one aiprov role wants."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        super().run(tmp, task_vars)
        self.validate_argument_spec({"role": {"type": "str", "required": True}})
        return run(self, task_vars or {})
