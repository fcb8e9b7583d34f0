"""What is asked, looked up once: GPU models and what joins them, CUDA toolkits, the day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from aiprov.catalog import cuda, drivers, gpus
from aiprov.catalog.resolution import Asked
from aiprov.errors import CatalogError

_VERSION = re.compile(r"\d+(\.\d+)*")


@dataclass(frozen=True, kw_only=True)
class Question:
    """``models``: each of the host's GPU models once. ``fabric``: switches join the GPUs.

    ``flavours``: those of the kernels, as Ubuntu names them; without kernels, its usual one.
    ``nvlink5``: those are of the fifth generation. ``imex``: several hosts share NVLink memory;
    their switches are in machines of their own, and so is what manages them.
    """

    asked: Asked
    today: date
    models: tuple[gpus.Gpu, ...]
    flavours: tuple[str, ...]
    toolkits: tuple[cuda.Toolkit, ...]
    fabric: bool
    nvlink5: bool
    imex: bool
    coherent: bool


def question(asked: Asked) -> Question:
    """Look up what is asked. Raises ``CatalogError`` for what the catalog does not know."""
    for name in ("containerd", "kubernetes", "toolkit"):
        _check(name, getattr(asked, name))
    models = tuple(gpus.gpu(item) for item in dict.fromkeys(asked.gpus))
    toolkits = tuple(cuda.toolkit(version) for version in asked.cuda)
    nvlink5 = any(model.fabric == "nvlink5" and not model.grace for model in models)
    switched = any(model.fabric == "nvswitch" and not model.grace for model in models)
    return Question(
        asked=asked,
        today=asked.today or newest_row(),
        models=models,
        flavours=_flavours(asked),
        toolkits=tuple({row.version: row for row in toolkits}.values()),
        fabric=nvlink5 or (switched if asked.switches is None else asked.switches),
        nvlink5=nvlink5,
        imex=any(model.fabric == "nvlink5" and model.grace for model in models),
        coherent=any(model.grace for model in models),
    )


def _flavours(asked: Asked) -> tuple[str, ...]:
    found = [drivers.flavour(asked.os, kernel) for kernel in asked.kernels]
    return tuple(dict.fromkeys(name for name in found if name)) or ("generic",)


def _check(name: str, version: str | None) -> None:
    if version is not None and not _VERSION.fullmatch(version):
        raise CatalogError(
            f"{name} {version!r} is not a version", hint="give numbers and dots, such as 2.3"
        )


def newest_row() -> date:
    """The day of the driver branches' newest row: what the catalog knows is as of then."""
    return max(row.date for row in drivers.branches())


def past(eol: date | None, today: date) -> bool:
    """Whether an end of life has passed. One that is not known has not."""
    return eol is not None and eol < today


def listed(words: tuple[str, ...]) -> str:
    """Words as a sentence has them: a, b and c."""
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)
