"""What a budget can be spent on: the tests, and the chance of each to see a fault.

A test is a row of ``TESTS``. Chances and rates are those of Meta, NVIDIA and AWS where they
published any; the others are assumed, and only steer how time is shared out among tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from aiprov.catalog.performance import DTYPES
from aiprov.checks import sizes
from aiprov.checks.detection import Fault
from aiprov.checks.sizes import Hardware, Model, Size


@dataclass(frozen=True, kw_only=True)
class Known(Fault):
    """A fault and where its weight comes from.

    ``told_as``: the name under which people hear of several, with their mean.
    """

    source: str
    told_as: str = ""


_LLAMA = "The Llama 3 herd of models (arXiv 2407.21783), table 5: 54 days of 16,384 H100"
_META = "engineering.fb.com/2025/07/22: 1 of 1,000 devices computes wrong, of 16,384"
_ASSUMED = "assumed: nobody has published a count"
_WRONG = 16.0
"""Devices that compute wrong among as many as the other counts are of."""


SLOW_NVLINK, NVLINK_ERRORS = "slow NVLink", "NVLink errors"
SWINGS = "power that swings"
NETWORK_LINK, NETWORK_ADAPTER = "network link or switch", "network adapter"
PULSES = (2.0, 10.0)
"""Hz: slower than a power supply's regulation, and near it."""


OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
STRATEGIES = ("ddp", "fsdp")
DECODE = "decode"


def _wrong(dtype: str) -> str:
    return f"wrong products in {dtype}"


def _edge(temperature: str) -> str:
    """Parts at the edge of their limits are wrong at one end of the temperatures first."""
    return f"wrong products when {temperature}"


def _broken(work: str) -> str:
    """What only that work shows: its own kernels, libraries and settings."""
    return f"{work} fails"


FAULTS: tuple[Known, ...] = (
    Known(name="GPU hangs or is lost", weight=148, rate_per_hour=1.0, source=_LLAMA),
    Known(name="memory under load", weight=72, rate_per_hour=0.5, source=_LLAMA),
    Known(name="SRAM", weight=19, rate_per_hour=0.5, source=_LLAMA),
    Known(name="system processor", weight=17, rate_per_hour=0.5, source=_LLAMA),
    Known(name="cooling", weight=6, rate_per_hour=6.0, source=_LLAMA),
    *(
        Known(name=_wrong(dtype), weight=_WRONG * 0.75 / len(DTYPES), rate_per_hour=1.0,
              source=_META)
        for dtype in DTYPES
    ),
    Known(name="the same wrong products each time", weight=_WRONG * 0.25, source=_META),
    Known(name="stuck memory", weight=8, source=_ASSUMED),
    Known(name="slow GPU", weight=16, source=_ASSUMED),
    Known(name="slow PCIe", weight=10, source=_ASSUMED),
    Known(name=SLOW_NVLINK, weight=10, source=_ASSUMED),
    Known(name=NVLINK_ERRORS, weight=10, rate_per_hour=1.0, source=_ASSUMED),
    Known(name="slow host or software", weight=8, source=_ASSUMED),
    Known(name="wrong part or setting", weight=16, source=_ASSUMED),
    *(
        Known(name=_broken(work), weight=2, source=_ASSUMED, told_as="one kind of work fails")
        for work in (*(f"train {model.name}" for model in sizes.MODELS), DECODE, *OPERATIONS,
                     *(f"train {strategy}" for strategy in STRATEGIES))
    ),
    Known(name=SWINGS, weight=4, rate_per_hour=6.0, source=_ASSUMED),
    Known(name=_edge("cold"), weight=2, rate_per_hour=6.0, source=_ASSUMED),
    Known(name=_edge("hot"), weight=2, rate_per_hour=6.0, source=_ASSUMED),
    Known(name=NETWORK_LINK, weight=35, rate_per_hour=1.0, source=_LLAMA),
    Known(name=NETWORK_ADAPTER, weight=7, rate_per_hour=1.0, source=_LLAMA),
)  # fmt: skip
"""Weights are counts. How often a fault shows under load is assumed: an SDC is once an hour."""


def faults(hardware: Hardware) -> tuple[Known, ...]:
    """Those that a device can have."""
    without = {_wrong(dtype) for dtype in DTYPES if hardware.has(dtype) is False}
    if not hardware.has_nvlink:
        without |= {SLOW_NVLINK, NVLINK_ERRORS}
    if not hardware.has_mates:
        without |= {_broken(work) for work in OPERATIONS}
        without |= {_broken(f"train {strategy}") for strategy in STRATEGIES}
    return tuple(fault for fault in FAULTS if fault.name not in without)


# ---------------------------------------------------------------- tests


@dataclass(frozen=True, kw_only=True)
class Test:
    """A test. ``name``: for people; the check that comes of it may tell more.

    ``sees``: by fault the chance that it shows, given time. ``sized``: how it is made on hardware,
    or why it cannot be. ``needed``: it is made whatever the budget. ``same_seed``: cells repeat the
    same work and are compared with each other. ``together``: on all devices of a host at once.
    """

    name: str
    kind: str
    sees: Mapping[str, float]
    sized: Callable[[Hardware], Size | str]
    needed: bool = False
    same_seed: bool = False
    together: bool = False


