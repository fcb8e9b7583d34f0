"""The packages of the chosen driver, and those that must go for it. Names come from the catalog."""

from __future__ import annotations

from collections.abc import Iterable

from aiprov.catalog import drivers
from aiprov.catalog.drivers import Branch, PackageSet
from aiprov.catalog.resolution import Driver
from aiprov.catalog.resolver import objections
from aiprov.catalog.resolver.driver import Candidate
from aiprov.catalog.resolver.question import Question


def made_of(asks: Question, picked: Candidate) -> Driver:
    """The driver with all its packages' names."""
    asked, row, item = asks.asked, picked.branch, picked.packages
    version = objections.exact(asks)
    locked = [*item.locked, *(item.graphics if asked.graphics else ())]
    if asks.fabric:
        locked += [*item.fabric, *(item.fabric_x86_64 if asked.architecture == "x86_64" else ())]
    locked += item.imex if asks.imex else ()
    beside = [*item.beside, *(item.nvlink5 if asks.nvlink5 else ())]
    first = _named(asks, row, version, [item.first] if item.first else [])
    return Driver(
        branch=row.name,
        version=version,
        kernel_modules=item.modules,
        source=item.from_,
        build=item.build,
        first=first[0] if first else None,
        stream=item.stream.format(branch=row.name) if item.stream else None,
        locked=_named(asks, row, version, locked),
        beside=_named(asks, row, version, beside),
        headers=drivers.header_packages(asked.os, asked.kernels) if item.build == "dkms" else (),
        replaced=_replaced(asks, row, item),
        minimum=None if version else objections.least_version(asks, row),
    )


def _replaced(asks: Question, row: Branch, item: PackageSet) -> tuple[str, ...]:
    """Every name of another branch, kind of modules or source that this one does not have too."""
    own = {*_all_names(asks, row, item, objections.exact(asks)), *item.shared}
    others: dict[str, None] = {}
    for other in drivers.package_sets(asks.asked.os):
        for branch in drivers.branches():
            if other.has(branch):
                names = _all_names(asks, branch, other)
                others |= dict.fromkeys(name for name in names if name not in other.shared)
    return tuple(name for name in others if name not in own)


def _all_names(
    asks: Question, row: Branch, item: PackageSet, version: str | None = None
) -> tuple[str, ...]:
    patterns = [
        *([item.first] if item.first else []), *item.locked, *item.graphics, *item.beside,
        *item.fabric, *item.fabric_x86_64, *item.nvlink5, *item.imex, *item.metas,
    ]  # fmt: skip
    return _named(asks, row, version, patterns)


def _named(
    asks: Question, row: Branch, version: str | None, patterns: Iterable[str]
) -> tuple[str, ...]:
    """The patterns' names: one for each kernel or flavour where they hold those."""
    names: list[str] = []
    for pattern in patterns:
        values: tuple[dict[str, str], ...] = ({},)
        if "{kernel}" in pattern:
            values = tuple({"kernel": kernel} for kernel in asks.asked.kernels)
        elif "{flavour}" in pattern:
            values = tuple({"flavour": found} for found in asks.flavours)
        names += [
            pattern.format(branch=row.name, pin=version or row.name, **value) for value in values
        ]
    return tuple(dict.fromkeys(names))
