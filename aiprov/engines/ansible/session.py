"""The survey over the connection that Ansible has: one exchange an exec, and no module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from aiprov.engines.ansible.modules import Modules
from aiprov.errors import NoPythonError, SurveyError
from aiprov.survey.wire import GarbledError, one_shot, parse_reply

PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/local/bin/python3")
_NOT_FOUND = (126, 127)


class AnsibleSession:
    """A ``Session`` inside an action plugin; the agent goes over standard input every time."""

    def __init__(self, action: ActionBase, modules: Modules, task_vars: Mapping[str, Any]) -> None:
        self.host = modules.host
        self._action = action
        self._modules = modules
        self._pythons = tuple(_pythons(action, task_vars))

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``Session.ask``."""
        program = one_shot(request)
        for python in self._pythons:
            result = self._run(python, program)
            if result["rc"] not in _NOT_FOUND:
                self._pythons = (python,)
                return self._answer(result)
        raise NoPythonError(
            self.host,
            f"no Python there: tried {', '.join(self._pythons)}",
            hint="run `ansible-playbook aiprov.core.bootstrap`, which installs it",
        )

    def close(self) -> None:
        """Nothing to end: the connection is Ansible's."""

    def _answer(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            answer = parse_reply((result["stdout"] + "\n").encode(errors="replace"))
        except GarbledError as error:
            said = (result["stderr"] or result["stdout"]).strip()[-600:]
            hint = "does a login script on the host print or ask something?"
            raise SurveyError(self.host, f"{error}: {said}", hint=hint) from error
        if "error" in answer:
            raise SurveyError(self.host, f"the survey failed on the host: {answer['error']}")
        return answer

    def _run(self, python: str, program: bytes) -> Mapping[str, Any]:
        connection = self._action._connection
        become = connection.become
        if connection.has_pipelining and (become is None or become.pipelining):
            return self._modules.ask(f"{python} -", program)
        return self._from_file(python, program)

    def _from_file(self, python: str, program: bytes) -> Mapping[str, Any]:
        """For connections and become methods that cannot carry standard input."""
        action = self._action
        shell = action._connection._shell
        if shell.tmpdir is None:
            action._make_tmp_path()
        path = shell.join_path(shell.tmpdir, "survey.py")
        action._transfer_data(path, program)
        action._fixup_perms2([shell.tmpdir, path], action._get_remote_user())
        return self._modules.ask(f"{python} {shell.quote(path)}")


def _pythons(action: ActionBase, task_vars: Mapping[str, Any]) -> Iterator[str]:
    named = str(action._templar.template(task_vars.get("ansible_python_interpreter")) or "auto")
    if not named.startswith("auto"):
        yield named
        return
    found = task_vars.get("ansible_facts", {}).get("discovered_interpreter_python")
    yield from dict.fromkeys((*([str(found)] if found else []), *PYTHONS))
