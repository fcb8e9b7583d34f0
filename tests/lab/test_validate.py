"""``aiprov validate`` on hosts with simulated GPUs, as a user runs it; processors do the work.

The hosts are prepared once, by the role, with PyTorch from a folder of wheels.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiprov.checks.validation import from_document
from aiprov.lab import HostSpec, Lab, gpus
from aiprov.lab.machine import call, until
from aiprov.payload.journal import read
from tests.lab.commands import Running, Said, Site, environment, site
from tests.lab.conftest import LabHost
from tests.lab.test_lab_gpus import install
from tests.torch_wheels import download

pytestmark = pytest.mark.lab

GPUS, PLAIN = "val1", "val2"
WHEELS = "/srv/wheels"
SETTINGS: dict[str, Any] = {
    "aiprov_roles": ["gpu_validation"],
    "gpu_validation_device": "cpu",
    "gpu_validation_find_links": WHEELS,
}
WORK = ("--device", "cpu", "--budget", "30s")
UNDER_WAY = "stage 1 ([2-9]|[1-9][0-9])/"
"""What the progress shows once the second cell has begun."""


@pytest.fixture(scope="module")
def hosts(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A host with two simulated H200 and their driver, and one that has no GPU."""
    wheels = download(tmp_path_factory.mktemp("wheels"))
    own = Lab(lab_root / "validate")
    own.up([HostSpec(name=GPUS, gpus=gpus("h200x2")), HostSpec(name=PLAIN)])
    for name in (GPUS, PLAIN):
        own.run(name, ["mkdir", WHEELS])
        for wheel in wheels.iterdir():
            own.run(name, ["tee", f"{WHEELS}/{wheel.name}"], stdin=wheel.read_bytes())
    install(LabHost(own, GPUS))
    own.run(GPUS, ["modprobe", "nvidia"])
    own.run(GPUS, ["nvidia-smi", "-pm", "1"])
    made = site(own, tmp_path_factory.mktemp("validate") / "site", SETTINGS)
    said = made.aiprov("apply")
    assert said.code == 0, said.out + said.err
    yield made
    own.down()


def start(hosts: Site, folder: Path, *words: str) -> Running:
    """Begin a validation in a folder, as in a terminal."""
    command = ("env", "--default-signal=INT", sys.executable, "-m", "aiprov", "validate")
    inventory = () if "--resume" in words else hosts.inventory
    return Running(
        subprocess.Popen(
            [*command, *inventory, *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(folder / "any") | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            start_new_session=True,
        )
    )


def validate(hosts: Site, folder: Path, *words: str) -> Said:
    return start(hosts, folder, *words).finish()


def begun(folder: Path, host: str) -> list[str]:
    """The cells that were begun there, in their order."""
    (journal,) = folder.glob(f".aiprov/validation/*/hosts/{host}/first.jsonl")
    past = read(journal.read_bytes())
    assert past.problem == ""
    return [record["cell"] for record in past.records if record["event"] == "begin"]


def processes(hosts: Site, host: str) -> str:
    """What of the payload runs on a host."""
    done = hosts.lab.run(host, ["pgrep", "-af", "aiprov_payload"], check=False)
    return done.stdout.decode()


def is_called(hosts: Site, host: str) -> bool:
    """Whether somebody tries to connect to a host that does not answer."""
    address = hosts.lab.hosts[host].address
    return bool(call(["ss", "-Htn", "state", "syn-sent", "dst", address]).stdout)


def test_good_hosts_are_ok_and_one_that_is_gone_holds_nobody_up(hosts: Site, tmp_path: Path):
    gone = tmp_path / "gone.yml"
    gone.write_text("all: {hosts: {gone: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n")
    said = validate(hosts, tmp_path, "-i", str(gone), *WORK, "--json", "--output", "reports")
    found = from_document(json.loads(said.out))
    bad = [reason for check in found.checks for reason in check.why]
    assert bad == []
    assert {host.host: host.status for host in found.hosts} == {
        GPUS: "done", PLAIN: "done", "gone": "unreachable",
    }  # fmt: skip
    assert (said.code, found.verdict) == (4, "not measured")
    assert [gpu.model for gpu in found.gpus] == ["H200 SXM"] * 2
    assert all(one.products > 0 and one.faults == 0 for one in found.coverage)
    assert "the GPUs themselves: processors stood for them (--device cpu)" in found.not_tested
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        "validation.json", "report.md", "report.html", "junit.xml", "metrics.prom",
    }  # fmt: skip
    assert processes(hosts, GPUS) == processes(hosts, PLAIN) == ""