_TENSOR = frozenset({"tf32", "bf16", "fp16", "fp8", "int8"})
_LOADED = {
    "GPU hangs or is lost": 0.8,
    "memory under load": 0.3,
    "SRAM": 0.8,
    "system processor": 0.8,
    "cooling": 0.9,
    SWINGS: 0.2,
    _edge("hot"): 0.5,
}
"""What shows under full load, in counters and the kernel's log as well."""


def _products(dtype: str, phase: str) -> Test:
    # Units are shared among the types of tensor cores, not wholly: only part of what is wrong in
    # one shows in another.
    kin = [one for one in DTYPES if one != dtype and {one, dtype} <= _TENSOR]
    return Test(
        name=f"products {dtype} {phase}",
        kind="gemm",
        sees={
            **_LOADED,
            # What is always there is small for each test by itself: they see much the same of it.
            "slow GPU": 0.3,
            **{_wrong(one): 0.3 for one in kin},
            _wrong(dtype): 0.95 if phase == "A" else 0.8,
            # Of phase A only the comparison with other GPUs shows it; of B the exact sums do.
            "the same wrong products each time": 0.15 if phase == "A" else 0.25,
        },
        sized=partial(sizes.products, dtype=dtype, phase=phase),
        needed=phase == "A",
    )


_TRAINED = {
    **_LOADED,
    "GPU hangs or is lost": 0.7,
    "slow GPU": 0.3,
    "slow host or software": 0.7,
    "the same wrong products each time": 0.1,
    _wrong("bf16"): 0.8,
    _wrong("fp16"): 0.2,
}


def _shaped(name: str, sees: Mapping[str, float], sized: Callable[[Hardware], Size | str]) -> Test:
    """Products that find what steady ones do not."""
    own = {**_LOADED, _wrong("bf16"): 0.95, **sees}
    return Test(name=f"products bf16 A {name}", kind="gemm", sees=own, sized=sized)


def _training(model: Model) -> Test:
    return Test(
        name=f"train {model.name}",
        kind="train",
        sees={**_TRAINED, _broken(f"train {model.name}"): 0.95},
        sized=partial(sizes.training, model=model),
        same_seed=True,
    )


def _copy(path: str, sees: Mapping[str, float]) -> Test:
    return Test(
        name=f"copies {path}",
        kind="copy",
        sees=sees,
        sized=partial(sizes.copies, path=path),
        needed=True,
    )


# ---------------------------------------------------------------- all

INVENTORY, P2P = "inventory", "copies p2p"
ALWAYS: Mapping[str, float] = {"wrong part or setting": 0.95}
"""What the inventory and the counters see; they take no time of a device."""

TESTS: tuple[Test, ...] = (
    _shaped("from cold", {_edge("cold"): 0.9}, partial(sizes.started, start="cold")),
    _copy("h2d", {"slow PCIe": 0.9, "GPU hangs or is lost": 0.3, "system processor": 0.3}),
    _copy("d2h", {"slow PCIe": 0.9, "GPU hangs or is lost": 0.3, "system processor": 0.3}),
    _copy("d2d", {"slow GPU": 0.3, "memory under load": 0.2, "GPU hangs or is lost": 0.3}),
    _copy("p2p", {SLOW_NVLINK: 0.7, NVLINK_ERRORS: 0.8, "GPU hangs or is lost": 0.3}),
    *(_products(dtype, "A") for dtype in DTYPES),
    Test(
        name="memory patterns",
        kind="memory",
        sees={
            "stuck memory": 0.95, "memory under load": 0.9, "SRAM": 0.3, "slow GPU": 0.2,
            "GPU hangs or is lost": 0.5, "system processor": 0.5,
        },
        sized=sizes.memory,
        needed=True,
    ),
    *(_products(dtype, "B") for dtype in DTYPES),
    *(
        _shaped(f"in pulses of {hertz:g} Hz", {SWINGS: 0.7}, partial(sizes.pulses, hertz=hertz))
        for hertz in PULSES
    ),
    _shaped("from hot", {_edge("hot"): 0.9}, partial(sizes.started, start="hot")),
    *(_training(model) for model in sizes.MODELS),
    Test(
        name=DECODE,
        kind="decode",
        sees={
            "GPU hangs or is lost": 0.6, "memory under load": 0.3, "SRAM": 0.4,
            "system processor": 0.8, "slow GPU": 0.3, "slow host or software": 0.6,
            _wrong("bf16"): 0.3, _broken(DECODE): 0.95,
        },
        sized=sizes.decoding,
        same_seed=True,
    ),
    *(
        Test(
            name=operation,
            kind="collective",
            sees={
                SLOW_NVLINK: 0.9, NVLINK_ERRORS: 0.9, "GPU hangs or is lost": 0.6,
                "system processor": 0.6, "slow host or software": 0.3, _broken(operation): 0.95,
            },
            sized=partial(sizes.collective, operation=operation),
            together=True,
        )
        for operation in OPERATIONS
    ),
    *(
        Test(
            name=f"train {strategy}",
            kind="train together",
            sees={
                **_TRAINED, SLOW_NVLINK: 0.6, NVLINK_ERRORS: 0.9,
                _broken(f"train {strategy}"): 0.95,
            },
            sized=partial(sizes.training_together, strategy=strategy),
            same_seed=True,
            together=True,
        )
        for strategy in STRATEGIES
    ),
)  # fmt: skip
"""In the order in which they are made: what is cold first, what takes all memory late, and last
what is made together, for which workers are ended."""
