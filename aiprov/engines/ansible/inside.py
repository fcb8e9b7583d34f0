"""The engine inside an ``ansible-playbook`` worker."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from aiprov.engines import Listener, Outcome
from aiprov.engines.ansible.calls import ModuleCall, Step, command
from aiprov.engines.ansible.modules import Modules, failure, hider
from aiprov.engines.ansible.tasks import steps, unsupported
from aiprov.engines.hints import hint_for, told_hint
from aiprov.errors import BecomeError, UnreachableError
from aiprov.outcome import HINT, hidden_texts
from aiprov.plan import Change
from aiprov.resources import Reboot, Resource, Service
from aiprov.survey.facts import Family

_HOLDER = re.compile(r"(held by process|locked by another process with pid) (?P<pid>\d+)")

Told = Callable[[Outcome], None]


class InsideEngine:
    """Realises changes with Ansible's modules. ``told`` hears every outcome as it is known."""

    name = "ansible"

    def __init__(
        self,
        modules: Modules,
        *,
        family: Callable[[], Family],
        local: bool,
        told: Told = lambda outcome: None,
    ) -> None:
        self._modules = modules
        self._family = family
        self._local = local
        self._told = told

    def unsupported(self, resource: Resource) -> str | None:
        """See ``Engine.unsupported``."""
        if self._local and isinstance(resource, Reboot):
            return "the host is the controller itself, which Ansible does not reboot"
        return unsupported(resource)

    def apply(self, changes: Sequence[Change], listener: Listener) -> Sequence[Outcome]:
        """See ``Engine.apply``."""
        outcomes: list[Outcome] = []
        hide = hider(hidden_texts(changes))
        failed = False
        for step in steps(changes, self._family()):
            if failed:
                made = [Outcome(change=change, status="not run") for change in step.changes]
            else:
                made = self._make(step, listener, hide, first=not outcomes)
                failed = any(outcome.status == "failed" for outcome in made)
            for outcome in made:
                self._told(outcome)
            outcomes += made
        return outcomes

    def _make(
        self, step: Step, listener: Listener, hide: Callable[[str], str], *, first: bool
    ) -> list[Outcome]:
        for change in step.changes:
            listener(change)
        began, lost = time.monotonic(), False
        try:
            problem = self._problem(step)
        except (UnreachableError, BecomeError) as error:
            if first:
                raise
            # What was done before must not be lost with the error.
            lost = isinstance(error, UnreachableError)
            problem = f"the connection was lost: {error.message}" if lost else error.message
        seconds = (time.monotonic() - began) / len(step.changes)
        return [
            Outcome(
                change=change,
                status="done" if problem is None else "failed",
                message=hide(_with_hint(problem or "")),
                seconds=seconds,
                lost=lost,
            )
            for change in step.changes
        ]

    def _problem(self, step: Step) -> str | None:
        """What went wrong; ``None`` when all went well."""
        before = self._boot_id(step)
        for call in step.calls:
            problem = failure(self._modules.run(call))
            if problem is not None:
                return self._explained(step, call, problem)
        if before is not None and self._boot_id(step) == before:
            return "the host answers, but it has not rebooted: its boot id is the same"
        return None

    def _boot_id(self, step: Step) -> str | None:
        if not any(isinstance(change.resource, Reboot) for change in step.changes):
            return None
        path = "/proc/sys/kernel/random/boot_id"
        result = self._modules.run(command("Read the boot id", ("cat", path), reads=True))
        return str(result.get("stdout", ""))

    def _with_holder(self, problem: str) -> str:
        """The problem, with the command of the process that holds a lock, where it names one."""
        holder = _HOLDER.search(problem)
        if holder is None:
            return problem
        path = f"/proc/{holder['pid']}/cmdline"
        result = self._modules.run(command("Read who has the lock", ("cat", path), reads=True))
        words = str(result.get("stdout", "")).replace("\0", " ").split()
        return f"{problem}\nprocess {holder['pid']} is {' '.join(words) or 'gone by now'}"

    def _explained(self, step: Step, call: ModuleCall, problem: str) -> str:
        if call.no_log and "content" in call.args:
            return f"{call.name} failed (what the host said is hidden, the content is secret)"
        service = step.changes[0].resource
        if not isinstance(service, Service):
            return self._with_holder(problem)
        if call.expects is not None:
            problem = f"{service.name} was started and did not stay up: {problem.splitlines()[0]}"
        written = ("journalctl", "--sync")  # its last words may still be on their way
        self._modules.run(command("Have the journal written", written, reads=True))
        argv = ("journalctl", "--unit", service.name, "--lines", "12", "--no-pager", "-o", "cat")
        log = self._modules.run(command("Read what the unit logged", argv, reads=True))
        return f"{problem}\n{log.get('stdout', '')}".rstrip()


def _with_hint(problem: str) -> str:
    problem, told = told_hint(problem)
    hint = told or hint_for(problem)
    return f"{problem}{HINT}{hint}" if hint else problem
