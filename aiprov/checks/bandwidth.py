"""Judges copies between a host and its GPUs, within a GPU and between two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiprov.catalog.performance import Performance, performance, priors
from aiprov.checks import physics
from aiprov.checks.model import Bound, Measurement
from aiprov.checks.physics import Limit
from aiprov.checks.told import none, number

_FULL_WIDTH = 16


def copies(
    parameters: Mapping[str, Any],
    result: Mapping[str, Any],
    pci_id: str,
    pcie: tuple[int, int] | None,
    gpus: int = 8,
) -> tuple[Measurement, ...]:
    """What a cell of copies is judged by. ``gpus``: how many are tested on the host.

    ``pcie``: the generation and width that the GPU's link should have; ``None``: of the catalog, 16
    lanes wide. Of a CPU that stands for a GPU (no ``pci_id``) the rate is recorded.
    """
    path = str(parameters.get("path"))
    rate, faults, made = (number(result.get(name)) for name in ("gbs", "faults", "copies"))
    row = performance(pci_id) if pci_id else None
    limit = _limit(path, row, pcie, gpus) if row else None
    some = Bound(relation="at least", value=1, basis="exact", reason="something was copied")
    if limit is None:
        measured = Measurement(
            name=path, value=rate, unit="GB/s", required=False, reason="it is not told"
        )
    else:
        # Others measured in slots as fast as the GPU.
        older = row is not None and pcie not in (None, (row.pcie_generation, _FULL_WIDTH))
        if path == "p2p":  # and between GPUs that switches join
            older = row is not None and not physics.switched(row, gpus)
        known = None if older else priors(pci_id).get(path)
        bounds = [physics.prior_floor(known, limit)] if known else []
        measured = physics.measurement(path, rate, limit, bounds, reason="it is not told")
    return (
        none("wrong copies", faults),
        Measurement(name="copies", value=made, bounds=(some,), reason="it is not told"),
        measured,
    )


def _limit(path: str, row: Performance, pcie: tuple[int, int] | None, gpus: int) -> Limit | None:
    if path == "d2d":
        return physics.memory_limit(row)
    if path == "p2p":
        return physics.p2p_limit(row, gpus)
    generation, width = pcie or (row.pcie_generation, _FULL_WIDTH)
    return physics.pcie_limit(path, generation, width) if generation else None
