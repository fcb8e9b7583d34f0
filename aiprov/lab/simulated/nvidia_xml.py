"""Stand-in of aiprov's lab: ``nvidia-smi -q -x``, the report in XML.

Elements and their nesting are those of nvidia-smi 580 to 590 (published outputs, read 2026-11-21):
what telemetry and inventories read, not all of them. Runs on the host: Python 3.6 and its standard
library only.
"""

# For the host's Python 3.6, and small.
# ruff: noqa: UP006, UP007, UP031, UP035
import time
from html import escape  # that of xml loads urllib, for half of this program's time
from typing import Any, Callable, Dict, List, Tuple, Union

import nvidia_load  # type: ignore[import-not-found]
import nvidia_table  # type: ignore[import-not-found]
import simulated_gpus as lab  # type: ignore[import-not-found]

Gpu = Tuple[int, str, Dict[str, Any], Dict[str, Any]]
Fields = Dict[str, Callable[[Gpu], Any]]
Item = Tuple[str, Union[str, List[Any]]]
"""An element: its name, and its text or what is in it."""

_HEAD = '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">\n'
_OLD = ("kepler", "maxwell", "pascal", "volta", "turing")
"""They retire pages; later ones remap rows."""


def report(gpus: List[Gpu], attached: int, fields: Fields) -> str:
    """The document."""
    lines = [
        "<nvidia_smi_log>",
        *drawn(
            [
                ("timestamp", time.strftime("%a %b %e %H:%M:%S %Y")),
                ("driver_version", lab.driver_version()),
                ("cuda_version", nvidia_table.cuda()),
                ("attached_gpus", str(attached)),
            ],
            1,
        ),
    ]
    for gpu in gpus:
        lines.append('\t<gpu id="%s">' % fields["pci.bus_id"](gpu))
        lines += drawn(gpu_items(gpu, fields), 2)
        lines.append("\t</gpu>")
    return _HEAD + "\n".join([*lines, "</nvidia_smi_log>"])


def drawn(items: List[Item], depth: int) -> List[str]:
    """Elements as lines."""
    lines = []
    for name, value in items:
        edge = "\t" * depth
        if isinstance(value, str):
            text = "N/A" if value == "[N/A]" else value
            lines.append(f"{edge}<{name}>{escape(text, quote=False)}</{name}>")
        else:
            lines += [f"{edge}<{name}>", *drawn(value, depth + 1), f"{edge}</{name}>"]
    return lines


def gpu_items(gpu: Gpu, fields: Fields) -> List[Item]:
    """All that is told of a GPU."""
    now = nvidia_load.readings(gpu)

    def told(name: str) -> str:
        return str(fields[name](gpu))

    return [
        ("product_name", gpu[2]["name"]),
        ("product_brand", "NVIDIA"),
        ("product_architecture", gpu[2]["architecture"].capitalize()),
        ("persistence_mode", told("persistence_mode")),
        ("mig_mode", [("current_mig", told("mig.mode.current")),
                      ("pending_mig", told("mig.mode.pending"))]),
        ("serial", gpu[2]["serial"]),
        ("uuid", gpu[2]["uuid"]),
        ("minor_number", str(gpu[0])),
        ("vbios_version", gpu[2]["vbios"]),
        ("gpu_reset_status", [
            ("reset_required", "Requested functionality has been deprecated"),
            ("drain_and_reset_recommended", "Requested functionality has been deprecated"),
        ]),
        ("gpu_recovery_action", told("gpu_recovery_action")),
        ("pci", pci(gpu, told)),
        ("fan_speed", "N/A"),
        ("performance_state", now["state"]),
        ("clocks_event_reasons", [
            ("clocks_event_reason_" + name, "Not Active")
            for name in ("sw_power_cap", "hw_thermal_slowdown", "hw_power_brake_slowdown",
                         "sync_boost", "sw_thermal_slowdown")
        ]),
        ("clocks_event_reasons_counters", [
            ("clocks_event_reasons_counters_" + name, "0 us")
            for name in ("sw_power_cap", "sync_boost", "sw_therm_slowdown", "hw_therm_slowdown",
                         "hw_power_brake")
        ]),
        ("fb_memory_usage", [("total", told("memory.total")), ("used", told("memory.used")),
                             ("free", told("memory.free"))]),
        ("compute_mode", told("compute_mode")),
        ("utilization", [("gpu_util", "%d %%" % now["busy"]), ("memory_util", "0 %")]),
        *errors(gpu, told),
        *conditions(now),
        ("fabric", [("state", told("fabric.state")), ("status", told("fabric.status"))]),
        ("processes", [
            ("process_info", [("pid", str(pid)), ("type", "C"), ("used_memory", "512 MiB")])
            for pid in lab.workers(gpu[0])
        ]),
    ]  # fmt: skip


