"""cuDNN and NCCL, by the CUDA major that they are built for. Rows: ``data/cuda_libraries.toml``."""

from __future__ import annotations

from dataclasses import dataclass

from aiprov.catalog import OperatingSystem, Row, _rows
from aiprov.errors import CatalogError


@dataclass(frozen=True, kw_only=True)
class Cudnn(Row):
    """cuDNN's packages, as name patterns. ``oldest_cuda``: the first CUDA major that it is for."""

    debian: list[str]
    redhat: list[str]
    beside_debian: list[str]
    beside_redhat: list[str]
    oldest_cuda: int

    def packages(self, os: OperatingSystem, major: int) -> tuple[str, ...]:
        """Those for a CUDA major, which are at one version."""
        names = self.debian if os.family == "debian" else self.redhat
        return tuple(name.format(cuda=major) for name in names)

    def beside(self, os: OperatingSystem) -> tuple[str, ...]:
        """The distribution's own packages that it needs."""
        return tuple(self.beside_debian if os.family == "debian" else self.beside_redhat)


@dataclass(frozen=True, kw_only=True)
class Nccl(Row):
    """NCCL for a CUDA major. ``build``: its newest known package version."""

    cuda: int
    debian: list[str]
    redhat: list[str]
    build: str

    def packages(self, os: OperatingSystem) -> tuple[str, ...]:
        """Its packages, which are at one version."""
        return tuple(self.debian if os.family == "debian" else self.redhat)


def cudnn() -> Cudnn:
    """cuDNN 9."""
    return _rows(Cudnn, "cuda_libraries", "cudnn")[0]


def nccl(major: int) -> Nccl:
    """NCCL for a CUDA major. Raises ``CatalogError`` where there is no row for it."""
    rows = _rows(Nccl, "cuda_libraries", "nccl")
    for row in rows:
        if row.cuda == major:
            return row
    known = " and ".join(str(row.cuda) for row in rows)
    raise CatalogError(f"no NCCL for CUDA {major} is known", hint=f"it is known for CUDA {known}")
