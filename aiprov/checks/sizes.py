"""How large and how long a test is made on a device, so that it tells something and does not drag.

Times are those of a good device, generously: a plan must not take longer than its budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiprov.catalog.performance import Performance, peak_tflops, performance

PASS_S = 10.0
"""Of products: operands are made anew after it."""
_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What decides on the size of tests.

    ``pci_id``: empty for a CPU that stands for a GPU. ``peers``: to how many others one of them can
    copy; ``has_mates``: some are on one host.
    """

    pci_id: str
    memory_bytes: int
    peers: int = 0
    has_mates: bool = False

    @property
    def row(self) -> Performance | None:
        """What the catalog says of it."""
        return performance(self.pci_id) if self.pci_id else None

    @property
    def name(self) -> str:
        """For people."""
        return (self.row.name if self.row else self.pci_id) or "CPU"

    def has(self, dtype: str) -> bool | None:
        """Whether it multiplies in a type; ``None`` where nobody knows."""
        if not self.pci_id:
            return dtype != "tf32"
        if self.row is None or not self.row.sm:
            return None
        return peak_tflops(self.row, dtype) is not None

    @property
    def has_nvlink(self) -> bool:
        """Whether it can have; of an unknown model whether it has peers."""
        return bool(self.pci_id) and (bool(self.row.nvlink_gbs) if self.row else bool(self.peers))


@dataclass(frozen=True, kw_only=True)
class Size:
    """How a test is made on hardware.

    ``counted``: the parameter that makes it longer; ``unit_s``: seconds for one of it. ``setup_s``:
    what a cell takes besides. ``least``: of what is counted, the fewest that tell something.
    ``most_s``: after which more finds no more. ``pass_share``: of a cell that one pass may be; it
    may last that much longer. ``turns``: how often it is made where there is time, while the device
    is cold and hot. ``visits``: cells of a turn, each to another peer.
    """

    parameters: Mapping[str, Any]
    counted: str = "seconds"
    unit_s: float = 1.0
    setup_s: float = 0.0
    least: float = 1.0
    most_s: float = math.inf
    pass_share: float = 0.0
    turns: int = 2
    visits: int = 1

    @property
    def turn_s(self) -> float:
        """The shortest turn: all of its cells."""
        return self.visits * self.least_s

    @property
    def least_s(self) -> float:
        """The shortest cell, set-up included."""
        return (self.setup_s + self.least * self.unit_s) / (1 - self.pass_share)

    @property
    def working(self) -> float:
        """The share of a usual cell (eight times the shortest) in which it looks for faults."""
        usual = 8 * self.least_s
        # A pass lasts longer than it has to by half a pass, most often.
        return 1 - (self.setup_s + min(PASS_S, self.pass_share * usual) / 2) / usual


# ---------------------------------------------------------------- products

_SIDE, _CPU_SIDE = 16384, 64
_FP8_EXACT_SIDE = 8192
"""The accumulator of Hopper holds about 14 bits in fp8: sums of more products are not exact."""
_LONGEST_S = 0.5
"""Of one product: a test is of many."""
_REACHED = 0.5
"""Of the peak, for how long something takes: more than good GPUs need."""
_MATRICES = 10
"""That are in memory at a time, with what is made on the way."""
_BYTES = {"fp64": 8, "int8": 4}
_UNKNOWN_TFLOPS = {"fp64": 0.3}

_PULSE_SIDE = 8192
"""A product has to be shorter than half a period."""
_WAITED_S = 90.0
"""Until a GPU that rested is cold, or its temperature is stable, or one at work is hot."""
_MOST_SHAPED_S = 600.0


def products(hardware: Hardware, dtype: str, phase: str) -> Size | str:
    """Products of a type, in one of the phases."""
    if hardware.has(dtype) is False:
        return f"{hardware.name} has no such type"
    if hardware.has(dtype) is None and dtype == "fp8":
        return "the catalog does not say whether the GPU has it"
    if not hardware.pci_id:
        own: dict[str, Any] = {"dtype": dtype, "phase": phase, "n": _CPU_SIDE}
        return Size(parameters=own, setup_s=0.1, least=0.3, pass_share=0.2)
    row = hardware.row
    peak = peak_tflops(row, dtype) if row else None
    reached = (peak or _UNKNOWN_TFLOPS.get(dtype, 20.0)) * _REACHED * 1e12
    side = _FP8_EXACT_SIDE if (dtype, phase) == ("fp8", "B") else _SIDE
    wide = _BYTES.get(dtype, 4)
    while 2 * side**3 / reached > _LONGEST_S or _MATRICES * wide * side**2 > _room(hardware):
        side //= 2
    own = {"dtype": dtype, "phase": phase, "n": side}
    return Size(parameters=own, setup_s=3.0, least=9.0, pass_share=0.2)


