"""What GPUs say of themselves before, during and after load, as ``nvidia-smi -q -x`` has it.

One process at a time, looked after by the supervisor without waiting for it: a GPU that hangs makes
nvidia-smi hang, and that must be seen and not shared. Elements and their texts are those of drivers
535 to 595; where a driver has another name for one, each is tried. ``None``: not told.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
import time
from typing import IO, Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple
from xml.etree import ElementTree

from .process import kill_group

COMMAND = ("nvidia-smi", "-q", "-x")
PERIOD_S = 5.0
LIMIT_S = 60.0

Fields = Dict[str, Any]

_LINK = "pci/pci_gpu_link_info"
_COUNTERS = "clocks_event_reasons_counters/clocks_event_reasons_counters_"
_VOLATILE = "ecc_errors/volatile"
_NOW = (
    "clocks_event_reasons/clocks_event_reason_",
    "clocks_throttle_reasons/clocks_throttle_reason_",
)
_PLACES: Mapping[str, Sequence[str]] = {
    "temperature": ("temperature/gpu_temp",),
    "memory_temperature": ("temperature/memory_temp",),
    "power": (
        "gpu_power_readings/instant_power_draw",
        "gpu_power_readings/power_draw",
        "gpu_power_readings/average_power_draw",
        "power_readings/power_draw",
    ),
    "power_limit": (
        "gpu_power_readings/current_power_limit",
        "gpu_power_readings/enforced_power_limit",
        "power_readings/enforced_power_limit",
    ),
    "sm_mhz": ("clocks/sm_clock",),
    "memory_mhz": ("clocks/mem_clock",),
    "pcie_generation": (f"{_LINK}/pcie_gen/current_link_gen",),
    "pcie_width": (f"{_LINK}/link_widths/current_link_width",),
    "pcie_replays": ("pci/replay_counter",),
    "power_capped_us": (f"{_COUNTERS}sw_power_cap",),
    "slowed_by_software_us": (f"{_COUNTERS}sw_therm_slowdown",),
    "slowed_by_heat_us": (f"{_COUNTERS}hw_therm_slowdown",),
    "power_brake_us": (f"{_COUNTERS}hw_power_brake",),
    "dram_corrected": (f"{_VOLATILE}/dram_correctable",),
    "dram_uncorrected": (f"{_VOLATILE}/dram_uncorrectable",),
    "sram_corrected": (f"{_VOLATILE}/sram_correctable",),
    "rows_remapped": ("remapped_rows/remapped_row_unc",),
    "rows_remapped_corrected": ("remapped_rows/remapped_row_corr",),
    "pages_retired": ("retired_pages/double_bit_retirement/retired_count",),
}
"""Numbers: the first place that has one counts."""
_SUMS: Mapping[str, Sequence[Sequence[str]]] = {
    "sram_uncorrected": (
        (f"{_VOLATILE}/sram_uncorrectable_parity", f"{_VOLATILE}/sram_uncorrectable_secded"),
        (f"{_VOLATILE}/sram_uncorrectable",),
    ),
}
"""Numbers that some drivers tell in parts."""
_TRUTHS: Mapping[str, Sequence[str]] = {
    "ecc": ("ecc_mode/current_ecc",),
    "mig": ("mig_mode/current_mig",),
    "persistence": ("persistence_mode",),
    "remap_pending": ("remapped_rows/remapped_row_pending",),
    "pages_pending": ("retired_pages/pending_retirement", "retired_pages/pending_blacklist"),
    "remap_failed": ("remapped_rows/remapped_row_failure",),
    # Drivers that do not count how long it is slowed down tell whether it is.
    "slowed_by_software": tuple(f"{place}sw_thermal_slowdown" for place in _NOW),
    "slowed_by_heat": tuple(f"{place}hw_thermal_slowdown" for place in _NOW),
    "power_brake": tuple(f"{place}hw_power_brake_slowdown" for place in _NOW),
}
_TEXTS: Mapping[str, Sequence[str]] = {
    "name": ("product_name",),
    "serial": ("serial",),
    "uuid": ("uuid",),
    "vbios": ("vbios_version",),
    "recovery": ("gpu_recovery_action",),
    "fabric": ("fabric/state",),
}
_SAID = {
    "Enabled": True, "Yes": True, "Active": True,
    "Disabled": False, "No": False, "Not Active": False,
}  # fmt: skip
_NOTHING = (
    "", "N/A", "[N/A]", "Unknown Error", "Requested functionality has been deprecated",
    "GPU is lost", "GPU requires reset", "Not Supported", "Insufficient Permissions",
)  # fmt: skip


def parsed(text: str) -> Fields:
    """``driver``, and ``gpus`` by PCI address. Raises ``ValueError`` for no such document."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - of the host's own nvidia-smi
    except ElementTree.ParseError as error:
        raise ValueError(f"nvidia-smi -q -x: {error}") from error
    gpus = {}
    for gpu in root.iter("gpu"):
        address = _address(gpu.get("id", ""))
        if address:
            gpus[address] = _gpu(gpu)
    if not gpus:
        raise ValueError("nvidia-smi -q -x tells of no GPU")
    return {"driver": _text(root, ("driver_version",)), "gpus": gpus}


