"""What apt and dpkg are asked: installed versions, versions on offer, transactions, holds."""

from typing import List, Optional

from .commands import again, must, run

SEPARATOR = "="
LOCK_TIMEOUT_S = 300
DELAYS_S = (5, 10, 20, 40, 60)

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


def fetch_lists() -> None:
    """Fetch the package lists; an unreachable repository fails, old lists are not good enough."""
    again(lambda: must([*APT, "-o", "APT::Update::Error-Mode=any", "update"]), DELAYS_S)


def installed(name: str) -> Optional[str]:
    """The installed version."""
    asked = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}\n", name]
    result = run(asked, quiet=True)
    for line in result.output.splitlines() if result.code == 0 else ():
        status, _, version = line.partition(" ")
        if status == "installed":
            return version
    return None


def offers(name: str, wanted: Optional[str]) -> List[str]:
    """All versions on offer, newest first."""
    lines = must(["apt-cache", "madison", name], quiet=True).splitlines()
    columns = [[column.strip() for column in line.split("|")] for line in lines]
    return [row[1] for row in columns if len(row) == 3 and not row[2].endswith(" Sources")]


def finish_interrupted() -> None:
    """Finish what a power loss left behind: until then every transaction is refused."""
    must(["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"])


def install(specs: List[str]) -> None:
    """Install exactly these."""
    flags = ["--allow-downgrades", "--allow-change-held-packages"]
    again(lambda: must([*APT, *flags, "install", *specs]), DELAYS_S[:2])


def remove(names: List[str]) -> None:
    """Remove these."""
    must([*APT, "--allow-change-held-packages", "remove", *names])


def hold(name: str, wanted: Optional[bool]) -> bool:
    """Hold, release, or (``None``) leave alone. True when that changed anything."""
    held = name in must(["apt-mark", "showhold"], quiet=True).split()
    if wanted is None or wanted == held:
        return False
    must(["apt-mark", "hold" if wanted else "unhold", name])
    return True
