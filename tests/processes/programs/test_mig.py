"""MIG layouts made and looked at on simulated GPUs, by the lab's stand-in of nvidia-smi."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aiprov.lab import simulated
from aiprov.programs import mig
from tests.processes.lab.simulated_machine import Machine, machine
from tests.pythons import needed

PROGRAM = Path(mig.__file__)
HOME = Path(simulated.__file__).parent
A100, H200, SECOND = "0000:11:00.0", "0000:11:00.0", "0000:1e:00.0"


@dataclass(frozen=True)
class Host:
    """A machine with a driver, and the program."""

    machine: Machine
    python: str
    units: Path

    def mig(self, verb: str, *words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [self.python, PROGRAM, verb, *words, "--layout", self.layout, "--record", self.record],
            capture_output=True,
            text=True,
            check=False,
            env={
                "AIPROV_LAB_ROOT": str(self.machine.root),
                "AIPROV_LAB_HOME": str(HOME),
                "PATH": f"{self.units.parent}:/usr/bin:/bin",
            },
        )
        return done.returncode, done.stdout, done.stderr

    @property
    def layout(self) -> Path:
        return self.machine.root / "mig.json"

    @property
    def record(self) -> Path:
        return self.machine.root / "record" / "mig.json"

    @property
    def called(self) -> list[str]:
        """What systemctl was asked for."""
        return self.units.read_text().splitlines() if self.units.exists() else []

    def want(self, **gpus: Any) -> None:
        """The layouts of the GPUs: ``gpu0`` and ``gpu1`` are the first two."""
        places = {"gpu0": A100, "gpu1": SECOND}
        named = {places[name]: {"instances": value} for name, value in gpus.items()}
        self.layout.write_text(json.dumps({"format_version": "1.0", "gpus": named}))

    def apply(self) -> str:
        """Make it so, and see that it is."""
        status, said, wrong = self.mig("apply")
        assert (status, wrong) == (0, ""), said
        assert self.mig("check") == (0, "", "")
        return said

    def devices(self) -> list[str]:
        """The MIG devices that nvidia-smi lists."""
        lines = self.machine.smi("-L").splitlines()
        return [line.split()[1] for line in lines if line.startswith("  MIG")]


@pytest.fixture
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Host]:
    """Makes a host with GPUs and their driver, with this Python unless a test asks for another.

    Each GPU command is a process, which Python 3.6 takes twice as long to start: only tests that
    together run all of the program have it.
    """
    version = getattr(request, "param", None)
    python = sys.executable if version is None else needed(version)

    def make(text: str) -> Host:
        found = machine(tmp_path / "root", text, python).loaded()
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "nvidia-smi").write_text(f'#!/bin/sh\nexec {python} {HOME}/nvidia_smi.py "$@"\n')
        (folder / "systemctl").write_text(
            f'#!/bin/sh\necho "$*" >> {folder}/asked\n'
            f'[ "$1" != is-active ] || [ -e {folder}/active-"$3" ]\n'
        )
        for program in folder.iterdir():
            program.chmod(0o755)
        return Host(found, python, folder / "asked")

    return make


Make = Callable[[str], Host]
oldest = pytest.mark.parametrize("host", ["3.6"], indirect=True)


@oldest
def test_without_layouts_nothing_is_asked(host: Make):
    one = host("h200x2")
    (one.units.parent / "nvidia-smi").unlink()
    for verb in ("check", "apply"):
        assert one.mig(verb) == (0, "", "")
    one.want()
    assert one.mig("check") == (0, "", "")


@oldest
def test_a_layout_is_made_and_changed_and_taken_away(host: Make):
    one = host("h200x2")
    one.want(gpu0={"1g.18gb": 7})
    status, said, _ = one.mig("check")
    assert (status, said) == (1, f"mig: GPU 0 ({H200}): MIG is off\n")
    one.apply()
    assert one.devices() == ["1g.18gb"] * 7
    assert one.mig("apply") == (0, "", "")

    one.want(gpu0={"3g.71gb": 1, "2g.35gb": 1, "1g.18gb": 2})
    assert "it has 7 x 1g.18gb, not" in one.mig("check")[1]
    one.apply()
    assert sorted(one.devices()) == ["1g.18gb", "1g.18gb", "2g.35gb", "3g.71gb"]

    one.want(gpu0=None)
    one.apply()
    assert one.devices() == []
    assert "Disabled" in one.machine.smi("--query-gpu=mig.mode.current", "--format=csv,noheader")


def test_what_a_layout_is_made_of_is_refreshed(host: Make):
    one = host("h200x2")
    one.want(gpu0={"7g.141gb": 1})
    one.apply()
    assert one.called[-1] == "restart nvidia-cdi-refresh.service"
    before = len(one.called)
    one.apply()
    assert len(one.called) == before, "nothing changed, yet something was restarted"


@oldest
def test_at_boot_nobody_waits_for_the_refresh(host: Make):
    one = host("h200x2")
    one.want(gpu0={"7g.141gb": 1})
    assert one.mig("apply", "--at-boot")[0] == 0
    assert one.called[-1] == "--no-block restart nvidia-cdi-refresh.service"


def test_instances_may_be_left_to_others(host: Make):
    one = host("h200x2")
    one.want(gpu0={})
    one.apply()
    assert one.devices() == []
    one.machine.smi("mig", "-i", "0", "-cgi", "2g.35gb", "-C")
    one.apply()
    assert one.devices() == ["2g.35gb"]


def test_other_gpus_are_left_alone(host: Make):
    one = host("h200x2")
    one.machine.smi("-i", "1", "-mig", "1")
    one.machine.smi("mig", "-i", "1", "-cgi", "2g.35gb", "-C")
    one.want(gpu0={"1g.18gb": 1})
    one.apply()
    assert sorted(one.devices()) == ["1g.18gb", "2g.35gb"]


def test_what_is_no_longer_named_goes_but_only_what_was_made_here(host: Make):
    one = host("h200x2")
    one.machine.smi("-i", "1", "-mig", "1")
    one.want(gpu0={"1g.18gb": 2})
    one.apply()
    one.want()
    assert one.mig("check")[0] == 1
    one.apply()
    modes = one.machine.smi("--query-gpu=mig.mode.current", "--format=csv,noheader")
    assert modes.split() == ["Disabled", "Enabled"]
    assert json.loads(one.record.read_text())["managed"] == []


@pytest.mark.parametrize(("text", "profile"), [("h200x2", "1g.18gb"), ("a100-80gb", "1g.10gb")])
def test_instances_come_back_after_a_reboot(host: Make, text: str, profile: str):
    one = host(text)
    one.want(gpu0={profile: 3})
    one.apply()
    one.machine.reboot()
    one.machine.loaded()
    assert one.mig("check")[0] == 1
    one.apply()
    assert one.devices() == [profile] * 3


def test_ampere_is_reset_where_the_mode_is_pending(host: Make):
    one = host("a100-80gbx2")
    one.machine.hold("nvidia0")
    one.machine.smi("-i", "0", "-mig", "1")
    one.machine.let_go()
    one.want(gpu0={"3g.40gb": 2})
    one.apply()
    assert one.devices() == ["3g.40gb", "3g.40gb"]


@oldest
def test_a_gpu_in_use_is_refused_and_nothing_changes(host: Make):
    one = host("h200x2")
    one.want(gpu0={"1g.18gb": 7}, gpu1={"1g.18gb": 7})
    one.machine.hold("nvidia1")
    status, said, wrong = one.mig("apply")
    assert (status, said) == (2, "")
    assert f"GPU 1 ({SECOND}): train (process 4242)" in wrong
    assert one.devices() == []


def test_a_gpu_in_use_that_is_as_it_should_be_hinders_nobody(host: Make):
    one = host("h200x2")
    one.want(gpu0={"1g.18gb": 7}, gpu1=None)
    one.machine.hold("nvidia1")
    one.apply()
    assert one.devices() == ["1g.18gb"] * 7


@oldest
def test_a_layout_that_the_driver_does_not_make_leaves_the_former(host: Make):
    one = host("a100-80gbx2")
    one.want(gpu0={"3g.40gb": 2})
    one.apply()
    one.want(gpu0={"3g.40gb": 3})
    status, _, wrong = one.mig("apply")
    assert status == 2
    assert "does not make 3 x 3g.40gb" in wrong
    assert "Insufficient Resources; 2 x 3g.40gb was put back" in wrong
    assert one.devices() == ["3g.40gb"] * 2


def test_one_gpu_that_fails_does_not_stop_the_others(host: Make):
    one = host("h200x2")
    one.want(gpu0={"9g.1gb": 1}, gpu1={"1g.18gb": 1})
    status, _, wrong = one.mig("apply")
    assert status == 2
    assert "it has no instances, as before" in wrong
    assert one.devices() == ["1g.18gb"]


def test_a_gpu_without_compute_instances_is_not_as_wanted(host: Make):
    one = host("h200x2")
    one.want(gpu0={"1g.18gb": 2})
    one.apply()
    one.machine.smi("mig", "-dci", "-i", "0", "-gi", "13")
    status, said, _ = one.mig("check")
    assert status == 1
    assert "compute instances" in said
    one.apply()


def test_monitors_let_go_of_gpus_only_where_the_mode_changes(host: Make):
    one = host("h200x2")
    (one.units.parent / "active-nvidia-dcgm.service").touch()
    one.want(gpu0={"1g.18gb": 2})
    one.apply()
    assert one.called.index("stop nvidia-dcgm.service") < one.called.index(
        "start nvidia-dcgm.service"
    )
    assert "stop nvsm.service" not in one.called
    one.units.unlink()
    one.want(gpu0={"1g.18gb": 3})
    one.apply()
    assert "stop nvidia-dcgm.service" not in one.called


@pytest.mark.parametrize("refused", ["stop nvsm.service", "start nvidia-dcgm.service"])
def test_all_monitors_that_stopped_are_started_again(host: Make, refused: str):
    one = host("h200x2")
    for unit in ("nvidia-dcgm.service", "nvsm.service"):
        (one.units.parent / f"active-{unit}").touch()
    script = one.units.parent / "systemctl"
    script.write_text(f'{script.read_text()}[ "$*" != "{refused}" ] || {{ echo no; exit 1; }}\n')
    one.want(gpu0={"1g.18gb": 2})
    status, _, wrong = one.mig("apply")
    assert status == 2
    assert f"systemctl {refused}: no" in wrong
    assert {"start nvidia-dcgm.service", "start nvsm.service"} <= set(one.called)


def test_a_gpu_that_has_no_mig_is_told(host: Make):
    one = host("t4x2")
    one.want(gpu0={"1g.5gb": 1})
    status, _, wrong = one.mig("apply")
    assert status == 2
    assert "MIG cannot be turned on" in wrong
    assert "T4" in wrong


@oldest
def test_a_gpu_that_is_gone_is_told(host: Make):
    one = host("h200x2,missing=1")
    one.want(gpu1={"1g.18gb": 1})
    for verb in ("check", "apply"):
        status, _, wrong = one.mig(verb)
        assert status == 2
        assert f"there is no GPU at {SECOND}" in wrong


@oldest
def test_a_driver_that_is_not_there_is_told(host: Make):
    one = host("h200x2")
    one.want(gpu0={"1g.18gb": 1})
    one.machine.reboot()
    status, _, wrong = one.mig("check")
    assert status == 2
    assert wrong.startswith("mig: nvidia-smi ")


@oldest
def test_a_file_that_is_not_json_is_told(host: Make):
    one = host("h200x1")
    one.layout.write_text("{")
    status, _, wrong = one.mig("check")
    assert status == 2
    assert f"{one.layout}: " in wrong


def test_the_largest_instances_are_made_first():
    first = next(mig.orders({"1g.10gb": 2, "3g.40gb": 1, "1g.20gb": 1, "4g.40gb": 1}))
    assert first == ["4g.40gb", "3g.40gb", "1g.20gb", "1g.10gb", "1g.10gb"]
