"""Limits against data sheets, floors against limits, and floors of others that cannot be."""

from __future__ import annotations

import pytest

from aiprov.catalog import gpus
from aiprov.catalog.performance import (
    DTYPES,
    Performance,
    measured,
    pcie_gbs,
    peak_tflops,
    performance,
    performances,
    priors,
)
from aiprov.checks.model import Bound
from aiprov.checks.physics import (
    Limit,
    bus_limit,
    checked_floor,
    floor,
    measurement,
    memory_limit,
    p2p_limit,
    pcie_limit,
    prior_floor,
    product_limit,
)
from aiprov.errors import CatalogError


def row(pci_id: str) -> Performance:
    found = performance(pci_id)
    assert found is not None
    return found


H200, H100, A100 = row("10de:2335"), row("10de:2330"), row("10de:20b0")


# ---------------------------------------------------------------- the catalog


@pytest.mark.parametrize("model", performances(), ids=lambda model: model.name)
def test_what_a_data_sheet_says_is_what_the_chip_can_do(model: Performance):
    assert model.source and model.date
    for pci in model.ids:
        assert gpus.gpu(f"10de:{pci}").memory_gib, "the GPU has no row of its own"
    assert bool(model.sm) == bool(model.datasheet) == bool(model.sms)
    for dtype, told in model.datasheet.items():
        assert dtype in DTYPES
        peak = peak_tflops(model, dtype)
        assert peak is not None
        # NVIDIA's figures are at a clock between the base clock and the highest one.
        assert 0.985 * told <= peak <= 1.17 * told, (dtype, peak, told)
    assert 100 < model.memory_gbs < 20_000


def test_a_gpu_is_in_one_row():
    ids = [one for model in performances() for one in model.ids]
    assert len(ids) == len(set(ids))


def limit_of(pci_id: str, metric: str) -> Limit | None:
    model = row(pci_id)
    if metric in DTYPES:
        return product_limit(model, metric)
    if metric == "memory":
        return memory_limit(model)
    if metric in ("h2d", "d2h"):
        return pcie_limit(metric, model.pcie_generation, 16)
    if metric == "p2p":
        return p2p_limit(model)
    return bus_limit(model, metric, 8, in_switch=model.nvlink_gbs >= 450)


MEASURED = [
    (f"10de:{one}", metric)
    for group in measured()
    for one in group.ids
    for metric in group.metrics
]  # fmt: skip


@pytest.mark.parametrize(("pci_id", "metric"), MEASURED)
def test_what_was_measured_on_good_gpus_is_possible_and_passes(pci_id: str, metric: str):
    prior, limit = priors(pci_id)[metric], limit_of(pci_id, metric)
    assert limit is not None
    bound = prior_floor(prior, limit)
    found = measurement(metric, prior.value, limit, [bound])
    assert found.verdict == "ok", found.why
    assert prior.source and prior.date
    assert measurement(metric, prior.value * 0.5, limit, [bound]).verdict == "failed"