def conditions(now: Dict[str, Any]) -> List[Item]:
    """How it is: temperatures, power and clocks."""
    return [
        ("temperature", [
            ("gpu_temp", "%d C" % now["temperature"]),
            ("gpu_temp_tlimit", "%d C" % (87 - now["temperature"])),
            ("memory_temp", "%d C" % now["memory_temperature"]),
        ]),
        ("gpu_power_readings", [
            ("power_state", "Requested functionality has been deprecated"),
            ("average_power_draw", "%.2f W" % now["power"]),
            ("instant_power_draw", "%.2f W" % now["power"]),
            ("current_power_limit", "700.00 W"),
            ("default_power_limit", "700.00 W"),
        ]),
        ("clocks", [("graphics_clock", "%d MHz" % now["sm"]), ("sm_clock", "%d MHz" % now["sm"]),
                    ("mem_clock", "%d MHz" % now["memory"])]),
        ("max_clocks", [("sm_clock", "1980 MHz"), ("mem_clock", "2619 MHz")]),
    ]  # fmt: skip


def pci(gpu: Gpu, told: Callable[[str], str]) -> List[Item]:
    """Its place on the bus, and its link."""
    return [
        ("pci_domain", gpu[1][:4]),
        ("pci_device_id", gpu[2]["pci_id"][5:].upper() + "10DE"),
        ("pci_bus_id", told("pci.bus_id")),
        ("pci_gpu_link_info", [
            ("pcie_gen", [("max_link_gen", told("pcie.link.gen.max")),
                          ("current_link_gen", told("pcie.link.gen.current"))]),
            ("link_widths", [("max_link_width", told("pcie.link.width.max") + "x"),
                             ("current_link_width", told("pcie.link.width.current") + "x")]),
        ]),
        ("replay_counter", "0"),
        ("replay_rollover_counter", "0"),
    ]  # fmt: skip


def errors(gpu: Gpu, told: Callable[[str], str]) -> List[Item]:
    """ECC, and what became of memory that failed."""
    ecc, old = bool(gpu[2]["ecc"]), gpu[2]["architecture"] in _OLD
    mode = told("ecc.mode.current")
    single = str(nvidia_load.corrected(gpu)) if ecc else "N/A"
    double = str(gpu[3]["ecc_uncorrected"]) if ecc else "N/A"
    none = "0" if ecc else "N/A"
    counts = [
        ("sram_correctable", none),
        *([("sram_uncorrectable", none)] if old else [
            ("sram_uncorrectable_parity", none), ("sram_uncorrectable_secded", none)
        ]),
        ("dram_correctable", single),
        ("dram_uncorrectable", double),
    ]  # fmt: skip
    retired = none if old else "N/A"
    rows: Union[str, List[Any]] = "N/A" if old or not ecc else [
        ("remapped_row_corr", "0"), ("remapped_row_unc", "0"), ("remapped_row_pending", "No"),
        ("remapped_row_failure", "No"),
    ]  # fmt: skip
    return [
        ("ecc_mode", [("current_ecc", mode), ("pending_ecc", mode)]),
        ("ecc_errors", [("volatile", counts), ("aggregate", counts)]),
        ("retired_pages", [
            ("multiple_single_bit_retirement", [("retired_count", retired)]),
            ("double_bit_retirement", [("retired_count", retired)]),
            ("pending_retirement", "No" if old and ecc else "N/A"),
        ]),
        ("remapped_rows", rows),
    ]  # fmt: skip
