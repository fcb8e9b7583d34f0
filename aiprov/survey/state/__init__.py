"""What is *on* a host: for each resource, the question the agent is asked and what its answer says.

Pure on both sides. The state of each kind has these keys:

AptRepository    files: [sha256 of each of ``repository_files``, "" if absent], fetched: bool
DnfRepository    files: as above
Package          version: str | None, hold: bool, candidates: [exact versions, newest first]
                 (``candidates`` is read only where the installed version does not do),
                 for one of a set companions: {name: version} of all packages at its version
File             type: absent|file|directory|link|other, mode: int, owner: str, group: str,
                 sha256: str, content: str | None (``None``: not text, too large, or secret)
Directory        type, mode, owner, group
Link             type, target: str
Absent           type
KernelModule     loaded: bool, at_boot: bool; and where the running kernel has none of that name
                 missing_from: its release, remedy: str
Sysctl           value: str | None, at_boot: str | None
KernelArgument   at_boot: bool
Service          exists: bool, enabled: bool, running: bool, masked: bool,
                 stale: [paths of ``restart_on`` that changed after the unit started],
                 reload_needed: bool (systemd's NeedDaemonReload)
User             exists: bool, uid, group, groups: [str], home, shell
Group            exists: bool, gid
Command          done: bool, said: [lines of what differs, where the question says no and so];
                 untold: True where there was no answer yet, and one is to be waited for
Reboot           needed: bool, said: as above

Two entries are there beside the resources' own: ``PackageLists`` (age_s: int | None, ``None`` when
they were never fetched; complete: bool, whether there is one of every source) where packages are
asked for, and ``File[<path>.aiprov-previous]`` for every path in a ``restart_on``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from aiprov.errors import SurveyError
from aiprov.plain_files import grub_file, module_file, repository_files, sysctl_file
from aiprov.resources import (
    Absent,
    AptRepository,
    Command,
    Directory,
    DnfRepository,
    File,
    Group,
    HostState,
    KernelArgument,
    KernelModule,
    Link,
    Package,
    Reboot,
    Resource,
    Service,
    State,
    Sysctl,
    User,
    address,
    previous_path,
)
from aiprov.survey.facts import Facts
from aiprov.survey.state import kernel, packages, paths, questions, services
from aiprov.survey.state.asks import Asks

PACKAGE_LISTS = "PackageLists"


def state_request(facts: Facts, resources: Sequence[Resource]) -> Mapping[str, Any]:
    """The one request whose answer holds the state of all the resources."""
    asks = Asks(facts=facts)
    for resource in resources:
        _ask(resource, asks)
    return asks.request()


def candidates_request(
    facts: Facts, resources: Sequence[Resource], answer: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The request for what the repositories offer of packages that are not as wanted, if any is."""
    names = packages.unmet(facts, resources, answer)
    if not names:
        return None
    return {"ask": "candidates", "manager": packages.manager(facts), "packages": names}


def state_from(
    facts: Facts,
    resources: Sequence[Resource],
    answer: Mapping[str, Any],
    candidates: Mapping[str, Any],
) -> HostState:
    """Each resource's state from the agent's answers. Raises ``SurveyError``."""
    try:
        return _state_from(facts, resources, answer, candidates)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SurveyError(
            facts.name,
            f"the state that the host gave makes no sense ({type(error).__name__}: {error})",
            hint="please report this as a defect, with the output of: aiprov plan -v",
        ) from error


def _state_from(
    facts: Facts,
    resources: Sequence[Resource],
    answer: Mapping[str, Any],
    candidates: Mapping[str, Any],
) -> HostState:
    found = packages.installed(facts, answer)
    offers = packages.offers(facts, candidates)
    units = services.units(facts, resources, answer)
    state: dict[str, State] = {}
    for resource in resources:
        key = address(resource)
        match resource:
            case Package():
                state[key] = packages.state(resource, found, offers, answer.get("companions", {}))
            case Service():
                state[key] = services.state(resource, units, answer)
                for path in resource.restart_on:
                    previous = File(path=previous_path(path), content="")
                    state.setdefault(address(previous), paths.state(facts, previous, answer))
            case _:
                state[key] = _one(facts, resource, answer)
    if "lists_age" in answer:
        complete = bool(answer.get("lists_complete", True))
        state[PACKAGE_LISTS] = {"age_s": answer["lists_age"], "complete": complete}
    return state


def _one(facts: Facts, resource: Resource, answer: Mapping[str, Any]) -> State:
    match resource:
        case AptRepository() | DnfRepository():
            return packages.repository(facts, resource, answer)
        case File() | Directory() | Link() | Absent():
            return paths.state(facts, resource, answer)
        case KernelModule():
            return kernel.module(facts, resource, answer)
        case Sysctl():
            return kernel.sysctl(facts, resource, answer)
        case KernelArgument():
            return kernel.argument(facts, resource, answer)
        case User():
            return questions.user(resource, answer)
        case Group():
            return questions.group(resource, answer)
        case Command():
            return questions.state(facts, resource, answer, "done")
        case Reboot():
            found = questions.state(facts, resource, answer, "needed")
            return {**found, "needed": not found["needed"]}
        case Package() | Service():
            raise TypeError("read with all others of its kind")
        case _:
            assert_never(resource)


def _ask(resource: Resource, asks: Asks) -> None:
    match resource:
        case AptRepository() | DnfRepository():
            for file in repository_files(resource):
                asks.file(file)
            if isinstance(resource, AptRepository):
                asks.lists |= set(packages.list_names(resource, asks.facts.deb_architecture))
        case Package():
            asks.packages.add(resource.name)
            if resource.together is not None:
                asks.sets.add(resource.name)
        case File():
            asks.file(resource)
        case Directory() | Link() | Absent():
            asks.path(resource.path)
        case KernelModule():
            asks.modules.add(kernel.module_name(resource))
            asks.file(module_file(resource))
        case Sysctl():
            asks.sysctls.add(kernel.sysctl_path(resource.key))
            asks.file(sysctl_file(resource))
        case KernelArgument():
            asks.kernel_arguments = True
            asks.file(grub_file(resource))
        case Service():
            _ask_service(resource, asks)
        case User():
            asks.users.add(resource.name)
        case Group():
            asks.groups.add(resource.name)
        case Command() | Reboot():
            questions.ask(resource, asks)
        case _:
            assert_never(resource)


def _ask_service(service: Service, asks: Asks) -> None:
    asks.units.add(service.name)
    for path in service.restart_on:
        asks.ctimes |= {path, previous_path(path)}
        asks.file(File(path=previous_path(path), content=""), of=path)
