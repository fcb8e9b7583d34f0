"""Local groups and accounts."""

import grp
import pwd
from typing import Any, Dict, List

from .commands import StepFailedError, must

Step = Dict[str, Any]


def ensure_group(step: Step) -> bool:
    """A group, with its number where one is wanted."""
    number = [] if step["gid"] is None else ["-g", str(step["gid"])]
    try:
        now = grp.getgrnam(step["name"])
    except KeyError:
        system = ["-r"] if step["system"] else []
        must(["groupadd", *system, *number, step["name"]])
        return True
    if not number or now.gr_gid == step["gid"]:
        return False
    must(["groupmod", *number, step["name"]])
    return True


def ensure_user(step: Step) -> bool:
    """An account; what is not given is left as it is. Groups are added to, never taken away."""
    try:
        now = pwd.getpwnam(step["name"])
    except KeyError:
        must(["useradd", *_new(step), *_settings(step), step["name"]])
        return True
    changes = _differing(step, now)
    if changes:
        must(["usermod", *changes, step["name"]])
    return bool(changes)


def _new(step: Step) -> List[str]:
    options = ["-r"] if step["system"] else []
    options.append("-m" if step["create_home"] else "-M")
    if step["groups"]:
        options += ["-G", ",".join(step["groups"])]
    return options


def _settings(step: Step) -> List[str]:
    options = []
    for flag, key in (("-u", "uid"), ("-g", "group"), ("-d", "home"), ("-s", "shell")):
        if step[key] is not None:
            options += [flag, str(step[key])]
    return options


def _differing(step: Step, now: pwd.struct_passwd) -> List[str]:
    present = {
        "uid": now.pw_uid,
        "group": _group_name(now.pw_gid),
        "home": now.pw_dir,
        "shell": now.pw_shell,
    }
    options = _settings({**step, **{k: None for k, v in present.items() if step[k] == v}})
    missing = [name for name in step["groups"] if not _is_in(step["name"], name, now)]
    if missing:
        options += ["-a", "-G", ",".join(missing)]
    return options


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_in(user: str, group: str, now: pwd.struct_passwd) -> bool:
    try:
        entry = grp.getgrnam(group)
    except KeyError as error:
        raise StepFailedError(f"there is no group {group}") from error
    return user in entry.gr_mem or entry.gr_gid == now.pw_gid
