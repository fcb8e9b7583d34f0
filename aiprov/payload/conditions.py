"""How a GPU was when something happened on it: temperature, clock and power, by the newest reading.

A device's number is its place in the order of PCI addresses: workers are started with CUDA in that
order, and ``cpu:3`` stands for the GPU at the fourth.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping, Optional

Fields = Dict[str, Any]

ENVIRONMENT: Mapping[str, str] = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Of workers; CUDA's own order is the fastest first."""
FOREIGN = (
    "CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip
"""What workers do not take over: it gives devices other numbers, or other work than is planned."""
MOST_AGE_S = 60.0
"""A reading that is older says nothing of now."""
_TOLD = ("temperature", "memory_temperature", "sm_mhz", "power")


class Newest:
    """The newest reading of each GPU."""

    def __init__(self) -> None:
        self._order: List[str] = []
        self._gpus: Mapping[str, Mapping[str, Any]] = {}
        self._at = 0.0

    def hear(self, told: Mapping[str, Any]) -> None:
        """A reading of telemetry; one that failed changes nothing."""
        if not told.get("gpus"):
            return
        # The first one is from before the load: a GPU that is lost since keeps its place.
        self._order = self._order or sorted(told["gpus"])
        self._gpus, self._at = told["gpus"], time.monotonic()

    def of(self, device: str, rank: int = 0) -> Optional[Fields]:
        """Of a device (of several, that of a ``rank``), with its address and ``age_s``.

        ``None`` where nothing is known of it now.
        """
        numbers = device.partition(":")[2].split(",")
        number = numbers[rank % len(numbers)]
        age = time.monotonic() - self._at
        if not number.isdigit() or int(number) >= len(self._order) or age > MOST_AGE_S:
            return None
        address = self._order[int(number)]
        fields = self._gpus.get(address)
        if fields is None:
            return None
        told = {name: fields.get(name) for name in _TOLD}
        return {"address": address, "age_s": round(age, 1), **told}
