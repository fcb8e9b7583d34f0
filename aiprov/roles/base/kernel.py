"""The kernel's modules and parameters, limits of sessions, and swap."""

from __future__ import annotations

from aiprov.resources import (
    Absent,
    Command,
    File,
    KernelModule,
    Resource,
    Service,
    Succeeds,
    Sysctl,
)
from aiprov.roles.base.clock import CONTAINERS
from aiprov.roles.base.settings import Vars
from aiprov.survey.facts import Facts

LIMITS = "/etc/security/limits.d/90-aiprov.conf"


def kernel(vars: Vars, host: Facts) -> list[Resource]:
    """Modules first: many parameters exist only once their module is loaded."""
    wanted: list[Resource] = [KernelModule(name=name) for name in vars.base_kernel_modules]
    # The kernel tells numbers with tabs between them, the survey with one blank.
    wanted += [
        Sysctl(key=key, value=" ".join(str(value).split()))
        for key, value in vars.base_sysctls.items()
    ]
    lines = [f"{item.domain} {item.type} {item.item} {item.value}\n" for item in vars.base_limits]
    limits = File(path=LIMITS, content="".join(lines))
    wanted.append(limits if lines else Absent(path=LIMITS))
    # A container's swap is its machine's: not its to switch off.
    if vars.base_swap == "off" and host.virtualization not in CONTAINERS:
        wanted += _no_swap()
    return wanted


def _no_swap() -> list[Resource]:
    """No swap: the target that would pull it in at boot is masked, so fstab can stay as it is."""
    return [
        Service(name="swap.target", masked=True),
        Command(
            name="swapoff",
            argv=("swapoff", "--all"),
            # /proc/swaps has one line, its heading, when there is no swap.
            unless=Succeeds(argv=("awk", "END { exit NR > 1 }", "/proc/swaps")),
        ),
    ]
