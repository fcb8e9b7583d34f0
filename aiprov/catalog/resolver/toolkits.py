"""CUDA toolkits against the GPUs and the driver."""

from __future__ import annotations

from aiprov.catalog import _numbers, cuda, drivers, nvidia_repositories
from aiprov.catalog.drivers import Branch
from aiprov.catalog.resolution import Conflict
from aiprov.catalog.resolver.question import Question


def conflicts(asks: Question) -> tuple[Conflict, ...]:
    """Toolkits that do not compile for a GPU of the host, whatever the driver."""
    found = []
    for row in asks.toolkits:
        for model in asks.models:
            limits = drivers.support(model.architecture)
            if cuda.compiles_for(row, limits.first_cuda, limits.last_cuda):
                continue
            last, first = limits.last_cuda, limits.first_cuda
            over = last is not None and _numbers(row.version) > _numbers(last)
            what = f"dropped {model.architecture.title()}" if over else "is older than"
            found.append(
                Conflict(
                    what=f"CUDA {row.version} {what}"
                    + (f", and {model.name} is one" if over else f" {model.name} needs"),
                    hint=f"ask for CUDA {last} or older"
                    if over
                    else f"{model.architecture.title()} needs CUDA {first} or newer",
                )
            )
    return tuple(found)


def warnings(asks: Question, branch: Branch) -> tuple[str, ...]:
    """Toolkits that run on an older driver than NVIDIA tests them with."""
    at = asks.asked.driver if asks.asked.driver and "." in asks.asked.driver else branch.latest
    at = at or branch.name
    return tuple(
        f"CUDA {row.version} was released with driver {row.bundled_driver}; on {branch.name} it "
        "runs by minor-version compatibility, without what needs a newer driver"
        for row in asks.toolkits
        if _numbers(at) < _numbers(row.bundled_driver) and branch.latest is not None
    )


def not_known_to_be_there(asks: Question) -> tuple[str, ...]:
    """Toolkits older than the first that NVIDIA's repository for the OS is known to have."""
    os = asks.asked.os
    first = nvidia_repositories.cuda_repository(os).first_cuda
    return tuple(
        f"CUDA {row.version}: NVIDIA's repository for {os.name} is known to have {first} and newer"
        for row in asks.toolkits
        if first is not None and _numbers(row.version) < _numbers(first)
    )