def pulses(hardware: Hardware, hertz: float) -> Size | str:
    """Products with as long a rest after each half of a period, so that power swings."""
    size = products(hardware, "bf16", "A")
    if isinstance(size, str) or not hardware.pci_id:
        return size if isinstance(size, str) else "a processor's power says nothing of a GPU's"
    side = min(int(size.parameters["n"]), _PULSE_SIDE)
    own = {**size.parameters, "n": side, "pulse_hz": hertz}
    return replace(size, parameters=own, unit_s=2.0, most_s=_MOST_SHAPED_S, turns=1)


def started(hardware: Hardware, start: str) -> Size | str:
    """Products that begin on a GPU that is cold, or hot."""
    size = products(hardware, "bf16", "A")
    if isinstance(size, str) or not hardware.pci_id:
        return size if isinstance(size, str) else "nothing tells a processor's temperature"
    own = {**size.parameters, "start": start}
    return replace(size, parameters=own, setup_s=_WAITED_S, most_s=_MOST_SHAPED_S, turns=1)


def _room(hardware: Hardware) -> float:
    return max(hardware.memory_bytes / 2, float(_GIB))


# ---------------------------------------------------------------- memory and copies

_SHARE = 0.97
"""Of the free memory that is asked for; what is left for comparing goes off it."""
_TRAFFIC = 400
"""Bytes that all patterns move for a byte of memory, generously: random ones are made in it."""
_UNKNOWN_GBS = 300.0


def memory(hardware: Hardware) -> Size | str:
    """Patterns in all of the memory."""
    if not hardware.pci_id:
        own = {"bytes": 1 << 22, "block_bytes": 1 << 20}
        return Size(parameters=own, counted="passes", unit_s=0.1, setup_s=0.2)
    if not hardware.memory_bytes:
        return "nobody knows how large it is"
    rate = hardware.row.memory_gbs if hardware.row else _UNKNOWN_GBS
    unit_s = math.ceil(hardware.memory_bytes * _TRAFFIC / rate / 1e9)
    return Size(parameters={"share": _SHARE}, counted="passes", unit_s=unit_s, setup_s=3.0)


def copies(hardware: Hardware, path: str) -> Size | str:
    """Copies of one path."""
    if path == "p2p":
        if not hardware.pci_id:
            return "only GPUs have peers"
        if not hardware.has_nvlink:
            return f"{hardware.name} has no NVLink"
        if not hardware.peers:
            return "no GPU has a peer"
    if not hardware.pci_id:
        own: dict[str, Any] = {"path": path, "bytes": 1 << 20}
        return Size(parameters=own, setup_s=0.1, least=0.1, most_s=60.0)
    own = {"path": path, "bytes": 1 << 28}
    visits = hardware.peers if path == "p2p" else 1
    return Size(parameters=own, setup_s=2.0, least=2.0, most_s=600.0, visits=visits)


# ---------------------------------------------------------------- models