def _gpu(gpu: ElementTree.Element) -> Fields:
    fields: Fields = {name: _text(gpu, places) for name, places in _TEXTS.items()}
    fields.update({name: _number(gpu, places) for name, places in _PLACES.items()})
    fields.update({name: _sum(gpu, ways) for name, ways in _SUMS.items()})
    fields.update({name: _SAID.get(_text(gpu, places) or "") for name, places in _TRUTHS.items()})
    device = _text(gpu, ("pci/pci_device_id",)) or ""
    fields["pci_id"] = f"{device[4:]}:{device[:4]}".lower() if len(device) == 8 else None
    return fields


def _text(element: ElementTree.Element, places: Sequence[str]) -> Optional[str]:
    for place in places:
        said = (element.findtext(place) or "").strip()
        if said not in _NOTHING:
            return said
    return None


def _number(element: ElementTree.Element, places: Sequence[str]) -> Optional[float]:
    for place in places:
        found = re.match(r"-?\d+(?:\.\d+)?", (element.findtext(place) or "").strip())
        if found:
            value = float(found[0])
            return int(value) if value == int(value) else value
    return None


def _sum(element: ElementTree.Element, ways: Sequence[Sequence[str]]) -> Optional[float]:
    for places in ways:
        values = [_number(element, (place,)) for place in places]
        if None not in values:
            return sum(value for value in values if value is not None)
    return None


def _address(bus_id: str) -> str:
    """As the kernel writes it: nvidia-smi has eight digits of domain, and capitals."""
    found = re.fullmatch(r"([0-9a-f]{4,8})(:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])", bus_id.lower())
    return f"{found[1][-4:]}{found[2]}" if found else ""


Tell = Callable[[Fields], object]


class Telemetry:
    """Asks every ``period_s``; what comes is told, as ``parse`` reads it.

    Where nvidia-smi does not end it is given up, and not asked again: the next would hang as well.
    """

    def __init__(
        self,
        tell: Tell,
        command: Sequence[str] = COMMAND,
        period_s: float = PERIOD_S,
        limit_s: float = LIMIT_S,
        parse: Callable[[str], Fields] = parsed,
    ) -> None:
        self._tell = tell
        self._parse = parse
        self._command = command
        self._period_s = period_s
        self._limit_s = limit_s
        self._asked: Optional[Tuple["subprocess.Popen[bytes]", IO[bytes], float]] = None
        self._next = time.monotonic()
        self._abandoned: List["subprocess.Popen[bytes]"] = []

    def turn(self) -> None:
        """Look whether there is an answer, and ask again when it is time; waits for nothing."""
        if self._asked is not None:
            self._look(*self._asked)
        elif time.monotonic() >= self._next and not self._abandoned:
            self._ask()

    def last(self) -> None:
        """One more answer, waited for: what the GPUs say when all is done."""
        if self._asked is None and not self._abandoned:
            self._ask()
        while self._asked is not None:
            process, _, began = self._asked
            with contextlib.suppress(subprocess.TimeoutExpired):  # which the look says
                process.wait(max(0.0, began + self._limit_s - time.monotonic()) + 0.01)
            self._look(*self._asked)

    def stop(self) -> None:
        """Leave no process behind."""
        if self._asked is not None:
            process, said, _ = self._asked
            kill_group(process.pid)
            said.close()
            self._asked = None

    def _ask(self) -> None:
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the answer
        self._next = time.monotonic() + self._period_s
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            said.close()
            self._tell({"error": f"{self._command[0]}: {error.strerror}"})
            return
        self._asked = process, said, time.monotonic()

    def _look(self, process: "subprocess.Popen[bytes]", said: IO[bytes], began: float) -> None:
        status = process.poll()
        if status is None and time.monotonic() < began + self._limit_s:
            return
        self._asked = None
        if status is None:
            kill_group(process.pid)
            self._abandoned.append(process)  # it is reaped when the kernel lets it go
            said.close()
            self._tell({"error": f"{self._command[0]} did not end in {self._limit_s:g} s"})
            return
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
        said.close()
        try:
            if status:
                lines = text.strip().splitlines()
                raise ValueError(lines[-1] if lines else f"exit status {status}")
            self._tell(self._parse(text))
        except ValueError as error:
            self._tell({"error": str(error)[:500]})
