"""The page: one short function a verb, the pipeline in its order.

inventory -> settings -> survey -> roles -> plan -> engine -> survey again -> report
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiprov import fleet
from aiprov.converge import Convergence, Event, HostApi, HostResult
from aiprov.errors import HostError, NoPythonError, UsageError
from aiprov.outcome import Engine
from aiprov.roles import Cluster, RoleVars, load
from aiprov.survey import Session
from aiprov.survey.facts import Facts
from aiprov.wanted import Wanted, wanted

if TYPE_CHECKING:
    from aiprov.doctor import Diagnosis
    from aiprov.inventory import Host, Inventory, Options

Show = Callable[[Event], None]

CONTROL_PLANE = "kube_control_plane"
"""The inventory's group of the hosts that others of a Kubernetes cluster wait for."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for, whatever the verb."""

    sources: tuple[str, ...] = ()
    limit: str | None = None
    roles: tuple[str, ...] = ()
    forks: int = 32
    options: Options | None = None
    vault_password_files: tuple[str, ...] = ()
    ask_vault_password: bool = False
    bootstrap: bool = False


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that ended: its results, when, and for how long.

    Of ``hosts``, a run that was interrupted has no result for those that it did not begin, nor,
    where it was interrupted twice, for those that it left ``under_way``.
    """

    verb: str
    results: tuple[HostResult, ...]
    started: datetime
    seconds: float
    hosts: int = 0
    interrupted: bool = False
    under_way: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The run as a JSON document."""
        from aiprov.report.document import run_document

        return run_document(self.verb, self.results, started=self.started, seconds=self.seconds)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One host with everything that its plan needs, settled before any host is touched."""

    host: Host
    settings: Mapping[str, RoleVars]
    cluster: Cluster

    def wants(self, facts: Facts) -> Wanted:
        """What the host's roles want of it. Raises ``HostError``."""
        return wanted(self.settings, facts, self.cluster)


@dataclass(frozen=True, kw_only=True)
class Image:
    """What an instance boots: OS and version (``debian-12``), architecture, its GPUs."""

    system: str
    architecture: str = "x86_64"
    gpus: tuple[str, ...] = ()


# ---------------------------------------------------------------- the verbs


def plan(request: Request, show: Show, verb: str = "plan") -> Run:
    """What would change on each host. Touches nothing."""
    return _run(verb, request, show, lambda _job: None)


def apply(request: Request, show: Show, engine: str) -> Run:
    """Bring each host to what its roles want, stage by stage, each verified by reading it back."""
    return _run("apply", request, show, lambda job: _engine(engine, job, request))


def apply_job(job: Job, request: Request, show: Show, engine: str) -> HostResult:
    """The same for one host, for who decides itself which host is next."""
    return _converge(job, request, show, _engine(engine, job, request))


def facts(request: Request) -> Iterator[tuple[str, Facts | HostError]]:
    """What each host is, as the hosts answer."""
    from aiprov.survey.session import survey_facts

    def read(host: Host) -> tuple[str, Facts | HostError]:
        try:
            session = _connect(host, request)
            try:
                return host.name, survey_facts(session, host.name)
            finally:
                session.close()
        except HostError as error:
            return host.name, error

    hosts = inventory(request).hosts
    for host in hosts:
        _ = host.connection  # templated here, because Ansible's templar is not made for threads
    yield from fleet.each(read, hosts, forks=request.forks)


def doctor(
    request: Request, names: tuple[str, ...] = ()
) -> Iterator[tuple[str, Diagnosis | HostError]]:
    """What is wrong with the GPU stack of each host, as the hosts answer.

    ``names`` are hosts and groups, as an alternative to a limit; each of them must exist.
    """
    from aiprov.doctor import examine
    from aiprov.survey.session import look, survey_facts

    def ask(host: Host) -> tuple[str, Diagnosis | HostError]:
        try:
            session = _connect(host, request)
            try:
                found = survey_facts(session, host.name)
                return host.name, examine(found, lambda asked: look(session, asked), date.today())
            finally:
                session.close()
        except HostError as error:
            return host.name, error

    hosts = _named(request, names)
    for host in hosts:
        _ = host.connection  # templated here, because Ansible's templar is not made for threads
    yield from fleet.each(ask, hosts, forks=request.forks)


