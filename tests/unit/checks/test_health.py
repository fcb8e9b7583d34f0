"""Health under load: counters that rise, counters that are not told, and a GPU that goes away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov.checks.expectations import Expectations, ExpectedGpu, diff
from aiprov.checks.health import COUNTERS, health, observed
from aiprov.checks.model import Check, Subject
from aiprov.payload.telemetry import parsed
from tests.unit.payload.smi import GOOD, document

FIRST, SECOND = "0000:19:00.0", "0000:3b:00.0"
GPUS = {
    FIRST: Subject(host="a", kind="gpu", id="1", label="GPU 0"),
    SECOND: Subject(host="a", kind="gpu", id="2", label="GPU 1"),
}


def reading(at: float, *gpus: dict[str, Any]) -> dict[str, Any]:
    return {"event": "telemetry", "at": at, **parsed(document(*gpus))}


def other(**fields: Any) -> dict[str, Any]:
    return {"address": "00000000:3B:00.0", **fields}


def after(hours: float = 1.0, **changes: Any) -> Check:
    """The check of the first GPU when these differ after so many hours under load."""
    records = [
        reading(1000, {"generation": "1"}, other()),
        reading(1000 + hours * 1800, {}, other()),
        reading(1000 + hours * 3600, changes, other()),
    ]
    first, second = health(records, GPUS)
    assert second.verdict == "ok", second.why
    return first


def test_a_gpu_whose_counters_rest_is_ok_and_its_extremes_are_kept():
    check = after()
    assert check.verdict == "ok", check.why
    values = {item.name: item.value for item in check.measurements}
    assert (values["hottest"], values["most power"], values["fastest clock"]) == (61, 688.1, 1755)


def sram(count: int) -> str:
    return GOOD["sram"].replace("parity>0", f"parity>{count}")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "dram_uncorrected": ({"dram_uncorrected": "1"}, "uncorrectable memory errors"),
    "sram_uncorrected": ({"sram": sram(2)}, "uncorrectable errors in SRAM"),
    "rows_remapped": ({"remapped": "1"}, "rows remapped"),
    "dram_corrected": ({"dram_corrected": "16729200"}, "corrected memory errors"),
    "sram_corrected": ({"sram_corrected": "11"}, "corrected errors in SRAM"),
    "pcie_replays": ({"replays": "61"}, "PCIe replays"),
    "slowed_by_heat_us": ({"hot": "1000 us"}, "slowed down by the hardware's heat limit"),
    "power_brake_us": ({"brake": "1000 us"}, "slowed down by the power brake"),
    "slowed_by_software_us": ({"slowed": "72000000 us"}, "slowed down by heat"),
    "a row waits": ({"pending": "Yes"}, "a row waits to be remapped"),
    "a row is lost": ({"failure": "Yes"}, "a row could not be remapped"),
    "recovery": (
        {"recovery": "<gpu_recovery_action>Reset</gpu_recovery_action>"}, "recovery that",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_each_counter_that_rises_turns_red(name: str):
    changes, why = BAD[name]
    check = after(**changes)
    assert check.verdict == "failed"
    assert any(line.startswith(why) for line in check.why)


def test_no_counter_is_forgotten_above():
    assert {item.field for item in COUNTERS} <= set(BAD)


@pytest.mark.parametrize(
    "changes",
    [{"capped": "9999999999 us"}, {"dram_corrected": "9"}, {"replays": "50"},
     {"slowed": "30000000 us"}, {"recovery": ""}],
)  # fmt: skip
def test_what_good_gpus_do_is_no_failure(changes: dict[str, Any]):
    assert after(**changes).verdict == "ok"


def test_a_rate_is_judged_and_not_a_total_and_a_short_time_is_no_rate():
    assert after(hours=10, dram_corrected="90").verdict == "ok"
    assert after(hours=0.1, dram_corrected="9").verdict == "ok"
    assert after(hours=0.1, dram_corrected="11").verdict == "failed"


ABSENT = ["dram_uncorrected", "dram_corrected", "sram_corrected", "replays", "hot", "brake",
          "slowed", "remapped", "pending", "failure"]  # fmt: skip


@pytest.mark.parametrize("name", ABSENT)
def test_a_counter_that_is_not_told_is_not_ok(name: str):
    assert after(**{name: "N/A"}).verdict == "not measured"


def test_errors_that_come_under_load_only_are_red():
    """NVSentinel 1748: the rate stands out though all was quiet before and after."""
    case = Path(__file__).parents[2] / "checks/telemetry/nvsentinel_1748.yml"
    told = yaml.safe_load(case.read_text(encoding="utf-8"))
    assert told["field"] == "dram_corrected"
    records = [reading(at, {"dram_corrected": str(count)}, other())
               for at, count in told["readings"]]  # fmt: skip
    bad, good = health(records, GPUS)
    assert (bad.verdict, good.verdict) == ("failed", "ok")
    assert bad.why[0].startswith("corrected memory errors: 2.39766e+06 /h, must be at most 10")
    at_rest, _ = health(records[:2], GPUS)
    assert at_rest.verdict == "ok"


def test_a_counter_that_was_reset_in_between_hides_nothing():
    counts = ["0", "500", "0", "3"]
    records = [reading(at, {"replays": count}, other())
               for at, count in zip((0, 1200, 2400, 3600), counts, strict=True)]  # fmt: skip
    assert health(records, GPUS)[0].verdict == "failed"
    records = [reading(at, {"replays": count}, other())
               for at, count in zip((0, 1200, 2400), ("0", "5", "0"), strict=True)]  # fmt: skip
    assert health(records, GPUS)[0].verdict == "not measured"


def test_a_counter_that_fell_was_reset():
    records = [reading(0, {"replays": "500"}, other()), reading(3600, {}, other())]
    check, _ = health(records, GPUS)
    assert check.verdict == "not measured"
    assert "it was reset" in check.why[0]


def not_counted(at: float, hot: bool | None = False) -> dict[str, Any]:
    """A driver of branch 535: it tells whether a GPU is slowed down, and not for how long."""
    told = reading(at, {}, other())
    told["gpus"][FIRST] |= {
        "slowed_by_heat_us": None, "power_brake_us": None, "slowed_by_software_us": None,
        "slowed_by_heat": hot, "power_brake": False, "slowed_by_software": False,
    }  # fmt: skip
    return told


@pytest.mark.parametrize(
    ("hot", "verdict"), [([False] * 3, "ok"), ([False, True, False], "failed"),
                         ([None] * 3, "not measured"), ([None, None, False], "not measured")],
)  # fmt: skip
def test_drivers_that_do_not_count_are_sampled(hot: list[bool | None], verdict: str):
    records = [not_counted(60.0 * number, one) for number, one in enumerate(hot)]
    check, _ = health(records, GPUS)
    assert check.verdict == verdict, check.why


def older(at: float, retired: int = 0, pending: bool | None = False) -> dict[str, Any]:
    """A V100: it retires pages, and remaps no rows."""
    told = reading(at, {}, other())
    told["gpus"][FIRST] |= {
        "rows_remapped": None, "remap_pending": None, "remap_failed": None,
        "pages_retired": retired, "pages_pending": pending,
    }  # fmt: skip
    return told


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        (older(3600), "ok"),
        (older(3600, retired=1), "failed"),
        (older(3600, pending=True), "failed"),
        (older(3600, pending=None), "not measured"),
    ],
)
def test_gpus_that_retire_pages_are_judged_by_them(last: dict[str, Any], verdict: str):
    assert health([older(0), last], GPUS)[0].verdict == verdict


def test_without_ecc_its_counters_are_said_to_be_untested():
    records = [reading(at, {"ecc": "Disabled"}, other()) for at in (0, 3600)]
    check, _ = health(records, GPUS)
    assert check.verdict == "ok"
    assert "uncorrectable memory errors: no ECC" in check.not_tested
    expected, _ = health([reading(at, {"ecc": "N/A", "dram_corrected": "N/A"}, other())
                          for at in (0, 3600)], GPUS, ecc=True)  # fmt: skip
    assert expected.verdict == "not measured"


def test_a_gpu_that_goes_away_under_load_fails_and_the_other_does_not():
    records = [reading(0, {}, other()), reading(60, {}, other()), reading(120, other())]
    gone, there = health(records, GPUS)
    assert gone.verdict == "failed"
    assert "readings without this GPU" in gone.why[0]
    assert there.verdict == "ok"


@pytest.mark.parametrize(
    "records",
    [
        [],
        [reading(0, {}, other())],
        [reading(0, {}, other()), {"event": "telemetry", "at": 60, "error": "GPU is lost"}],
        [{"event": "telemetry", "at": at, "error": "did not end in 60 s"} for at in (0, 60)],
    ],
)
def test_what_was_told_once_or_never_is_not_measured(records: list[dict[str, Any]]):
    for check in health(records, GPUS):
        assert check.verdict == "not measured"


def test_who_does_not_answer_once_has_lost_no_gpu_and_who_does_not_at_the_end_is_not_known():
    late = {"event": "telemetry", "at": 120, "error": "nvidia-smi did not end in 60 s"}
    told = [reading(0, {}, other()), reading(60, {}, other())]
    for check in health([*told, late, reading(180, {}, other())], GPUS):
        assert check.verdict == "ok", check.why
        assert "did not end" in check.evidence[0].text
    for end in (late, {"event": "telemetry", "at": 120}):
        for check in health([*told, end], GPUS):
            assert check.verdict == "not measured"
    risen = [*told, reading(90, {"dram_uncorrected": "1"}, other()), late]
    assert health(risen, GPUS)[0].verdict == "failed"


# ---------------------------------------------------------------- for the expectations


def contract() -> Expectations:
    gpu = ExpectedGpu(
        address=FIRST, pci_id="10de:2330", pcie_generation=5, pcie_width=16, ecc=True,
        persistence=True, mig=False,
    )  # fmt: skip
    return Expectations(host="a", driver="580.95.05", gpu_count=1, gpus=(gpu,))


def test_a_link_that_rests_between_cells_is_judged_by_its_best():
    idle, busy = {"generation": "1"}, {"generation": "5"}
    told = [reading(0, idle), reading(60, busy), reading(120, idle)]
    assert [check.verdict for check in diff(contract(), observed(told))] == ["ok", "ok"]
    slow = [reading(0, idle), reading(60, {"generation": "3"}), reading(120, idle)]
    assert diff(contract(), observed(slow))[1].verdict == "failed"
    narrow = [reading(at, {**busy, "width": "8x"}) for at in (0, 60)]
    assert diff(contract(), observed(narrow))[1].verdict == "failed"
    alone = [reading(0, idle)]
    assert diff(contract(), observed(alone))[1].verdict == "not measured"
    assert observed([]) is None
