"""One answer: what the parts say, put together."""

from __future__ import annotations

from aiprov.catalog import drivers
from aiprov.catalog.resolution import Asked, Conflict, Cuda, Refusal, Resolution
from aiprov.catalog.resolver import packages, runtime, toolkits
from aiprov.catalog.resolver.driver import choose
from aiprov.catalog.resolver.question import Question, past, question


def answer(asked: Asked) -> Resolution | Refusal:
    """The set that fits, or the conflicts, without a look at what works nearby."""
    asks = question(asked)
    wished = drivers.branch(asked.driver) if asked.driver else None
    joined = runtime.choose(asks)
    conflicts: list[Conflict] = [*joined.conflicts, *toolkits.conflicts(asks)]
    warnings = [*_os_warnings(asks), *joined.warnings, *toolkits.not_known_to_be_there(asks)]
    choice = choose(asks, wished) if asks.models else None
    if choice is not None:
        conflicts = [*choice.conflicts, *conflicts]
        warnings += choice.warnings
    if conflicts:
        return Refusal(conflicts=tuple(dict.fromkeys(conflicts)), warnings=tuple(warnings))
    picked = choice.candidate if choice is not None else None
    if picked is not None:
        warnings += toolkits.warnings(asks, picked.branch)
    return Resolution(
        driver=packages.made_of(asks, picked) if picked is not None else None,
        cuda=tuple(
            Cuda(version=row.version, packages=row.packages, minimum_driver=row.minimum_driver)
            for row in asks.toolkits
        ),
        fabric_manager=asks.fabric,
        nvlink5=asks.nvlink5,
        imex=asks.imex,
        coherent=asks.coherent,
        containerd=joined.containerd,
        kubernetes=asked.kubernetes,
        warnings=tuple(dict.fromkeys(warnings)),
        reasons=(*(choice.reasons if choice else _no_gpu(asks)), *joined.reasons),
    )


def _no_gpu(asks: Question) -> tuple[str, ...]:
    return ("no driver: the host has no NVIDIA GPU",)


def _os_warnings(asks: Question) -> tuple[str, ...]:
    os = asks.asked.os
    return (f"{os.name} has been at its end of life since {os.eol}",) * past(os.eol, asks.today)