def render_ansible(request: Request, role: str, host: str) -> str:
    """The plain tasks that a role's plan comes to on a host, as it is now."""
    from aiprov.engines.ansible.render import render

    job = _one_job(request, host, role)
    result = _converge(job, request, lambda _event: None, None)
    if result.error is not None:
        raise result.error
    if result.plan is None or result.facts is None:
        raise TypeError("a result without an error has a plan and facts")
    tasks = render(result.plan.changes, result.facts.family)
    later = [f"# left out, {item.reason}: role {item.role}\n" for item in result.plan.skipped]
    later += [
        f"# left out, unknown until {item.until}: {item.address}\n" for item in result.plan.unknown
    ]
    return tasks.rstrip("\n") + "\n" + "".join(later)


def cloud_init(
    request: Request,
    host: str,
    image: Image,
    *,
    compressed: bool,
    allow_secrets: bool,
) -> tuple[bytes, str]:
    """User-data for a host's first boot, and what to know of it: its size, roles left out."""
    from aiprov.catalog.models import pci_id
    from aiprov.engines.cloud_init import gzipped, render, size_report
    from aiprov.engines.cloud_init.image import pristine

    job = _one_job(request, host, None)
    gpus = [pci_id(word) for word in image.gpus]
    facts = pristine(image.system, image.architecture, name=host, gpus=gpus)
    found = job.wants(facts)
    text = render(found.desired, facts, allow_secrets=allow_secrets)
    told = [str(size_report(text))]
    told += [f"left out: role {item.role}: {item.reason}" for item in found.skipped]
    return gzipped(text) if compressed else text.encode(), "\n".join(told)


def inventory_view(what: str, request: Request) -> tuple[dict[str, Any], str, bool]:
    """``check``, ``show`` or ``graph``: the document, the text, and whether all is well."""
    from aiprov.inventory.graph import graph, graph_text
    from aiprov.settings.check import check
    from aiprov.settings.show import show, show_text

    if what == "check":
        report = check(lambda: inventory(request))
        return report.document(), report.text(), report.ok
    document = (show if what == "show" else graph)(inventory(request))
    return document, (show_text if what == "show" else graph_text)(document), True


def write_reports(
    document: dict[str, Any], *, html_file: str | None, junit_file: str | None
) -> Iterator[str]:
    """Write a recorded run as files; yields their names."""
    from aiprov.report.html import html
    from aiprov.report.junit import junit

    for name, make in ((html_file, html), (junit_file, junit)):
        if name is not None:
            try:
                Path(name).write_text(make(document), encoding="utf-8")
            except OSError as error:
                raise UsageError(f"{name}: {error.strerror}") from error
            yield name


# ---------------------------------------------------------------- the pipeline


def inventory(request: Request) -> Inventory:
    """The inventory, limited, with what the command line overrides."""
    from aiprov.inventory import Options
    from aiprov.inventory import load as load_inventory

    return load_inventory(
        request.sources,
        limit=request.limit,
        options=request.options or Options(),
        vault_password_files=request.vault_password_files,
        ask_vault=request.ask_vault_password,
    )


def _named(request: Request, names: tuple[str, ...]) -> tuple[Host, ...]:
    """The hosts of these names and groups; without names, those of the limit.

    Raises ``UsageError`` for a name that is of neither.
    """
    if not names:
        return inventory(request).hosts
    if request.limit is not None:
        raise UsageError(
            "hosts are named, and --limit is given too",
            hint="a limit may name hosts: -l gpu01,gpu02",
        )
    known = inventory(replace(request, limit=",".join(names)))
    there = {host.name for host in (*known.hosts, *known.everyone)} | set(known.groups)
    for name in names:  # a list as a limit passes over what is not there
        if name not in there and not set(name) & set("*?[]!&:,~"):
            near = get_close_matches(name, sorted(there), n=1)
            raise UsageError(
                f"{name} is neither a host nor a group of the inventory",
                hint=f"did you mean {near[0]}?" if near else "aiprov inventory graph shows both",
            )
    return known.hosts


