"""A validation from end to end, on hosts that are folders and processes of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiprov import fleet
from aiprov.checks import campaign as planning
from aiprov.checks.campaign import Campaign, Target
from aiprov.checks.model import Planned, Subject
from aiprov.checks.validation import Validation, from_document
from aiprov.cli.validate import exit_code
from aiprov.converge import Event
from aiprov.errors import UnreachableError, UsageError
from aiprov.validation import course, judging, run
from aiprov.validation.folder import Folder
from aiprov.validation.run import Wish
from tests.processes.payload.processes import gone
from tests.processes.validation.local_host import LocalHost
from tests.processes.validation.site import Site, sited, why

Shown = Callable[[Event], None]
CELLS = 4


def small(name: str, targets: Sequence[Target], budget_s: float, *, seed: int = 0) -> Campaign:
    """A campaign of a few products on each device, all alike."""
    plans: dict[str, Any] = {}
    planned = []
    for target in targets:
        for turn in range(CELLS):
            own = {"dtype": "bf16", "phase": "A", "n": 16384, "seconds": 0}
            cell = {"kind": "gemm", "device": target.device, "limit_s": 20.0, "seed": seed + turn,
                    "parameters": own, "expected_s": 1.0}  # fmt: skip
            document = {"format_version": "1.0", "campaign": name, "stagger_s": 0.0,
                        "self_test": False, "cells": []}  # fmt: skip
            plans.setdefault(target.host, document)["cells"].append(cell)
            planned.append(Planned(name="products bf16 A", subject=target.subject))
    return Campaign(
        name=name, budget_s=budget_s, seconds=budget_s, plans=plans, planned=tuple(planned),
        limits=dict.fromkeys(plans, 60.0), not_tested=("all else: this is a small campaign",),
        by_fault={"bit flips": 0.5},
    )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield from sited(monkeypatch, Site(tmp_path, {}, budget_s=60), small)


def statuses(found: Validation) -> dict[str, str]:
    return {host.host: host.status for host in found.hosts}


def held(host: LocalHost) -> LocalHost:
    """A host that does a test on each device, and the others once it ``goes_on``."""
    host.does(**{f"cuda:{number}": {"holds": True, "seconds": 0.2} for number in range(2)})
    return host


# ---------------------------------------------------------------- what is good, what is not


def test_good_gpus_are_ok_and_everything_is_kept(site: Site, tmp_path: Path):
    host = site.host("gpu1")
    done = site.validate(output=tmp_path / "out")
    found = done.validation
    assert (found.verdict, exit_code(found)) == ("ok", 0), why(found)
    assert statuses(found) == {"gpu1": "done"}
    assert [gpu.subject.id for gpu in found.gpus] == list(host.serials)
    assert {check.name for check in found.checks} >= {
        "products bf16 A", "health under load", "kernel log under load", "inventory",
        "same products as others", "VBIOS of the fleet",
    }  # fmt: skip
    assert [one.products for one in found.coverage] == [CELLS * 1000] * 2
    assert {one.name for one in found.series} >= {"temperature", "power", "clock", "throughput"}
    assert "all else: this is a small campaign" in found.not_tested
    names = {"validation.json", "report.md", "junit.xml", "metrics.prom"}
    assert names <= {path.name for path in (tmp_path / "out").iterdir()}
    told = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert from_document(told).document == found.document
    with pytest.raises(UsageError, match="unfinished"):
        site.resume()


def test_a_verdict_can_be_made_again_without_any_host(site: Site):
    site.host("gpu1")
    done = site.validate(seed=3)
    shutil.rmtree(site.hosts["gpu1"].folder)
    folder = Folder(done.folder)
    targets = judging.told_of(folder.host("gpu1")).ready.targets  # type: ignore[union-attr]
    made = small(folder.campaign.name, targets, 60, seed=3)
    again = judging.validation(folder, judging.told_of_all(folder), made, done.validation.seconds)
    assert again.document == done.validation.document


def test_a_fault_fails_its_gpu_and_no_other(site: Site):
    host = site.host("gpu1")
    site.host("gpu2")
    host.does(**{"cuda:1": {"faults": 2}})
    found = site.validate().validation
    assert (found.verdict, exit_code(found)) == ("failed", 3)
    bad = {str(subject) for subject, verdict in found.by_subject.items() if verdict != "ok"}
    assert bad == {"gpu1", "gpu1 GPU 0000:3b:00.0"}


BAD = {
    "an Xid under load": (
        lambda host: host.write("kernel.log", "NVRM: Xid (PCI:0000:19:00): 79, pid=1, gone\n"),
        "problems: 1",
    ),
    "a kernel log that is gone": (
        lambda host: host.write("kernel.log", ""),
        "the kernel log cannot be read",
    ),
    "ECC errors": (
        lambda host: host.smi({"dram_uncorrected": "4"}, {}),
        "uncorrectable memory errors: 4",
    ),
    "a GPU that is lost": (lambda host: host.smi({}), "present: False, must be exactly True"),
    "a narrow link": (lambda host: host.smi({"width": "4x"}, {}), "pcie_width: 4"),
    "another driver": (
        lambda host: host.write(
            "contract.json", (host.folder / "contract.json").read_text().replace("580.95", "570.1")
        ),
        "driver: 580.95.05",
    ),
    "products unlike those of others": (
        lambda host: host.does(**{"cuda:1": {"hash": "bad"}}),
        "products unlike those of most",
    ),
    "a worker that crashes": (
        lambda host: host.does(**{"cuda:0": {"crash": True}}),
        "exit status 3",
    ),
}


def test_what_goes_wrong_on_a_host_is_not_ok_there(site: Site):
    """Faults come once the first products are made, each on a host of its own, before the next."""
    hosts = {f"gpu{number}": fault for number, fault in enumerate(BAD)}
    left = dict(hosts)
    for name, fault in hosts.items():
        host = site.host(name)
        if fault == "another driver":
            BAD[left.pop(name)][0](host)
        else:
            held(host)
    site.host("good")

    def show(event: Event) -> None:
        if event.number >= 2 and event.host in left:
            BAD[left.pop(event.host)][0](site.hosts[event.host])
            site.hosts[event.host].goes_on()

    found = site.validate(show).validation
    assert not left
    for name, fault in hosts.items():
        told = [reason for check in found.checks if check.subject.host == name
                for reason in check.why]  # fmt: skip
        assert any(BAD[fault][1] in reason for reason in told), (fault, told)
        assert found.by_subject[Subject(host=name)] != "ok"
    assert found.by_subject[Subject(host="good")] == "ok", why(found)
    assert (found.verdict, exit_code(found)) == ("failed", 3)


def test_a_slow_gpu_is_measured_again_and_then_fails(site: Site):
    for number in range(1, 4):
        site.host(f"gpu{number}")
    site.hosts["gpu2"].does(**{"cuda:1": {"tflops": 450}})
    done = site.validate()
    found = done.validation
    slow = Subject(host="gpu2", kind="gpu", id="gpu2-2", label="GPU 0000:3b:00.0")
    assert {subject for subject, verdict in found.by_subject.items() if verdict == "failed"} == {
        Subject(host="gpu2"), slow,
    }  # fmt: skip
    assert "(fleet" in why(found)
    ends = [item for item in site.journal(done, "gpu2", "again") if item["event"] == "end"]
    assert {end["device"] for end in ends} == {"cuda:1"} and len(ends) == planning.REPEATS
    assert [len(host.started) for host in site.hosts.values()] == [1, 2, 1]


def test_processors_stand_for_gpus_and_that_is_said(site: Site):
    site.host("plain", gpus=False)
    found = site.validate(device="cpu").validation
    assert (found.verdict, found.gpus) == ("ok", ()), why(found)
    assert judging.STOOD_FOR in found.not_tested


# ---------------------------------------------------------------- hosts that are not measured


def in_use(host: LocalHost) -> None:
    host.write("users", "4711, python3, GPU-1\n")


REFUSED: dict[str, tuple[Callable[[LocalHost], Any], str]] = {
    "in use": (in_use, "GPUs are in use: 4711, python3"),
    "no payload": (lambda host: (host.folder / "version").unlink(), "the payload is not on"),
    "another payload": (lambda host: host.write("version", "0123\n"), "its payload is another"),
    "no contract": (lambda host: (host.folder / "contract.json").unlink(), "nothing says what"),
    "no sense": (lambda host: host.write("contract.json", "[]"), "contract.json"),
    "MIG": (lambda host: host.smi({"mig": "Enabled"}, {}), "MIG is on (0000:19:00.0)"),
    "no driver": (lambda host: (host.folder / "bin/nvidia-smi").unlink(), "no nvidia-smi"),
}


def test_hosts_that_are_not_ready_are_refused_and_others_are_measured(site: Site):
    hosts = {f"bad{number}": why_not for number, why_not in enumerate(REFUSED)}
    for name, why_not in hosts.items():
        REFUSED[why_not][0](site.host(name))
    site.host("good")
    found = site.validate().validation
    for run_ in found.hosts[:-1]:
        assert run_.status == "refused", run_
        assert REFUSED[hosts[run_.host]][1] in run_.message and run_.hint
        assert bool(site.hosts[run_.host].started) == (hosts[run_.host] == "in use")
    assert (found.verdict, exit_code(found)) == ("not measured", 3)
    assert found.by_subject[Subject(host="good")] == "ok", why(found)
    assert {check.subject.host for check in found.checks} == {"good"}, "it is told once"


def test_what_nobody_thought_of_ends_no_other_host(site: Site):
    site.host("odd")
    site.host("good")

    def show(event: Event) -> None:
        if event.host == "odd" and event.step == "change":
            raise KeyError("what is this")

    found = site.validate(show).validation
    assert statuses(found) == {"odd": "failed", "good": "done"}
    assert "KeyError" in found.hosts[0].message and "defect" in found.hosts[0].hint
    assert found.by_subject[Subject(host="good")] == "ok"


def test_reports_that_cannot_be_copied_are_in_the_folder(site: Site, tmp_path: Path):
    site.host("gpu1")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as said:
        site.validate(output=tmp_path / "file" / "reports")
    folder = Path(str(said.value.hint).rpartition(" ")[2])
    assert (folder / "report.html").exists() and (folder / "ended").exists()


def test_an_unreachable_host_is_said_to_be_so(site: Site):
    site.host("gone").lost = True
    site.host("good")
    found = site.validate().validation
    assert statuses(found) == {"gone": "unreachable", "good": "done"}
    assert (found.verdict, exit_code(found)) == ("not measured", 4)


def test_hosts_without_the_role_are_not_asked(site: Site):
    site.host("gpu1")
    request = site.request
    path = Path(request.sources[0])
    told = json.loads(path.read_text())
    told["all"]["hosts"]["other"] = {"ansible_connection": "local", "aiprov_roles": []}
    path.write_text(json.dumps(told))
    done = run.validate(request, Wish(root=site.root), lambda _event: None, site.way)
    assert statuses(done.validation) == {"gpu1": "done"}
    assert "hosts without the role gpu_validation: other" in done.validation.not_tested
    told["all"]["vars"] = {"aiprov_roles": []}
    path.write_text(json.dumps(told))
    with pytest.raises(UsageError, match="none of the hosts has the role gpu_validation"):
        run.validate(request, Wish(root=site.root), lambda _event: None, site.way)


# ---------------------------------------------------------------- cut off, and gone on with


class CutOffError(BaseException):
    """The controller ends in the middle."""


def test_a_controller_that_ends_is_gone_on_with_and_nothing_is_done_twice(site: Site):
    host = held(site.host("gpu1"))
    site.host("gpu2")
    other = threading.Event()

    def show(event: Event) -> None:
        if (event.host, event.step) == ("gpu2", "end"):
            other.set()
        if event.host == "gpu1" and event.number >= 3:
            assert other.wait(60)  # its thread would outlive a controller that ends
            raise CutOffError

    with pytest.raises(CutOffError):
        site.validate(show)
    host.goes_on()
    done = site.resume()
    found = done.validation
    assert found.verdict == "ok", why(found)
    assert [len(host.started) for host in site.hosts.values()] == [1, 1]
    begun = [item["cell"] for item in site.journal(done, "gpu1") if item["event"] == "begin"]
    assert len(begun) == len(set(begun)) == 2 * CELLS


def test_a_payload_that_is_killed_repeats_one_cell_a_device(site: Site):
    host = held(site.host("gpu1"))
    killed = threading.Event()

    def show(event: Event) -> None:
        if event.number >= 3 and not killed.is_set():
            killed.set()
            os.kill(host.pid, signal.SIGKILL)

    found = site.validate(show).validation
    assert statuses(found) == {"gpu1": "failed"}
    assert "tests have no end" in found.hosts[0].message
    assert found.verdict == "not measured"
    host.goes_on()
    done = site.validate()  # a new campaign: the old one is kept as it is
    assert (done.validation.verdict, len(host.started)) == ("ok", 2)


def test_an_interrupt_leaves_no_process_and_can_be_gone_on_with(site: Site):
    host = held(site.host("gpu1"))
    once = threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background: ignored

    def show(event: Event) -> None:
        if event.number >= 3 and not once.is_set():
            once.set()
            os.kill(os.getpid(), signal.SIGINT)

    done = site.validate(show)
    signal.signal(signal.SIGINT, before)
    assert done.interrupted
    assert statuses(done.validation) == {"gpu1": "interrupted"}
    assert done.validation.verdict == "not measured"
    assert gone(host.pid)
    fleet.stopping.clear()
    host.goes_on()
    again = site.resume()
    assert again.folder == done.folder
    assert again.validation.verdict == "ok", why(again.validation)
    begun = [item["cell"] for item in site.journal(again, "gpu1") if item["event"] == "begin"]
    assert len(begun) <= 2 * CELLS + 2, "at most one cell a device is repeated"


def test_a_host_that_falls_silent_is_given_up_and_found_again(site: Site):
    host = held(site.host("gpu1"))

    def show(event: Event) -> None:
        if event.number >= 2:
            host.lost = True

    found = site.validate(show).validation
    assert statuses(found) == {"gpu1": "unreachable"}
    assert exit_code(found) == 4
    host.lost = False
    host.goes_on()
    again = site.resume().validation
    assert again.verdict == "ok", why(again)
    assert len(host.started) == 1, "its unit had gone on"


def test_a_moment_of_silence_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(course, "PATIENCE_S", 30.0)
    host = held(site.host("gpu1"))
    once = threading.Event()

    def show(event: Event) -> None:
        if event.number >= 2 and not once.is_set():
            once.set()
            host.refuses = 5
            host.goes_on()

    assert site.validate(show).validation.verdict == "ok"
    assert (once.is_set(), host.refuses) == (True, 0)


def test_two_do_not_work_on_one_campaign(site: Site):
    host = held(site.host("gpu1"))
    errors = []

    def show(event: Event) -> None:
        if event.number >= 2 and not errors:
            with pytest.raises(UsageError, match="another aiprov works on this campaign") as found:
                site.resume()
            errors.append(found)
            host.goes_on()

    assert site.validate(show).validation.verdict == "ok"
    assert errors


def test_another_campaign_on_a_host_is_left_alone_until_it_is_stopped(site: Site):
    host = site.host("gpu1")
    host.does(**{"cuda:0": {"seconds": 8}})

    def show(event: Event) -> None:
        if event.number >= 2:
            raise CutOffError

    with pytest.raises(CutOffError):
        site.validate(show)
    found = site.validate().validation
    assert statuses(found) == {"gpu1": "refused"}
    assert "campaign 2" in found.hosts[0].message and "--stop" in found.hosts[0].hint
    assert run.stop(site.request, site.way) == {"gpu1": True}
    assert gone(host.pid)
    assert run.stop(site.request, site.way) == {"gpu1": False}
    host.lost = True
    (error,) = run.stop(site.request, site.way).values()
    assert isinstance(error, UnreachableError)


def test_a_budget_that_is_too_short_leaves_nothing_to_go_on_with(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    host = site.host("gpu1")

    def too_short(*_given: Any, **_more: Any) -> Campaign:
        raise UsageError("a budget of 60s is too short")

    monkeypatch.setattr(planning, "campaign", too_short)
    with pytest.raises(UsageError, match="too short"):
        site.validate()
    assert not host.started
    with pytest.raises(UsageError, match="unfinished"):
        site.resume()