_ROOM = 16 * _GIB
_UNKNOWN_TFLOPS_BF16 = 100.0
_WORD_S = 0.01
"""Of a word of a small model: what the host takes to start its kernels."""
_LLAMA_BYTES = 2.5e9


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model to train. ``small``: the one for CPUs, with its length.

    ``flop``: of a training step, by the count of what its paper multiplies; ``reached``: the share
    of the peak that it surely reaches, when its kernels are deterministic. ``room``: bytes that
    a GPU must have: for weights, gradients and AdamW's moments, and for what backward needs.
    """

    name: str
    batch: int
    length: int
    flop: float
    reached: float
    small: tuple[str, int]
    room: int = _ROOM


MODELS = (
    Model(name="1b", batch=4, length=2048, flop=4 * 2048 * 8e9, reached=0.2, small=("tiny", 16),
          room=44 * _GIB),  # 12 GB and 20.5 GB, and 6 GB for the loss of all words
    Model(name="bert-large", batch=16, length=512, flop=16 * 512 * 2.3e9, reached=0.2,
          small=("bert-tiny", 16)),
    Model(name="resnet50", batch=128, length=224, flop=128 * 24.6e9, reached=0.03,
          small=("resnet-tiny", 32)),
    Model(name="unet", batch=4, length=64, flop=4 * 3e12, reached=0.1, small=("unet-tiny", 16)),
)  # fmt: skip


def training(hardware: Hardware, model: Model) -> Size | str:
    """Steps of a model on one device; each is made twice."""
    if not hardware.pci_id:
        name, length = model.small
        own: dict[str, Any] = {"model": name, "dtype": "fp32", "batch": 1, "length": length}
        return Size(parameters=own, counted="steps", unit_s=0.1, setup_s=8.0, least=4)
    if why := _no_model(hardware, model.room):
        return why
    own = {"model": model.name, "dtype": "bf16", "batch": model.batch, "length": model.length}
    step_s = 2 * model.flop / (_bf16(hardware) * model.reached * 1e12)
    return Size(parameters=own, counted="steps", unit_s=_up(step_s), setup_s=10.0, least=10)


def decoding(hardware: Hardware) -> Size | str:
    """Words of a language model on one device, one after the other; each is made twice."""
    if not hardware.pci_id:
        own: dict[str, Any] = {"model": "tiny", "dtype": "fp32", "batch": 1, "length": 16}
        return Size(parameters=own, counted="words", unit_s=0.02, setup_s=1.0, least=8, most_s=60)
    if why := _no_model(hardware, _ROOM):
        return why
    rate = (hardware.row.memory_gbs if hardware.row else _UNKNOWN_GBS) * _REACHED * 1e9
    word_s = _up(2 * max(_LLAMA_BYTES / rate, _WORD_S))
    own = {"model": "1b", "dtype": "bf16", "batch": 1, "length": 512}
    return Size(
        parameters=own, counted="words", unit_s=word_s, setup_s=10.0, least=128,
        most_s=10.0 + 2048 * word_s,
    )  # fmt: skip


def _no_model(hardware: Hardware, room: int) -> str:
    """Why a device cannot have a model; empty where it can."""
    if hardware.memory_bytes < room:
        return f"it takes {room // _GIB} GiB"
    return f"{hardware.name} has no bf16" if hardware.has("bf16") is False else ""


def _bf16(hardware: Hardware) -> float:
    return (peak_tflops(hardware.row, "bf16") if hardware.row else None) or _UNKNOWN_TFLOPS_BF16


def _up(seconds: float) -> float:
    """To milliseconds: what stands in a plan is no more exact."""
    return math.ceil(seconds * 1000) / 1000


# ---------------------------------------------------------------- several devices together

_JOIN_S, _CPU_JOIN_S = 45.0, 15.0
"""Until a process a device has PyTorch and has met the others, and workers are there again."""
_SIZES, _CPU_SIZES = (256 << 20, 1 << 30, 8 << 30), (1 << 16, 1 << 20)
"""Bytes of collectives: those that others published figures for."""
_SIZES_ROOM = 64 * _GIB
"""For the largest: operand, result and what is compared."""


def collective(hardware: Hardware, operation: str) -> Size | str:
    """An operation among all devices of a host."""
    if not hardware.has_mates:
        return "no host has two devices"
    if not hardware.pci_id:
        own: dict[str, Any] = {"operation": operation, "bytes": list(_CPU_SIZES)}
        return Size(parameters=own, setup_s=_CPU_JOIN_S, least=1.0, most_s=60.0, turns=1)
    fits = [size for size in _SIZES if size < 8 * _GIB or hardware.memory_bytes > _SIZES_ROOM]
    own = {"operation": operation, "bytes": fits}
    return Size(parameters=own, setup_s=_JOIN_S, least=10.0, most_s=600.0, turns=1)


def training_together(hardware: Hardware, strategy: str) -> Size | str:
    """Steps of the language model on all devices of a host."""
    alone = training(hardware, MODELS[0])
    if isinstance(alone, str):
        return alone
    if not hardware.has_mates:
        return "no host has two devices"
    return replace(
        alone,
        parameters={**alone.parameters, "strategy": strategy},
        # What they tell each other takes about as long as a step.
        unit_s=2 * alone.unit_s,
        setup_s=alone.setup_s + (_JOIN_S if hardware.pci_id else _CPU_JOIN_S),
        turns=1,
    )
