"""Runs module calls inside an ``ansible-playbook`` worker, over the connection that Ansible has."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from ansible.errors import (
    AnsibleConnectionFailure,
    AnsibleError,
)
from ansible.plugins.action import ActionBase

from aiprov.engines.ansible.calls import ENVIRONMENT, WHILE_LOCKED, Again, ModuleCall
from aiprov.errors import BecomeError, HostError, HostKeyError, UnreachableError

_REFUSED = re.compile(
    r"(Incorrect|Missing) \S+ password|waiting for privilege escalation"
    r"|a (terminal|password) is required|is not in the sudoers file|may not run sudo"
    r"|Authentication failure|become password",
    re.IGNORECASE,
)
_KEY = re.compile(r"Host key verification failed|HOST IDENTIFICATION HAS CHANGED", re.IGNORECASE)


def host_error(host: str, error: AnsibleError) -> HostError | None:
    """The error as one of ours, when the host cannot be worked on; ``None`` for all others."""
    text = str(error)
    if refused := refused_become(host, text):
        return refused
    if not isinstance(error, AnsibleConnectionFailure):
        return None
    if _KEY.search(text):
        hint = "compare the host's key with the one in known_hosts; replace it there if it is right"
        return HostKeyError(host, text, hint=hint)
    hint = "is it up, and reached by `ansible HOST -m ansible.builtin.ping`? Then run again: what "
    hint += "was done is read from the host, not remembered"
    return UnreachableError(host, text, hint=hint)


def refused_become(host: str, text: str) -> BecomeError | None:
    """An error when the text is what sudo, su or Ansible say of a refused escalation."""
    if not _REFUSED.search(text):
        return None
    line = next((line for line in text.splitlines() if _REFUSED.search(line)), text)
    hint = "give the password with --ask-become-pass or ansible_become_password"
    return BecomeError(host, f"privilege escalation was refused: {line.strip()}", hint=hint)


class Modules:
    """Runs calls as if each were a task of its own: same plugins, same connection, same become."""

    def __init__(self, action: ActionBase, host: str, task_vars: Mapping[str, Any]) -> None:
        self.host = host
        self._action = action
        self._task_vars = dict(task_vars)

    def ask(self, command: str, stdin: bytes | None = None) -> Mapping[str, Any]:
        """Run a command without any module. Raises ``HostError`` where the host is not reached."""
        try:
            result = self._action._low_level_execute_command(command, in_data=stdin)
        except AnsibleError as error:
            raise host_error(self.host, error) or HostError(self.host, str(error)) from error
        if result["rc"] and (refused := refused_become(self.host, result["stderr"])):
            raise refused
        return cast("Mapping[str, Any]", result)

    def run(self, call: ModuleCall) -> Mapping[str, Any]:
        """Make the call; its result says ``failed`` where it did. Raises ``HostError``."""
        result = self._once(call)
        if call.again is not None:
            for _ in range(self._times(call.again)):
                if not re.search(call.again.while_it_says, str(result.get(call.again.stream, ""))):
                    break
                time.sleep(call.again.delay_s)
                result = self._once(call)
        said = str(result.get("stdout", "")).strip()
        if call.expects is not None and not re.fullmatch(call.expects, said):
            return {**result, "failed": True, "msg": " ".join(said.split())}
        return result

    def _times(self, again: Again) -> int:
        """How often a call is made again: for a lock, as long as the host's setting says."""
        if again is not WHILE_LOCKED or "base_apt_lock_timeout_s" not in self._task_vars:
            return again.times
        seconds = self._action._templar.template(self._task_vars["base_apt_lock_timeout_s"])
        return max(1, int(seconds) // again.delay_s)

    def _once(self, call: ModuleCall) -> Mapping[str, Any]:
        handler = self._handler(call)
        try:
            try:
                result = dict(handler.run(task_vars=self._task_vars))
            finally:
                handler.cleanup()
        except AnsibleError as error:
            if (ours := host_error(self.host, error)) is not None:
                raise ours from error
            return {**getattr(error, "result", {}), "failed": True, "msg": str(error)}
        if result.get("unreachable"):
            raise UnreachableError(self.host, str(result.get("msg", "the connection was lost")))
        if refused := refused_become(self.host, str(result.get("module_stderr", ""))):
            raise refused
        return result

    def _handler(self, call: ModuleCall) -> ActionBase:
        outer = self._action
        task = outer._task.copy()
        task.action = call.module
        task.args = dict(call.args)
        task.no_log = bool(call.no_log or task.no_log)
        task.diff = False
        task.async_val = 0
        task.environment = [dict(ENVIRONMENT), *(task.environment or [])]
        loader = outer._shared_loader_obj.action_loader
        name = call.module if loader.has_plugin(call.module) else "ansible.legacy.normal"
        handler: ActionBase = loader.get(
            name,
            task=task,
            connection=outer._connection,
            play_context=outer._play_context,
            loader=outer._loader,
            templar=outer._templar,
            shared_loader_obj=outer._shared_loader_obj,
        )
        return handler


def failure(result: Mapping[str, Any]) -> str | None:
    """What the host said, when the result is a failure."""
    if not (result.get("failed") or result.get("rc")):
        return None
    message = _message(result)
    said = [str(result.get(stream, "")).strip() for stream in ("stderr", "stdout")]
    if re.fullmatch(r"|(The command exited with a )?non-zero return code\.?", message):
        return "\n".join([*(_tail(text) for text in said if text), f"exit code {result['rc']}"][:2])
    detail = next((text for text in said if text and text not in message), "")
    return "\n".join(text for text in (message, _tail(detail)) if text)


def _message(result: Mapping[str, Any]) -> str:
    """The result's message, with the causes that ansible-core keeps beside it since 2.19."""
    crash = result.get("exception", "")
    messages = [str(result.get("msg") or "")]
    event = getattr(crash, "event", None)
    while event is not None:
        messages.append(str(event.msg))
        event = getattr(getattr(event, "chain", None), "event", None)
    if not any(messages):
        messages.append(str(crash))
    told: list[str] = []
    for message in filter(None, messages):
        if not any(message in before for before in told):
            told.append(message)
    return ": ".join(told)


def _tail(text: str, lines: int = 12) -> str:
    return "\n".join(text.splitlines()[-lines:])


def hider(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that takes the secrets, and every longer word of them, out of a text."""
    words: set[str] = set()
    for secret in secrets:
        parts = re.split(r"[\s\"'=:,;]+", secret)
        words |= {part for part in (secret, *secret.splitlines(), *parts) if len(part) >= 6}
    longest_first = sorted(words, key=len, reverse=True)

    def hide(text: str) -> str:
        for word in longest_first:
            text = text.replace(word, "***")
        return text

    return hide
