"""How RDMA adapters get at GPU memory: by nvidia_peermem, or by the kernel's DMA-BUF."""

from __future__ import annotations

from dataclasses import dataclass

from aiprov.catalog import OperatingSystem, drivers, rdma
from aiprov.catalog.resolution import Driver
from aiprov.errors import UnsupportedError
from aiprov.roles.gpu_rdma.settings import Vars


@dataclass(frozen=True, kw_only=True)
class Way:
    """Whether ``nvidia_peermem`` is loaded, and why it is so, in words."""

    peermem: bool
    why: str


def way(vars: Vars, os: OperatingSystem, driver: Driver, kernels: tuple[str, ...]) -> Way:
    """The way to GPU memory. Raises ``UnsupportedError`` where there is none, or not that one."""
    no_dma_buf = _no_dma_buf(driver, kernels)
    no_peermem = _no_peermem(vars, os, driver)
    asked = vars.gpu_rdma_peermem
    if asked and no_peermem:
        raise UnsupportedError(
            f"nvidia_peermem does not work here: {no_peermem}",
            hint=_way_out(driver) if no_dma_buf else "unset gpu_rdma_peermem: DMA-BUF does without",
        )
    if asked is False and no_dma_buf:
        raise UnsupportedError(
            f"without nvidia_peermem adapters do not reach GPU memory: {no_dma_buf}",
            hint="unset gpu_rdma_peermem",
        )
    if no_dma_buf and no_peermem:
        raise UnsupportedError(
            f"adapters do not reach GPU memory: {no_dma_buf}, and {no_peermem}",
            hint=_way_out(driver),
        )
    if asked:
        return Way(peermem=True, why="nvidia_peermem: as asked for")
    if no_dma_buf:
        return Way(peermem=True, why=f"nvidia_peermem: {no_dma_buf}")
    if asked is None and vars.gpu_rdma_stack == "doca" and no_peermem is None:
        return Way(peermem=True, why="nvidia_peermem: DOCA-OFED has its interface")
    return Way(peermem=False, why="DMA-BUF, which needs no nvidia_peermem")


def _no_dma_buf(driver: Driver, kernels: tuple[str, ...]) -> str | None:
    """Why GPU memory cannot be shared as a DMA-BUF; ``None`` where it can."""
    if driver.kernel_modules != "open":
        return "the proprietary kernel modules have no DMA-BUF"
    for kernel in kernels:
        if not rdma.has_dma_buf(drivers.kernel_line(kernel)):
            return f"kernel {kernel} has no DMA-BUF for RDMA"
    return None


def _no_peermem(vars: Vars, os: OperatingSystem, driver: Driver) -> str | None:
    """Why nvidia_peermem cannot be loaded; ``None`` where it can, as far as is known."""
    if vars.gpu_rdma_stack == "inbox" and not rdma.inbox(os).peer_memory:
        return f"the kernels of {os.name} lack its interface (ib_register_peer_memory_client)"
    if vars.gpu_rdma_stack == "doca" and driver.build == "signed":
        return "the distribution's signed modules are not built with DOCA-OFED"
    return None


def _way_out(driver: Driver) -> str:
    if driver.build == "signed":
        return "set nvidia_driver_source: nvidia, whose modules are built on the host"
    return "set gpu_rdma_stack: doca"
