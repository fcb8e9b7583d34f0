"""The pipeline inside a play: what is behind the action ``aiprov.core.converge`` of the roles.

``ansible-playbook`` has the inventory, the connection, become and the vault; this brings the same
pipeline as ``aiprov apply`` to it. Under ``--check`` the result is the plan, which is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from ansible import context
from ansible.errors import AnsibleActionSkip, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from aiprov import settings
from aiprov.converge import Convergence, Event, HostApi, HostResult
from aiprov.engines.ansible.inside import InsideEngine
from aiprov.engines.ansible.modules import Modules
from aiprov.engines.ansible.session import AnsibleSession
from aiprov.errors import AiprovError
from aiprov.inventory import DEFAULT_ROLES, role_names
from aiprov.inventory.variables import plain
from aiprov.planner import BUILT_IN
from aiprov.report.ansible import task_diff, task_result
from aiprov.roles import Cluster, ClusterHost, RoleVars, order, slugs
from aiprov.survey.facts import Facts
from aiprov.survey.session import survey_facts, survey_state
from aiprov.wanted import Wanted, wanted


def run(action: ActionBase, task_vars: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the host to what the role wants, or with ``--check`` say what that would change.

    Raises Ansible's own exceptions for a host that is not reached or has no use for the role.
    """
    slug = str(action._task.args["role"])
    host = str(task_vars["inventory_hostname"])
    try:
        result = own_part(_converge(action, task_vars, host, slug), slug)
    except AiprovError as error:
        return {"failed": True, "msg": _message(error)}
    if result.status == "unreachable":
        raise AnsibleConnectionFailure(_message(result.error))
    if result.plan is not None and result.plan.skipped:
        raise AnsibleActionSkip(result.plan.skipped[0].reason)
    answer = task_result(result)
    if result.error is not None:
        answer |= {"failed": True, "msg": _message(result.error)}
    if action._task.diff:
        answer["diff"] = task_diff(result)
    return answer


def _converge(action: ActionBase, task_vars: Mapping[str, Any], host: str, slug: str) -> HostResult:
    # What the required roles would bring is not there yet in a check, so it is planned along.
    slugs = tuple(order([slug])) if action._task.check_mode else (slug,)
    given = {
        name: settings.from_mapping(name, task_vars, template=action._templar.template, host=host)
        for name in slugs
    }
    template = action._templar.template
    cluster = Cluster(
        hosts=_Hosts(task_vars),
        groups=task_vars["groups"],
        settings=_Settings(given, task_vars, template, host),
        secrets=settings.secrets_of(_sources()),
    )
    modules = Modules(action, host, task_vars)
    known: list[Facts] = []

    def wants(facts: Facts) -> Wanted:
        known[:] = [facts]
        return wanted(given, facts, cluster)

    engine = InsideEngine(
        modules,
        family=lambda: known[0].family,
        local=action._connection.transport == "local",
    )
    return Convergence(
        host=host,
        api=HostApi(
            connect=lambda: AnsibleSession(action, modules, task_vars),
            read_facts=lambda session: survey_facts(session, host),
            read_state=survey_state,
        ),
        wants=wants,
        engine=None if action._task.check_mode else engine,
        listener=_show,
    ).run()


def _sources() -> tuple[str, ...]:
    """The inventory's sources, as the command line or Ansible's configuration has them."""
    return tuple(map(str, context.CLIARGS.get("inventory") or ()))


def own_part(result: HostResult, slug: str) -> HostResult:
    """The result without what other roles want, which their own tasks show and do."""
    plan = result.plan
    if plan is None or result.outcomes:
        return result
    others = {change.role for change in plan.changes} - {slug, BUILT_IN}
    own = (slug,) if others else (slug, BUILT_IN)
    plan = replace(
        plan,
        changes=tuple(change for change in plan.changes if change.role in own),
        unknown=tuple(item for item in plan.unknown if item.role == slug),
        skipped=tuple(item for item in plan.skipped if item.role == slug),
    )
    pending = result.status == "pending"
    return replace(
        result, plan=plan, status="unchanged" if pending and plan.empty else result.status
    )


class _Hosts(Mapping[str, ClusterHost]):
    """All hosts of the inventory. Templating a host's address has its price, so only when asked."""

    def __init__(self, task_vars: Mapping[str, Any]) -> None:
        self._names: list[str] = list(task_vars["groups"]["all"])
        self._groups: Mapping[str, list[str]] = task_vars["groups"]
        self._variables = task_vars["hostvars"]

    def __getitem__(self, name: str) -> ClusterHost:
        if name not in self._names:
            raise KeyError(name)
        address = self._variables[name].get("ansible_host", name)
        groups = sorted(
            group
            for group, members in self._groups.items()
            if name in members and group not in ("all", "ungrouped")
        )
        return ClusterHost(
            name=str(name),
            address=str(address),
            groups=tuple(groups),
            variables=_Variables(self._variables[name]),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(map(str, self._names))

    def __len__(self) -> int:
        return len(self._names)


class _Variables(Mapping[str, Any]):
    """Another host's variables in plain types. Ansible templates each when it is asked for."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> Any:
        return plain(self._variables[name])

    def __iter__(self) -> Iterator[str]:
        return map(str, self._variables)

    def __len__(self) -> int:
        return len(self._variables)


class _Settings(Mapping[str, RoleVars]):
    """The settings of all the host's roles. Most roles ask for none but their own."""

    def __init__(
        self,
        given: Mapping[str, RoleVars],
        task_vars: Mapping[str, Any],
        template: Callable[[Any], Any],
        host: str,
    ) -> None:
        self._known = dict(given)
        self._variables = task_vars
        self._template = template
        self._host = host

    @cached_property
    def _slugs(self) -> tuple[str, ...]:
        named = self._template(self._variables.get("aiprov_roles", list(DEFAULT_ROLES)))
        known = [slug for slug in role_names(named) or () if slug in slugs()]
        return tuple(order([*known, *self._known]))

    def __getitem__(self, slug: str) -> RoleVars:
        if slug not in self._slugs:
            raise KeyError(slug)
        if slug not in self._known:
            self._known[slug] = settings.from_mapping(
                slug, self._variables, template=self._template, host=self._host
            )
        return self._known[slug]

    def __iter__(self) -> Iterator[str]:
        return iter(self._slugs)

    def __len__(self) -> int:
        return len(self._slugs)


def _message(error: AiprovError | None) -> str:
    if error is None:
        return ""
    return f"{error.message}\nhint: {error.hint}" if error.hint else error.message


def _show(event: Event) -> None:
    """Progress, for those who ask for it with ``-v``."""
    if event.text and event.step in ("change", "rollback"):
        show: Callable[[str], None] = Display().v
        show(f"<{event.host}> {event.step} {event.number}/{event.total}: {event.text}")
