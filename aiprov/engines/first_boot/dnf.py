"""What dnf is asked: installed versions, versions on offer, transactions, version locks."""

import re
from typing import List, Optional

from .commands import again, must, run

SEPARATOR = "-"
VERSIONLOCK = "/etc/dnf/plugins/versionlock.list"
DELAYS_S = (5, 10, 20, 40, 60)


def fetch_lists() -> None:
    """Fetch the repositories' metadata."""
    again(lambda: must(["dnf", "-y", "-q", "makecache"]), DELAYS_S)


def installed(name: str) -> Optional[str]:
    """The installed version."""
    result = run(["rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}\n", name], quiet=True)
    return result.output.split()[-1] if result.code == 0 else None


def offers(name: str, wanted: Optional[str]) -> List[str]:
    """The newest version on offer that begins as wanted; dnf compares, so it knows which."""
    specs = [f"{name}-{wanted}{tail}" for tail in ("", "[.~+]*")] if wanted else [name]
    query = ["dnf", "-q", "repoquery", "--latest-limit=1", "--qf", "%{version}-%{release}"]
    return must([*query, *specs], quiet=True).split()


def finish_interrupted() -> None:
    """A transaction that a power loss cut off is finished by the next one."""


def install(specs: List[str]) -> None:
    """Install exactly these."""
    again(lambda: must(["dnf", "-y", "install", "--allowerasing", *specs]), DELAYS_S[:2])


def remove(names: List[str]) -> None:
    """Remove these."""
    must(["dnf", "-y", "remove", *names])


def hold(name: str, wanted: Optional[bool]) -> bool:
    """Lock, unlock, or (``None``) leave alone. True when that changed anything."""
    locked = re.compile(rf"(\d+:)?{re.escape(name)}-\d")
    try:
        with open(VERSIONLOCK, encoding="utf-8") as source:
            held = any(locked.match(line) for line in source)
    except FileNotFoundError:
        held = False
    if wanted is None or wanted == held:
        return False
    must(["dnf", "-y", "versionlock", "add" if wanted else "delete", name])
    return True
