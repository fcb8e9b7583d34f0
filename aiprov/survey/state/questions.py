"""Questions, users and groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from aiprov.errors import SurveyError
from aiprov.resources import (
    NO_TELLING,
    BootedWith,
    Command,
    Group,
    PathExists,
    Reboot,
    State,
    Succeeds,
    UpToDate,
    User,
    address,
)
from aiprov.shown import lines_of
from aiprov.survey.facts import Facts
from aiprov.survey.state import paths
from aiprov.survey.state.asks import Asks


def ask(resource: Command | Reboot, asks: Asks) -> None:
    """Ask for what the resource's question needs."""
    match resource.unless:
        case Succeeds(argv=argv):
            asks.commands[address(resource)] = argv
        case PathExists(path=path):
            asks.path(path)
        case UpToDate(output=output, inputs=inputs):
            asks.ctimes |= {output, *inputs}
        case BootedWith():
            pass  # the command line is always part of the answer
        case _:
            assert_never(resource.unless)


def state(facts: Facts, resource: Command | Reboot, answer: Mapping[str, Any], key: str) -> State:
    """Whether the answer is yes, under ``key``; where it is no, what was said of that.

    Raises ``SurveyError`` when there is no answer, and none is to be waited for.
    """
    if not isinstance(resource.unless, Succeeds):
        return {key: holds(facts, resource, answer)}
    rc, out, err = answer["commands"][address(resource)]
    if resource.unless.patience_s and rc in (None, NO_TELLING):
        said = lines_of(err) or ["it did not end in time" if rc is None else "it does not say why"]
        return {key: False, "said": said, "untold": True}
    yes = holds(facts, resource, answer)
    said = [] if yes else lines_of(out)
    return {key: yes, "said": said} if said else {key: yes}


def holds(facts: Facts, resource: Command | Reboot, answer: Mapping[str, Any]) -> bool:
    """Whether the answer to the question is yes. Raises ``SurveyError`` when there is none."""
    match resource.unless:
        case Succeeds(argv=argv):
            rc = answer["commands"][address(resource)][0]
            if rc is None:
                raise SurveyError(
                    facts.name,
                    f"{' '.join(argv)} did not end in time",
                    hint="it only asks a question; what does it wait for on the host?",
                )
            return bool(rc == 0)
        case PathExists(path=path, absent=absent):
            return bool((paths.at(facts, path, answer)["type"] == "absent") == absent)
        case UpToDate(output=output, inputs=inputs):
            ctimes = answer["ctimes"]
            made = ctimes[output]
            return made is not None and all(
                ctimes[path] is None or ctimes[path] <= made for path in inputs
            )
        case BootedWith(argument=argument):
            return argument in (answer["cmdline"] or "").split()
        case _:
            assert_never(resource.unless)


def user(resource: User, answer: Mapping[str, Any]) -> State:
    """A local account's state."""
    accounts = answer["accounts"]
    fields = accounts["users"].get(resource.name)
    if fields is None:
        return {
            "exists": False,
            "uid": None,
            "group": None,
            "groups": [],
            "home": None,
            "shell": None,
        }
    uid, _, home, shell, group = fields
    return {
        "exists": True,
        "uid": int(uid),
        "group": group,
        "groups": sorted({group, *accounts["member_of"].get(resource.name, ())}),
        "home": home,
        "shell": shell,
    }


def group(resource: Group, answer: Mapping[str, Any]) -> State:
    """A local group's state."""
    gid = answer["accounts"]["groups"].get(resource.name)
    return {"exists": gid is not None, "gid": None if gid is None else int(gid)}
