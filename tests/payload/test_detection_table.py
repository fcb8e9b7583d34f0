"""The table of detection beside others' rules: what it must always show of ours."""

from __future__ import annotations

import pytest

from tests.bench.detection import CASES, compared, rates
from tests.bench.rivals import RULES
from tests.torch_python import torch_python


@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: f"{case[2]:.0%} of {case[0]}")
def test_ours_finds_the_slow_gpu_and_blames_nobody_else(case: tuple[int, float, float, int]):
    found, blamed = rates(*case, "ours")
    assert found >= 0.98
    assert blamed <= 0.01


def test_a_noisy_fleet_is_blamed_by_others():
    size, noise, slow, _ = CASES[4]
    ours, fixed = (rates(size, noise, slow, 4, rule) for rule in ("ours", "SuperBench, mean - 5 %"))
    assert ours[1] <= 0.5 < 30 < fixed[1]


def test_a_floor_that_is_fixed_sees_no_gpu_that_lost_eight_percent():
    found, _ = rates(64, 0.005, 0.08, 50, "DCGM targeted stress")
    assert found == 0
    assert set(RULES) >= {"ours", "gpu-fryer, best of host - 10 %", "Megatron-LM sniff test"}


def test_ours_sees_every_spoiled_product_and_raises_no_alarm():
    for dtype, faults in compared(torch_python()).items():
        for fault, by_rule in faults.items():
            assert by_rule["ours"] == (0 if "false alarms" in fault else 1), (dtype, fault)
        assert faults["NaN in one product"]["gpu-burn"] == 0
        assert faults["a tile wrong alike in all products"]["DCGM diagnostic"] == 0