GOOD = {
    # Published figures of good GPUs, none of which may fail: dcgmproftester in DCGM 4.6.0 (fp32),
    # gpu-fryer (bf16 for a minute), MAMF (A100 PCIe; fp8 without its fast accumulator).
    "L4 fp32": ("27b8", 11.6), "A10G fp32": ("2237", 17.0), "H100 NVL fp32": ("2321", 34.1),
    "H100 SXM fp32": ("2330", 39.0), "H200 NVL fp32": ("233b", 42.958),
    "B200 fp32": ("2901", 49.2),
    "H100 SXM bf16": ("2330", 730.0), "H200 bf16": ("2335", 730.0),
    "A100 PCIe bf16": ("20b5", 252.9),
    "H100 SXM fp8": ("2330", 1402.6 / 1.2), "H200 fp8": ("2335", 1453.4 / 1.2),
    "L4 bf16 at its 72 W": ("27b8", 50.0), "T4 fp16 at its 70 W": ("1eb8", 24.0),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good_gpus_reach_their_floors(name: str):
    pci, value = GOOD[name]
    dtype = next(word for word in name.split() if word in DTYPES)
    limit, prior = product_limit(row(f"10de:{pci}"), dtype), priors(f"10de:{pci}").get(dtype)
    assert limit is not None
    found = measurement(dtype, value, limit, [prior_floor(prior, limit)] if prior else [])
    assert found.verdict == "ok", found.why
    assert measurement(dtype, value / 2.5, limit).verdict == "failed"


@pytest.mark.parametrize(
    ("pci", "gpus", "least"),
    [
        ("2335", 8, 360.0), ("20b2", 8, 240.0),  # all links, through switches
        ("2330", 4, 120.0), ("20b2", 4, 80.0), ("20b2", 2, 80.0),  # those between two alone
        ("1db1", 8, 20.0),  # pairs of the V100's cube have one link or two
    ],
)  # fmt: skip
def test_what_a_pair_of_gpus_surely_has_is_by_how_boards_join_them(
    pci: str, gpus: int, least: float
):
    limit = p2p_limit(row(f"10de:{pci}"), gpus)
    assert limit is not None
    assert float(floor(limit).value) == pytest.approx(least)


def test_all_to_all_has_no_limit_where_some_pairs_have_no_link():
    assert bus_limit(row("10de:1db1"), "all_to_all", 8, in_switch=False) is None
    assert bus_limit(row("10de:1db1"), "all_reduce", 8, in_switch=False) is not None


def test_a_model_without_limits_is_told_to_have_none():
    assert performance("10de:1234") is None
    b300 = row("10de:3182")
    assert product_limit(b300, "bf16") is None
    assert memory_limit(b300).value == 8000
    assert product_limit(A100, "fp8") is None
    assert p2p_limit(row("10de:20b5")) is None
    assert bus_limit(row("10de:20b5"), "all_reduce", 8, in_switch=False) is None
    assert bus_limit(H100, "all_reduce", 1, in_switch=True) is None


@pytest.mark.parametrize(
    ("generation", "width", "gbs"),
    [(3, 16, 15.75), (4, 16, 31.51), (5, 16, 63.02), (5, 8, 31.51), (1, 1, 0.25), (6, 16, 118.0)],
)
def test_pcie_links(generation: int, width: int, gbs: float):
    assert pcie_gbs(generation, width) == pytest.approx(gbs, abs=0.01)


@pytest.mark.parametrize(("generation", "width"), [(0, 16), (7, 16), (5, 0), (5, 3)])
def test_links_that_do_not_exist(generation: int, width: int):
    with pytest.raises(CatalogError, match="there is no PCIe link"):
        pcie_gbs(generation, width)


# ---------------------------------------------------------------- bounds

SLIPS = {
    # What DCGM 4.6.0 has as floors (nvvs, diag-skus.yaml.in), in our units.
    "H200 memory, a unit slip": (2.333, memory_limit(H200)),
    "A100 40GB stress, 5,000 for 13,725": (5.0, product_limit(A100, "fp32")),
    "A100 40GB memory, a tenth": (137.5, memory_limit(A100)),
    "a card of PCIe 5 as if of 3": (15.75, pcie_limit("h2d", 5, 16)),
    "NCCL preflight of 150 on H100": (150, bus_limit(H100, "all_reduce", 8, in_switch=False)),
    "B200 all-reduce by an H100's floor": (
        440, bus_limit(row("10de:2901"), "all_reduce", 8, in_switch=False)),
    "NVLink only, 500 where 450 is possible": (500, p2p_limit(H100)),
    "800 GB/s from EC2 p5": (800, bus_limit(H100, "all_reduce", 8, in_switch=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", SLIPS)
def test_a_floor_that_is_off_by_a_factor_is_refused(name: str):
    value, limit = SLIPS[name]
    assert limit is not None
    with pytest.raises(CatalogError, match="of what is possible"):
        checked_floor(limit.metric, value, limit, name)


def test_a_floor_that_can_be_is_taken():
    assert checked_floor("memory", 1173, memory_limit(A100), "DCGM") == 1173


@pytest.mark.parametrize(("share", "verdict"), [(0.07, "failed"), (0.49, "failed"), (0.8, "ok")])
def test_physics_alone_finds_what_is_far_too_slow(share: float, verdict: str):
    limit = product_limit(H200, "bf16")
    assert limit is not None
    assert measurement("bf16", limit.value * share, limit).verdict == verdict


def test_more_than_possible_is_no_success():
    limit = product_limit(H200, "bf16")
    found = measurement("bf16", 2140.0, limit)
    assert found.verdict == "not measured"
    assert found.why == (
        "bf16: not measured: 2140 TFLOPS is more than possible: "
        "132 SMs of GH100 at 1980 MHz do 1070.5 TFLOPS"
    )


def test_at_the_clock_that_it_ran_at_a_power_cap_is_no_excuse():
    at_1200 = product_limit(H200, "bf16", clock_mhz=1200)
    assert at_1200 is not None
    assert at_1200.value == pytest.approx(648.8, abs=0.1)
    assert measurement("bf16", 420.0, at_1200).verdict == "failed"
    assert measurement("bf16", 580.0, at_1200).verdict == "ok"


def test_without_a_limit_other_bounds_judge_and_without_any_nothing_does():
    fleet = Bound(relation="at least", value=5.0, basis="fleet")
    assert measurement("bf16", 6.0, None, [fleet]).verdict == "ok"
    assert measurement("bf16", 6.0, None).verdict == "not measured"
    assert measurement("bf16", None, None, reason="killed").why == "bf16: not measured: killed"


def test_switches_that_add_up_may_show_more_than_the_links():
    nvls = bus_limit(H100, "all_reduce", 8, in_switch=True)
    assert nvls is not None
    assert nvls.value == pytest.approx(450 * 14 / 9)
    gathered = bus_limit(H100, "all_gather", 8, in_switch=True)
    assert gathered is not None
    assert gathered.value == 450
    assert float(floor(nvls).value) == pytest.approx(0.6 * 450)


def test_a_bound_says_where_it_comes_from():
    assert str(floor(memory_limit(H200))) == "at least 2880"
    assert floor(memory_limit(H200)).reason == (
        "60% of the limit: the memory of H200 carries 4800 GB/s"
    )
    assert peak_tflops(H200, "fp64") == pytest.approx(66.9, abs=0.1)
