"""What speaks against a driver on a host: its GPUs, kernels, toolkits, Secure Boot, its fabric."""

from __future__ import annotations

from aiprov.catalog import _numbers, drivers
from aiprov.catalog.drivers import Branch, PackageSet
from aiprov.catalog.gpus import Gpu
from aiprov.catalog.resolution import Conflict, Modules
from aiprov.catalog.resolver.question import Question


def exact(asks: Question) -> str | None:
    """The driver version that is asked for, where it is more than a branch."""
    wish = asks.asked.driver
    return wish if wish is not None and "." in wish else None


def of(asks: Question, branch: Branch, item: PackageSet) -> tuple[Conflict, ...]:
    """All that speaks against a branch in this form of packages; nothing where it fits."""
    found: list[Conflict] = []
    for model in asks.models:
        found += _of_gpu(asks, model, branch, item.modules)
    for kernel in asks.asked.kernels:
        found += _of_kernel(asks, kernel, branch, item)
    found += _of_toolkits(asks, branch)
    found += _of_secure_boot(asks, item)
    found += _of_fabric(asks, item)
    return tuple(dict.fromkeys(found))


def of_gpus_together(asks: Question) -> tuple[Conflict, ...]:
    """GPUs that no driver serves together: no kind of modules, or no branch, is left for them."""
    for index, one in enumerate(asks.models):
        for other in asks.models[index + 1 :]:
            if not any(_both(one, other, row) for row in drivers.branches()):
                return (
                    Conflict(
                        what=f"{_called(one)} and {_called(other)} have no driver in common: "
                        f"{_needs(one)}, {_needs(other)}",
                        hint="put them into separate hosts",
                    ),
                )
    return ()


def modules_of(model: Gpu, branch: Branch) -> set[Modules]:
    """The kernel modules of a branch that drive a GPU; none where the branch does not serve it."""
    row = drivers.support(model.architecture)
    oldest, newest = row.oldest_branch or branch.name, row.newest_branch or branch.name
    if not int(oldest) <= branch.number <= int(newest):
        return set()
    kinds = {"open"} if model.grace else set(row.modules)
    if branch.number >= drivers.open_only_since():
        kinds &= {"open"}
    return {kind for kind in row.modules if kind in kinds}


def least_version(asks: Question, branch: Branch) -> str | None:
    """The oldest version of the branch that the GPUs, kernels and toolkits leave; ``None``: any."""
    found = [row.minimum_driver for row in asks.toolkits]
    found += [least for m in asks.models if (least := drivers.least_driver(m.pci_id))]
    found += [
        limit.mended
        for kernel in asks.asked.kernels
        for limit in drivers.kernel_limits(branch.name, kernel)
        if limit.mended
    ]
    within = [version for version in found if version.partition(".")[0] == branch.name]
    return max(within, key=_numbers, default=None)


def _both(one: Gpu, other: Gpu, row: Branch) -> bool:
    return bool(modules_of(one, row) & modules_of(other, row))


def _called(model: Gpu) -> str:
    return f"{model.name} ({'Grace ' if model.grace else ''}{model.architecture.title()})"


def _needs(model: Gpu) -> str:
    """What a GPU needs of a driver, in words: for a conflict between two."""
    row = drivers.support(model.architecture)
    kinds = ["open"] if model.grace else row.modules
    oldest = f" from {row.oldest_branch} on" if row.oldest_branch else ""
    newest = f" up to {row.newest_branch}" if row.newest_branch else ""
    only = f"{kinds[0]} kernel modules only" if len(kinds) == 1 else "either kernel modules"
    return f"the {model.architecture.title()} has {only}{oldest}{newest}"


def _of_gpu(asks: Question, model: Gpu, branch: Branch, modules: Modules) -> list[Conflict]:
    row = drivers.support(model.architecture)
    called, found = _called(model), []
    if row.newest_branch and branch.number > int(row.newest_branch):
        found.append(
            Conflict(
                what=f"driver {branch.name} no longer drives {called}, {row.newest_branch} does",
                hint=f"ask for driver {row.newest_branch} or none",
            )
        )
    if row.oldest_branch and branch.number < int(row.oldest_branch):
        found.append(
            Conflict(
                what=f"driver {branch.name} does not know {called} yet",
                hint=f"ask for driver {row.oldest_branch} or newer, or none",
            )
        )
    kinds = ["open"] if model.grace else row.modules
    if modules not in kinds:
        found.append(
            Conflict(
                what=f"the {modules} kernel modules do not drive {called}",
                hint=f"ask for the {kinds[0]} ones or none",
            )
        )
    least = drivers.least_driver(model.pci_id)
    if least and _older(asks, branch, least):
        found.append(
            Conflict(
                what=f"driver {exact(asks) or branch.name} is older than {called} needs: {least}",
                hint=f"ask for driver {least} or newer, or none",
            )
        )
    return found


