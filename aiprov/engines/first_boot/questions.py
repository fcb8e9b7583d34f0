"""The questions that commands and reboots carry, answered on the host."""

import os
from typing import Any, Dict, List, Optional

from .commands import run


def answer(question: Dict[str, Any]) -> bool:
    """Whether the host says yes."""
    asked = question["ask"]
    if asked == "Succeeds":
        return run(question["argv"], quiet=True).code == 0
    if asked == "PathExists":
        return os.path.lexists(question["path"]) is not bool(question["absent"])
    if asked == "UpToDate":
        return _up_to_date(question)
    if asked == "BootedWith":
        return str(question["argument"]) in command_line()
    raise ValueError(f"unknown question {asked!r}")


def _up_to_date(question: Dict[str, Any]) -> bool:
    made = changed_at(question["output"])
    if made is None:
        return False
    inputs = [changed_at(path) for path in question["inputs"]]
    return all(made >= when for when in inputs if when is not None)


def changed_at(path: str) -> Optional[float]:
    """When what is at the path last changed, in seconds; ``None`` where there is nothing."""
    try:
        return os.stat(path).st_ctime
    except OSError:
        return None


def command_line() -> List[str]:
    """The running kernel's arguments."""
    with open("/proc/cmdline", encoding="utf-8") as source:
        return source.read().split()
