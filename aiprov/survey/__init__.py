"""One connection to a host that reads what it is (facts) and what is on it (state).

A ``Session`` carries both messages over one connection: ``ask({"ask": "facts"})``, then
``ask({"ask": "state", ...})`` with the questions that the resources pose. What runs on the host is
``agent.py``; what it answers is raw text, and ``facts.py`` and ``state.py`` turn that into values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Session(Protocol):
    """A line to the agent on one host. Raises ``HostError`` subclasses, never anything else."""

    host: str

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send one request, return the agent's answer. Both are JSON documents."""
        ...

    def close(self) -> None:
        """End the session. The host keeps nothing of it."""
        ...