def _older(asks: Question, branch: Branch, least: str) -> bool:
    """Whether the version asked for, or the newest known one of the branch, is older than that."""
    at = exact(asks) or branch.latest
    if at is None:
        return branch.number < int(least.partition(".")[0])
    return _numbers(at) < _numbers(least)


def _of_kernel(asks: Question, kernel: str, branch: Branch, item: PackageSet) -> list[Conflict]:
    found = _of_signed_kernel(asks, kernel) if item.build == "signed" else []
    for limit in drivers.kernel_limits(branch.name, kernel):
        if limit.mended is None:
            what = f"driver {exact(asks) or branch.name} does not build on kernel {kernel}"
            way = "ask for another branch or none"
            if item.from_ == "distribution":
                way = "take the driver from NVIDIA's repository"
            hint = f"{way}, or keep the host on an older kernel"
        elif _older(asks, branch, limit.mended):
            what = (
                f"driver {exact(asks) or branch.name} does not build on kernel {kernel}: "
                f"{limit.mended} is the first that does"
            )
            hint = f"ask for driver {limit.mended} or newer, or for {branch.name} alone"
        else:
            continue
        found.append(Conflict(what=what, hint=hint))
    return found


def _of_signed_kernel(asks: Question, kernel: str) -> list[Conflict]:
    if drivers.flavour(asks.asked.os, kernel) is not None:
        return []
    return [
        Conflict(
            what=f"{asks.asked.os.name} has no signed modules for kernel {kernel}",
            hint="boot one of its own kernels (generic, aws, azure, gcp, oracle, nvidia), or take "
            "the driver from NVIDIA's repository",
        )
    ]


def _of_toolkits(asks: Question, branch: Branch) -> list[Conflict]:
    return [
        Conflict(
            what=f"CUDA {row.version} needs driver {row.minimum_driver} or newer, "
            f"not {exact(asks) or branch.name}",
            hint=f"ask for driver {row.minimum_driver} or newer or none, or for an older CUDA",
        )
        for row in asks.toolkits
        if _older(asks, branch, row.minimum_driver)
    ]


def _of_secure_boot(asks: Question, item: PackageSet) -> list[Conflict]:
    asked = asks.asked
    if item.build != "dkms" or not asked.secure_boot or asked.mok_enrolled:
        return []
    ways = "enrol the machine owner key that DKMS signs with (mokutil --import), or switch it off"
    if asked.os.id == "ubuntu" and asks.nvlink5:
        ways += "; Ubuntu's signed modules are no way out, its archive lacks nvlsm for NVLink 5"
    elif asked.os.id == "ubuntu" and all(drivers.flavour(asked.os, k) for k in asked.kernels):
        ways = f"take Ubuntu's signed modules (source distribution), {ways}"
    if (asked.os.id, asked.os.version) == ("rhel", "10"):
        ways += (
            "; on subscribed hosts of RHEL 10.1 and later, Red Hat's extensions repository has "
            "signed modules (kmod-nvidia), which aiprov does not manage"
        )
    return [
        Conflict(
            what="Secure Boot is on, and modules that DKMS builds are signed with no enrolled key",
            hint=ways,
        )
    ]


def _of_fabric(asks: Question, item: PackageSet) -> list[Conflict]:
    """Packages for what joins the GPUs that this source does not have."""
    lacks = []
    if asks.fabric and not item.fabric:
        lacks.append("fabric manager")
    if asks.nvlink5 and not item.nvlink5:
        lacks.append("nvlsm, which NVLink 5 switches need")
    if asks.imex and not item.imex:
        lacks.append("IMEX")
    return [
        Conflict(
            what=f"this source on {asks.asked.os.name} has no {what}",
            hint="take the driver from NVIDIA's repository",
        )
        for what in lacks
    ]
