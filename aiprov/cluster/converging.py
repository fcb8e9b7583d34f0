"""One host of an upgrade goes the way of ``aiprov apply``, allowed to change its version."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from aiprov import app
from aiprov.cluster.members import Member
from aiprov.cluster.plane import Say
from aiprov.converge import Event, HostResult
from aiprov.errors import HostError
from aiprov.roles import RoleVars

ROLE = "kubernetes"


@dataclass(kw_only=True)
class Converging:
    """What brings one host to what the inventory wants of it, its version of Kubernetes too.

    Settings are checked when it is made, before any host is touched. ``results`` are those so far.
    """

    request: app.Request
    engine: str
    results: list[HostResult] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.monotonic)
    jobs: Mapping[str, app.Job] = field(init=False)

    def __post_init__(self) -> None:
        everyone = replace(self.request, limit=None, roles=())
        self.jobs = {job.host.name: job for job in app.jobs(everyone)}

    def __call__(self, member: Member, say: Say) -> HostResult:
        name = member.host.name
        job = self.jobs.get(name)
        if job is None or ROLE not in job.settings:
            raise HostError(
                name,
                "the inventory does not give it the role kubernetes",
                hint="add kubernetes to its aiprov_roles",
            )

        def show(event: Event) -> None:
            if event.step in ("change", "rollback"):
                say(name, f"{event.step} {event.number}/{event.total} {event.text}")

        result = app.apply_job(_allowed(job), self.request, show, self.engine)
        self.results.append(result)
        return result

    @property
    def record(self) -> app.Run:
        """What was done to hosts, as the run that `aiprov report` shows."""
        return app.Run(
            verb="cluster upgrade",
            results=tuple(self.results),
            started=self.started,
            seconds=time.monotonic() - self.began,
            hosts=len(self.results),
        )


def _allowed(job: app.Job) -> app.Job:
    """The job with ``kubernetes_upgrade``, wherever the roles of the host read it."""
    upgrading: RoleVars = job.settings[ROLE].model_copy(update={"kubernetes_upgrade": True})
    every = {**job.cluster.settings, ROLE: upgrading}
    return replace(
        job,
        settings={**job.settings, ROLE: upgrading},
        cluster=replace(job.cluster, settings=every),
    )
