"""What a host's roles want of it, once its settings and facts are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiprov.errors import AiprovError, HostError
from aiprov.plan import Desired, Skipped
from aiprov.roles import Cluster, Note, RoleVars, before, load, notes, outside
from aiprov.survey.facts import Facts


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Resources in the order of their roles, roles without use for the host, who requires whom.

    ``notes``: what the roles tell of their decisions, each text once.
    """

    desired: Sequence[Desired]
    skipped: Sequence[Skipped] = ()
    notes: Sequence[Note] = ()
    requires: Mapping[str, Sequence[str]] = field(default_factory=dict)


def wanted(settings: Mapping[str, RoleVars], facts: Facts, cluster: Cluster) -> Wanted:
    """What the roles come to, asked in the order of ``settings``. Raises ``HostError``."""
    desired: list[Desired] = []
    skipped: list[Skipped] = []
    told: dict[Note, None] = {}
    for slug, chosen in settings.items():
        role = load(slug)
        try:
            why_not = role.unsuitable(chosen, facts) or outside(slug, chosen, facts, cluster)
            resources = [] if why_not else role.resources(chosen, facts, cluster)
            told |= dict.fromkeys([] if why_not else notes(slug, chosen, facts, cluster))
        except AiprovError as error:
            what = f"role {slug}: {error}"  # with the file, where the inventory is at fault
            raise HostError(facts.name, what, hint=error.hint) from error
        if why_not:
            skipped.append(Skipped(role=slug, reason=why_not))
        desired += [Desired(role=slug, resource=resource) for resource in resources]
    requires = {slug: before(slug, settings) for slug in settings}
    return Wanted(desired=desired, skipped=skipped, notes=tuple(told), requires=requires)
