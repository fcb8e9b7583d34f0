"""Power that comes and goes, and cold and hot beginnings."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aiprov.payload import shapes
from aiprov.payload.plan import Cell
from aiprov.payload.shapes import Pulse, Start, reach, start_from, thermometer
from aiprov.payload.untested import NotTestedError
from tests.payload.test_products import LIMIT_S, gemm, run


def smi(folder: Path, *temperatures: str) -> str:
    """A nvidia-smi that tells these, one after the other, and then the last for ever."""
    folder.mkdir(exist_ok=True)
    lines = folder / "temperatures"
    lines.write_text("".join(f"{one}\n" for one in temperatures))
    program = folder / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {folder}/asked\nhead -1 {lines}\n'
        f'[ "$(wc -l < {lines})" -gt 1 ] && sed -i 1d {lines}\nexit 0\n'
    )
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


# ---------------------------------------------------------------- on a host


PULSED = {"pulse_hz": 5.0, "products": 1 << 20}


def test_all_products_of_pulses_are_verified_and_rests_are_no_work(tmp_path: Path):
    good = gemm("fp32", "A", **PULSED, pass_seconds=4.0)
    flip = {"kind": "bit", "product": 1}  # the first beside the reference: every pass has one
    wrong = gemm("fp32", "B", seed=5, **PULSED, pass_seconds=1.0, inject=flip)
    odd = gemm("fp32", "B", pulse_hz=50.0)
    done = run(tmp_path, good, wrong, odd)
    result = done.end(good)["result"]
    assert result["faults"] == 0
    assert result["verified"] == result["products"] > 10
    assert result["pulses"] >= 1
    assert 0 < result["pulse_hz"] <= 5.0
    assert result["rest_seconds"] >= 0.09 * result["pulses"]
    whole = sum(result["pass_seconds"])
    assert result["seconds"] == pytest.approx(whole - result["rest_seconds"], abs=0.01)
    assert [fault["what"] for fault in done.told(wrong)] == ["product"]
    assert done.end(odd)["status"] == "not tested"
    assert done.end(odd)["error"] == "pulses of 50 Hz: 0.5 to 10 are made"


def test_cold_and_hot_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told = ["70", "39", "40", "60", "71", "40", "71", "N/A"]
    monkeypatch.setenv("PATH", smi(tmp_path / "bin", *told))
    cold = gemm("fp32", "B", start="cold", start_stable_s=1)
    hot = gemm("fp32", "B", start="hot", start_celsius=70)
    bad = gemm("fp32", "B", start="hot", start_celsius=70, inject={"kind": "bit", "product": 2})
    blind, odd = gemm("fp32", "B", start="hot"), gemm("fp32", "B", start="lukewarm")
    plain = gemm("fp32", "B")
    done = run(tmp_path / "host", cold, hot, bad, blind, plain, odd)
    results = {one: done.end(cell)["result"] for one, cell in
               (("cold", cold), ("hot", hot), ("bad", bad), ("plain", plain))}  # fmt: skip
    start = results["cold"]["start"]
    assert (start["kind"], start["celsius"], start["how"]) == ("cold", 39, "at most 40 C")
    assert (start["products"], results["cold"]["products"]) == (0, 4)
    start = results["hot"]["start"]
    assert (start["celsius"], start["how"]) == (71, "at least 70 C")
    assert (start["products"], results["hot"]["products"]) == (8, 4)
    # What warms is verified too, and does not change what others compare theirs with.
    assert (results["bad"]["start"]["faults"], results["bad"]["faults"]) == (1, 1)
    assert len(done.told(bad)) == 1
    assert results["hot"]["references"] == results["plain"]["references"]
    assert "start" not in results["plain"]
    assert done.end(blind)["status"] == "not tested"
    assert done.end(blind)["error"] == "a hot start: nobody tells the GPU's temperature"
    assert "cold or hot" in done.end(odd)["error"]


def test_the_gpu_that_a_device_stands_for_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", smi(tmp_path / "bin", "30"))
    parameters = {**gemm("fp32", "B").parameters, "start": "cold"}
    cell = Cell(kind="gemm", device="cpu:3", limit_s=LIMIT_S, parameters=parameters)
    assert run(tmp_path / "host", cell).end(cell)["status"] == "done"
    assert (tmp_path / "bin/asked").read_text().startswith("-i 3 --query-gpu=temperature.gpu ")


# ---------------------------------------------------------------- pieces


@pytest.mark.parametrize("hz", [0.1, 10.5, -1.0])
def test_pulses_that_are_none_are_refused(hz: float):
    with pytest.raises(NotTestedError, match=r"0\.5 to 10"):
        Pulse(hz, lambda: None)


def test_a_pulse_is_half_load_and_half_rest():
    waited = []
    pulse = Pulse(10.0, lambda: waited.append(time.monotonic()))
    pulse.begin()
    began = time.monotonic()
    while pulse.count < 3:
        pulse.turn()
    assert time.monotonic() - began >= 0.3
    assert len(waited) == 3  # the device had done its work before each rest
    assert pulse.rest_s >= 0.15
    assert 0.0 < pulse.told["pulse_hz"] <= 10.0
    steady = Pulse(0.0, lambda: None)
    steady.turn()
    assert (steady.told, steady.rest_s) == ({}, 0.0)


def telling(*temperatures: float | None) -> Callable[[], float | None]:
    left = list(temperatures)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


COLD = Start(kind="cold", celsius=40, limit_s=2, stable_s=0.1)


def test_a_gpu_that_stays_warm_begins_when_it_is_stable():
    told = reach(COLD, telling(60, 52, 51, 51), lambda: None)
    assert (told["how"], told["celsius"]) == ("stable", 51)
    assert told["waited_s"] >= 0.1


def test_a_hot_start_heats_until_it_is_so():
    heated = []
    hot = Start(kind="hot", celsius=70)
    told = reach(hot, telling(30, 50, 69, 70), lambda: heated.append(1))
    assert (told["how"], len(heated)) == ("at least 70 C", 3)


def test_one_reading_is_not_stable():
    assert reach(COLD, telling(60, 60, 60), lambda: None)["waited_s"] >= 0.1


def test_a_temperature_that_never_settles_is_not_tested():
    clock = iter(range(1000))
    slow = Start(kind="cold", celsius=10, limit_s=0.3, stable_s=0.2)
    with pytest.raises(NotTestedError, match=r"C after 0\.3 s, and it changes"):
        reach(slow, lambda: 90 - 5 * next(clock) % 70, lambda: None)


@pytest.mark.parametrize("readings", [(None,), (60, None)])
def test_without_a_temperature_it_is_not_tested(readings: tuple[float | None, ...]):
    with pytest.raises(NotTestedError, match="nobody tells"):
        reach(COLD, telling(*readings), lambda: None)


def test_what_a_start_is_by_default():
    assert start_from({}).kind == ""
    assert start_from({"start": "cold"}).celsius == shapes.COLD_C
    assert start_from({"start": "hot", "start_limit_s": 5}) == Start(
        kind="hot", celsius=shapes.HOT_C, limit_s=5.0
    )
    with pytest.raises(ValueError, match="lukewarm"):
        start_from({"start": "lukewarm"})


SAID = {
    "echo 61": 61.0,
    "echo 61.5": 61.5,
    "echo N/A": None,
    "echo '[Not Supported]'": None,
    "echo No devices were found; exit 6": None,
    "echo 61; exit 15": None,
    "echo 61; echo 62": None,
    "sleep 30": None,
}


@pytest.mark.parametrize("script", SAID)
def test_a_thermometer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str):
    monkeypatch.setattr(shapes, "ASK_S", 0.5 if "sleep" in script else 20.0)
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script.replace('sleep', 'exec sleep')}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert thermometer("cuda:0")() == SAID[script]


def test_without_nvidia_smi_there_is_no_thermometer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert thermometer("cuda:0")() is None
