"""Kernel logs that were published, and what has to be found in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.catalog import xids
from aiprov.checks.kernel_log import RECOVERY, address_of, check, events, since
from aiprov.checks.model import Subject

CASES = Path(__file__).parents[2] / "checks" / "kernel_log"
NAMES = sorted(path.stem for path in CASES.glob("*.yml"))
GPU = Subject(host="a", kind="gpu", id="1", label="GPU 0")


def case(name: str) -> dict[str, Any]:
    return yaml.safe_load((CASES / f"{name}.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_in_a_log_is_found(name: str):
    told = case(name)
    assert told["source"]
    found = events(told["log"])
    assert [(one.kind, one.code, one.address) for one in found] == [
        (one["kind"], one["code"], one["address"]) for one in told["events"]
    ]
    for event, wanted in zip(found, told["events"], strict=True):
        assert {key: getattr(event, key) for key in wanted} == wanted
        assert str(event)


@pytest.mark.parametrize("code", sorted(xids.xids()))
def test_every_documented_xid_is_read_from_the_drivers_line(code: int):
    line = f"NVRM: Xid (PCI:0000:3b:00): {code}, pid='<unknown>', name=<unknown>, Ch 00000008"
    (event,) = events(f"[   12.345678] {line}\n")
    row = xids.xids()[code]
    assert (event.code, event.severity, event.action) == (code, row.severity, row.action)
    verdict = check(GPU, line, addresses=["0000:3b:00.0"], under_load=False).verdict
    assert (verdict == "failed") == (row.severity == "problem")
    under_load = check(GPU, line, addresses=["0000:3b:00.0"], under_load=True)
    assert (under_load.verdict == "ok") == (row.severity == "note")
    if under_load.verdict == "failed" and code != RECOVERY:
        assert under_load.action == row.action


@settings(deadline=None)
@given(st.text())
def test_no_log_breaks_the_parser(text: str):
    events(text)
    events(f"NVRM: Xid (PCI:0000:3b:00): {text}")


def test_the_worst_event_decides_the_action_and_leads_the_evidence():
    found = check(GPU, case("recovery")["log"], addresses=["0000:01:00"], under_load=False)
    assert found.verdict == "failed"
    assert found.action == "RESTART_BM"
    assert "79, GPU has fallen off" in found.evidence[0].text
    assert found.measurements[0].value == 2


def test_errors_of_another_gpu_are_not_this_ones():
    log = case("dmesg_decoded")["log"]
    assert check(GPU, log, addresses=["0000:05:00.0"], under_load=True).verdict == "ok"
    assert check(GPU, log, addresses=[], under_load=True).verdict == "failed"


def test_a_log_that_cannot_be_read_is_not_measured():
    found = check(GPU, None, addresses=[], under_load=True, why="dmesg: Operation not permitted")
    assert found.verdict == "not measured"
    assert found.why == ("kernel log under load: dmesg: Operation not permitted",)


def test_a_million_alike_are_two_pieces_of_evidence():
    line = "NVRM: Xid (PCI:0000:3b:00): 13, pid=1, name=a, Graphics Exception\n"
    found = check(GPU, line * 1000, addresses=[], under_load=True)
    assert found.measurements[1].value == 1000
    assert len(found.evidence) == 2


def test_what_was_there_before_is_not_new():
    old = "[1] NVRM: Xid (PCI:0000:3b:00): 13, old\n[2] a\n"
    new = (
        "[2] a\n[3] NVRM: Xid (PCI:0000:3b:00): 31, new\n[3] NVRM: Xid (PCI:0000:3b:00): 31, new\n"
    )
    assert [event.code for event in events(since(old, old + new))] == [31, 31]
    assert since(old, old) == ""
    # The ring buffer forgets the oldest lines: that is nothing new.
    assert since(old, "[2] a\n") == ""


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("0000:3b:00", "0000:3b:00.0"),
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("0018:01:00", "0018:01:00.0"),
        ("00000018:01:00.0", "0018:01:00.0"),
    ],
)
def test_addresses_are_written_in_one_way(told: str, address: str):
    assert address_of(told) == address
