"""NVIDIA's Data Center GPU Manager: its packages by CUDA major. Rows: ``data/dcgm.toml``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aiprov.catalog import Row, _numbers, _rows, drivers
from aiprov.errors import CatalogError


@dataclass(frozen=True, kw_only=True)
class Packages(Row):
    """DCGM 4's packages, all at one version, and what runs it.

    ``per_cuda``: name patterns, for each CUDA ``majors`` that there are packages for. ``replaced``:
    those of DCGM 3. ``command``: what the unit runs, ``port``: where that listens.
    """

    locked: list[str]
    per_cuda: list[str]
    replaced: list[str]
    majors: list[int]
    unit: str
    command: str
    port: int

    def names(self, majors: Iterable[int]) -> tuple[str, ...]:
        """The packages for these CUDA majors."""
        return (*self.locked, *self._of(majors))

    def unwanted(self, majors: Iterable[int]) -> tuple[str, ...]:
        """DCGM 3, and what would hold DCGM back at an older version: other majors' packages."""
        others = set(self.majors) - set(majors)
        return (*self.replaced, *self._of(sorted(others)))

    def _of(self, majors: Iterable[int]) -> tuple[str, ...]:
        return tuple(name.format(cuda=major) for major in majors for name in self.per_cuda)


@dataclass(frozen=True, kw_only=True)
class Oldest(Row):
    """The first version that has packages for a CUDA major."""

    cuda: int
    version: str


def packages() -> Packages:
    """What DCGM consists of."""
    return _rows(Packages, "dcgm", "packages")[0]


def cuda_majors(branch: str, architectures: Iterable[str]) -> tuple[int, ...]:
    """The CUDA majors that DCGM needs packages for, with a driver branch and these GPUs.

    That of the branch, and for GPUs that CUDA has dropped by then the last that compiles for them.
    Raises ``CatalogError`` for a major that DCGM has no packages for.
    """
    newest = drivers.branch(branch).cuda
    lasts = (drivers.support(name).last_cuda for name in architectures)
    dropped = {int(last.partition(".")[0]) for last in lasts if last is not None}
    majors = tuple(sorted({newest, *(major for major in dropped if major < newest)}))
    for major in majors:
        if major not in packages().majors:
            raise CatalogError(
                f"DCGM for CUDA {major} is not known",
                hint=f"it is known for CUDA {', '.join(map(str, packages().majors))}",
            )
    return majors


def oldest(majors: Iterable[int]) -> str | None:
    """The oldest version that serves these CUDA majors; ``None``: each of 4."""
    wanted = set(majors)
    found = [row.version for row in _rows(Oldest, "dcgm", "oldest") if row.cuda in wanted]
    return max(found, key=_numbers, default=None)


def older(version: str, than: str) -> bool:
    """Whether a version, or the beginning of one, is older: 4.3 than 4.4.0, but not 4 nor 4.4."""
    at, least = _numbers(version), _numbers(than)
    return at < least[: len(at)]