def test_hosts_meet_in_pairs(hosts: Site, tmp_path: Path):
    said = validate(hosts, tmp_path, "--device", "cpu", "--budget", "100s", "--json")
    found = from_document(json.loads(said.out))
    pairs = [check for check in found.checks if check.name == "pairs across hosts"]
    bad = [reason for check in found.checks for reason in check.why]
    assert bad == [] and said.code == 0, said.err
    assert {str(check.subject) for check in pairs} == {f"{GPUS} GPU 0000:11:00.0", PLAIN}
    # The second GPU would need a round more.
    assert any("1 of 2 pairs across hosts" in reason for reason in found.not_tested)


def test_a_fault_under_load_is_found(hosts: Site, tmp_path: Path):
    running = start(hosts, tmp_path, "-l", GPUS, "-v", *WORK)
    running.wait_for(f"{GPUS}: {UNDER_WAY}")
    hosts.lab.gpu_fault(GPUS, "xid", gpu=1, code=48)
    said = running.finish()
    assert said.code == 3, said.out + said.err
    assert f"{GPUS} GPU 0000:1e:00.0: failed" in said.out
    assert "kernel log under load: problems: 1" in said.out


def test_a_killed_controller_is_gone_on_with(hosts: Site, tmp_path: Path):
    running = start(hosts, tmp_path, "-l", PLAIN, "-v", *WORK)
    running.wait_for(f"{PLAIN}: {UNDER_WAY}")
    running.kill(signal.SIGKILL)
    running.finish()
    assert processes(hosts, PLAIN), "the host goes on by itself"
    said = start(hosts, tmp_path, "--resume").finish()
    assert said.code == 0, said.out + said.err
    cells = begun(tmp_path, PLAIN)
    assert len(cells) == len(set(cells)), "nothing was done twice"
    assert processes(hosts, PLAIN) == ""
    said = start(hosts, tmp_path, "--resume").finish()
    assert (said.code, "is unfinished" in said.err) == (1, True), said.err


def test_ctrl_c_leaves_no_process_and_can_be_gone_on_with(hosts: Site, tmp_path: Path):
    running = start(hosts, tmp_path, "-l", PLAIN, "-v", *WORK)
    running.wait_for(f"{PLAIN}: {UNDER_WAY}")
    running.kill(signal.SIGINT)
    said = running.finish()
    assert said.code == 130, said.out + said.err
    assert "aiprov validate --resume goes on with it" in said.err
    assert processes(hosts, PLAIN) == ""
    before = begun(tmp_path, PLAIN)
    said = start(hosts, tmp_path, "--resume").finish()
    assert said.code == 0, said.out + said.err
    cells = begun(tmp_path, PLAIN)
    assert cells[: len(before)] == before
    assert len(cells) - len(set(cells)) <= 1, "at most one was done twice"


def test_a_host_that_is_cut_off_is_followed_again(hosts: Site, tmp_path: Path):
    running = start(hosts, tmp_path, "-l", PLAIN, "-v", "-T", "20", *WORK)
    running.wait_for(f"{PLAIN}: {UNDER_WAY}")
    hosts.lab.cut(PLAIN)
    try:
        until(
            lambda: is_called(hosts, PLAIN), "the host to be called again", timeout=110, every=0.2
        )
    finally:
        hosts.lab.restore(PLAIN)
    said = running.finish()
    assert said.code == 0, said.out + said.err


def test_gpus_in_use_are_left_alone(hosts: Site, tmp_path: Path):
    with hosts.lab.hold_gpu(GPUS, 1) as pid:
        said = validate(hosts, tmp_path, "-l", GPUS, "--budget", "10m")
        assert said.code == 3, said.out + said.err
        assert f"{GPUS}: refused: GPUs are in use: {pid}" in said.out
        running = hosts.lab.run(GPUS, ["ps", "-p", str(pid)], check=False)
        assert running.returncode == 0, "somebody's work went on"


def test_what_was_left_on_a_host_is_ended_by_stop(hosts: Site, tmp_path: Path):
    # So much work that it is not over by itself before the last of what follows.
    running = start(hosts, tmp_path, "-v", "--device", "cpu", "--budget", "10m")
    for name in (GPUS, PLAIN):
        running.wait_for(f"{name}: {UNDER_WAY}")
    running.kill(signal.SIGKILL)
    running.finish()
    said = validate(hosts, tmp_path, "-l", PLAIN, *WORK)
    assert (said.code, "runs there" in said.out) == (3, True), said.out + said.err
    said = validate(hosts, tmp_path, "--stop")
    assert (said.code, said.out) == (0, f"{GPUS}: ended\n{PLAIN}: ended\n"), said.err
    assert processes(hosts, GPUS) == processes(hosts, PLAIN) == ""
