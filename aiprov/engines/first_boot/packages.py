"""Packages: lists fetched, exact versions resolved from the repositories' metadata, holds."""

import re
from typing import Any, Dict, List, Optional

from .commands import StepFailedError, again, must, run
from .versions import satisfies

Step = Dict[str, Any]

LOCK_TIMEOUT_S = 300
DELAYS_S = (5, 10, 20, 40, 60)
VERSIONLOCK = "/etc/dnf/plugins/versionlock.list"

APT = [
    "apt-get",
    "-y",
    "-q",
    "-o", f"DPkg::Lock::Timeout={LOCK_TIMEOUT_S}",
    "-o", "Dpkg::Options::=--force-confdef",
    "-o", "Dpkg::Options::=--force-confold",
    "-o", "Dpkg::Use-Pty=0",
    "-o", "Acquire::Retries=5",
]  # fmt: skip


def fetch_lists(step: Step) -> bool:
    """Fetch the package lists; an unreachable repository fails, old lists are not good enough."""
    if step["manager"] == "apt":
        again(lambda: must([*APT, "-o", "APT::Update::Error-Mode=any", "update"]), DELAYS_S)
    else:
        again(lambda: must(["dnf", "-y", "-q", "makecache"]), DELAYS_S)
    return True


def ensure_packages(step: Step) -> bool:
    """One transaction: neighbours of one direction, so that pinned sets go in together."""
    manager = _Apt() if step["manager"] == "apt" else _Dnf()
    if step["absent"]:
        gone = [item["name"] for item in step["packages"] if manager.installed(item["name"])]
        if gone:
            manager.finish_interrupted()
            manager.remove(gone)
        return bool(gone)
    specs = [
        manager.spec(item["name"], item["version"])
        for item in step["packages"]
        if not _present(manager.installed(item["name"]), item["version"])
    ]
    if specs:
        manager.finish_interrupted()
        manager.install(specs)
    holds = [manager.hold(item["name"], item["hold"]) for item in step["packages"]]
    return bool(specs) or any(holds)


def _present(version: Optional[str], wanted: Optional[str]) -> bool:
    return version is not None and satisfies(version, wanted)


class _Manager:
    """What both package managers offer."""

    def installed(self, name: str) -> Optional[str]:
        """The installed version."""
        raise NotImplementedError

    def offers(self, name: str, wanted: str) -> List[str]:
        """Versions on offer, newest first."""
        raise NotImplementedError

    def spec(self, name: str, wanted: Optional[str]) -> str:
        """What to ask the package manager for. Raises ``StepFailedError`` when nothing fits."""
        if wanted is None:
            return name
        offers = self.offers(name, wanted)
        for offer in offers:
            if satisfies(offer, wanted):
                return name + self.separator + offer
        shown = ", ".join(offers[:5]) or "none"
        raise StepFailedError(f"{name} {wanted} is not on offer; there is: {shown}")

    separator = "="

    def finish_interrupted(self) -> None:
        """Finish what a power loss left behind."""

    def install(self, specs: List[str]) -> None:
        """Install exactly these."""
        raise NotImplementedError

    def remove(self, names: List[str]) -> None:
        """Remove these."""
        raise NotImplementedError

    def hold(self, name: str, wanted: Optional[bool]) -> bool:
        """Hold, release, or (``None``) leave alone. True when that changed anything."""
        raise NotImplementedError


class _Apt(_Manager):
    def installed(self, name: str) -> Optional[str]:
        asked = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}\n", name]
        result = run(asked, quiet=True)
        for line in result.output.splitlines() if result.code == 0 else ():
            status, _, version = line.partition(" ")
            if status == "installed":
                return version
        return None

    def offers(self, name: str, wanted: str) -> List[str]:
        lines = must(["apt-cache", "madison", name], quiet=True).splitlines()
        columns = [[column.strip() for column in line.split("|")] for line in lines]
        return [row[1] for row in columns if len(row) == 3 and not row[2].endswith(" Sources")]

    def finish_interrupted(self) -> None:
        must(["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"])

    def install(self, specs: List[str]) -> None:
        flags = ["--allow-downgrades", "--allow-change-held-packages"]
        again(lambda: must([*APT, *flags, "install", *specs]), DELAYS_S[:2])

    def remove(self, names: List[str]) -> None:
        must([*APT, "--allow-change-held-packages", "remove", *names])

    def hold(self, name: str, wanted: Optional[bool]) -> bool:
        held = name in must(["apt-mark", "showhold"], quiet=True).split()
        if wanted is None or wanted == held:
            return False
        must(["apt-mark", "hold" if wanted else "unhold", name])
        return True


class _Dnf(_Manager):
    separator = "-"

    def installed(self, name: str) -> Optional[str]:
        result = run(["rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}\n", name], quiet=True)
        return result.output.split()[-1] if result.code == 0 else None

    def offers(self, name: str, wanted: str) -> List[str]:
        specs = [f"{name}-{wanted}{tail}" for tail in ("", "[.~+]*")]
        query = ["dnf", "-q", "repoquery", "--latest-limit=1", "--qf", "%{version}-%{release}"]
        return must([*query, *specs], quiet=True).split()

    def install(self, specs: List[str]) -> None:
        again(lambda: must(["dnf", "-y", "install", "--allowerasing", *specs]), DELAYS_S[:2])

    def remove(self, names: List[str]) -> None:
        must(["dnf", "-y", "remove", *names])

    def hold(self, name: str, wanted: Optional[bool]) -> bool:
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
