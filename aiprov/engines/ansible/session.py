"""The survey over the connection that Ansible has: one exec an exchange, and no module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from aiprov.connection import Connection
from aiprov.engines.ansible.modules import Modules
from aiprov.errors import NoPythonError, SurveyError
from aiprov.survey import launch, wire


class AnsibleSession:
    """A ``Session`` inside an action plugin; the agent goes over standard input every time."""

    def __init__(self, action: ActionBase, modules: Modules, task_vars: Mapping[str, Any]) -> None:
        self.host = modules.host
        self._action = action
        self._modules = modules
        python = _python(action, task_vars)
        self._like = Connection(name=self.host, address=self.host, python=python)

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``Session.ask``."""
        result = self._run(
            launch.launch_command(self._like), wire.agent_line() + wire.request_line(request)
        )
        if launch.NO_PYTHON_TEXT.decode() in result["stderr"] + result["stdout"]:
            message = launch.no_python(self._like).message
            hint = "install the system's own: ansible-playbook aiprov.core.bootstrap"
            raise NoPythonError(self.host, message, hint=hint)
        try:
            answer = wire.parse_reply((result["stdout"] + "\n").encode(errors="replace"))
        except wire.GarbledError as error:
            said = (result["stderr"] or result["stdout"]).strip()[-600:]
            hint = "does a login script on the host print or ask something?"
            raise SurveyError(self.host, f"{error}: {said}", hint=hint) from error
        if "error" in answer:
            raise SurveyError(self.host, f"the survey failed on the host: {answer['error']}")
        return answer

    def close(self) -> None:
        """Nothing to end: the connection is Ansible's."""

    def _run(self, command: str, given: bytes) -> Mapping[str, Any]:
        connection = self._action._connection
        become = connection.become
        if connection.has_pipelining and (become is None or become.pipelining):
            return self._modules.ask(command, given)
        return self._from_file(command, given)

    def _from_file(self, command: str, given: bytes) -> Mapping[str, Any]:
        """For connections and become methods that do not carry standard input."""
        action = self._action
        shell = action._connection._shell
        if shell.tmpdir is None:
            action._make_tmp_path()
        path = shell.join_path(shell.tmpdir, "survey")
        action._transfer_data(path, given)
        action._fixup_perms2([shell.tmpdir, path], action._get_remote_user(), execute=False)
        try:
            return self._modules.ask(f"{command} < {shell.quote(path)}")
        finally:
            action._remove_tmp_path(shell.tmpdir)


def _python(action: ActionBase, task_vars: Mapping[str, Any]) -> str | None:
    """The interpreter that the inventory names; ``None`` where it is to be found."""
    named = str(action._templar.template(task_vars.get("ansible_python_interpreter")) or "auto")
    return None if named.startswith("auto") else named