def jobs(request: Request) -> list[Job]:
    """A job for each host that has roles, control planes first, else in the inventory's order.

    All settings are checked before any host is touched.
    """
    from aiprov import settings

    for slug in request.roles:
        load(slug)
    known = inventory(request)
    resolved = settings.resolve_all(known, only=request.roles)
    if not any(own.chosen for own in resolved.values()):
        asked = f"role {', '.join(request.roles)}" if request.roles else "any role"
        raise UsageError(
            f"none of the hosts has {asked}",
            hint="aiprov_roles in the inventory says which host has which roles",
        )
    cluster = settings.cluster(known)
    # Who waits for a control plane must not take all forks before the first has begun.
    names = dict.fromkeys((*cluster.groups.get(CONTROL_PLANE, ()), *cluster.hosts))
    places = {name: number for number, name in enumerate(names)}
    ordered = sorted(known.hosts, key=lambda host: places.get(host.name, len(places)))
    return [
        Job(host=host, settings=own.chosen, cluster=replace(cluster, settings=own.every))
        for host, own in ((host, resolved[host.name]) for host in ordered)
        if own.chosen
    ]


def _run(verb: str, request: Request, show: Show, engine: Callable[[Job], Engine | None]) -> Run:
    started, began = datetime.now(UTC), time.monotonic()
    work = jobs(request)
    show(Event(host="", step="begin", total=len(work)))
    results: list[HostResult] = []
    under_way: set[str] = set()
    interrupted = False

    def converge(job: Job) -> HostResult:
        under_way.add(job.host.name)
        return _converge(job, request, show, engine(job))

    def tell() -> None:
        show(Event(host="", step="interrupted"))

    try:
        for result in fleet.each(converge, work, forks=request.forks, interrupted=tell):
            results.append(result)
    except KeyboardInterrupt:
        fleet.stopping.set()
        interrupted = True
    return Run(
        verb=verb,
        results=tuple(results),
        started=started,
        seconds=time.monotonic() - began,
        hosts=len(work),
        interrupted=interrupted,
        under_way=tuple(sorted(under_way - {result.host for result in results})),
    )


def _converge(job: Job, request: Request, show: Show, engine: Engine | None) -> HostResult:
    from aiprov.survey.session import survey_facts, survey_state

    api = HostApi(
        connect=lambda: _connect(job.host, request),
        read_facts=lambda session: survey_facts(session, job.host.name),
        read_state=survey_state,
    )
    return Convergence(
        host=job.host.name,
        api=api,
        wants=job.wants,
        engine=engine,
        listener=show,
        stopping=fleet.stopping.is_set,
    ).run()


def _connect(host: Host, request: Request) -> Session:
    """A session with a host; where it is allowed and needed, Python is installed first."""
    from aiprov.survey.session import open_session, survey_facts

    session = open_session(host.connection)
    if not request.bootstrap:
        return session
    try:
        survey_facts(session, host.name)  # only an answer tells that there is a Python
    except NoPythonError:
        session.close()
    else:
        return session
    from aiprov.survey.bootstrap import bootstrap
    from aiprov.survey.transport import transport_for

    transport = transport_for(host.connection)
    try:
        bootstrap(host.connection, transport)
    finally:
        transport.close()
    return open_session(host.connection)


def _engine(name: str, job: Job, request: Request) -> Engine:
    if name == "pyinfra":
        from aiprov.engines.pyinfra import LOCK_WAIT_S, PyinfraEngine

        base = job.settings.get("base")
        lock_wait_s = getattr(base, "base_apt_lock_timeout_s", LOCK_WAIT_S)
        return PyinfraEngine(job.host.connection, lock_wait_s=lock_wait_s)
    from aiprov.engines.ansible.process import AnsibleEngine
    from aiprov.inventory.vault import typed_password

    vault = [
        word for path in request.vault_password_files for word in ("--vault-password-file", path)
    ]
    return AnsibleEngine(
        job.host.connection,
        inventory=request.sources,
        options=vault,
        vault_password=typed_password(),
    )


def _one_job(request: Request, host: str, role: str | None) -> Job:
    roles = request.roles if role is None else (role,)
    found = jobs(replace(request, limit=host, roles=roles))
    if len(found) != 1:
        raise UsageError(f"--host {host} names {len(found)} hosts", hint="name one host")
    return found[0]
