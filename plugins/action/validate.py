"""Glue: what it does is aiprov.play_validation, from the Python package of the same name."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from aiprov.play_validation import run


class ActionModule(ActionBase):  # type: ignore[misc]
    """Tests every GPU of the play's hosts, all of them in one task."""

    BYPASS_HOST_LOOP = True
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        super().run(tmp, task_vars)
        _, wanted = self.validate_argument_spec(
            {
                "budget": {"type": "str", "default": "20m"},
                "device": {"type": "str", "default": "cuda", "choices": ["cuda", "cpu"]},
                "output": {"type": "path"},
                "resume": {"type": "bool", "default": False},
            }
        )
        return run(self, wanted)
