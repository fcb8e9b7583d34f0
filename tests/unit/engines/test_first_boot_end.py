"""How a first boot ends: what may hold secrets goes before it says that it is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiprov.engines.first_boot import journal, run

STEPS = {"steps": [{"kind": "Command", "address": "Command[x]"}], "written": []}


class PowerLossError(Exception):
    """Ends the program wherever it is, as a power loss does."""


def power_loss(*_args: object) -> None:
    raise PowerLossError


class Host:
    """A host's files and the program's calls of systemctl."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = folder / "first-boot.steps.json"
        self.result = folder / "first-boot.json"
        self.program = [folder / "first-boot.py", folder / "first_boot", folder / "unit"]
        self.steps.write_text(json.dumps(STEPS))
        for path in (self.program[0], self.program[2]):
            path.touch()
        self.program[1].mkdir()
        self.asked: list[list[str]] = []
        monkeypatch.setattr(run, "STEPS", str(self.steps))
        monkeypatch.setattr(run, "LOCK", str(folder / "lock"))
        monkeypatch.setattr(run, "LOG_FILE", str(folder / "log"))
        monkeypatch.setattr(run, "REMOVED_WHEN_DONE", tuple(str(path) for path in self.program))
        monkeypatch.setattr(run, "run", self.asked.append)
        monkeypatch.setattr(journal, "RESULT", str(self.result))

    def status(self) -> str | None:
        return json.loads(self.result.read_text())["status"] if self.result.exists() else None


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(run, "_realise", lambda *_args: True)
    return Host(tmp_path, monkeypatch)


def test_what_is_done_leaves_only_its_result(host):
    assert run.main(["first-boot.py", "run"]) == 0
    assert host.status() == "done"
    assert not host.steps.exists()
    assert not any(path.exists() for path in host.program)
    assert ["systemctl", "disable", run.UNIT] in host.asked


def test_the_steps_are_gone_before_it_says_that_it_is_done(host, monkeypatch):
    seen = []
    finish = journal.Journal.finish
    monkeypatch.setattr(
        journal.Journal, "finish", lambda self: (seen.append(host.steps.exists()), finish(self))
    )
    assert run.main(["first-boot.py", "run"]) == 0
    assert seen == [False]


@pytest.mark.parametrize(
    ("owner", "name"),
    [(journal.Journal, "finish"), (run, "run"), (run.shutil, "rmtree")],
    ids=["before it is done", "before the unit is disabled", "while the program is removed"],
)
def test_an_end_that_a_power_loss_cut_off_is_gone_on_with(host, monkeypatch, owner, name):
    with monkeypatch.context() as power:
        power.setattr(owner, name, power_loss)
        with pytest.raises(PowerLossError):
            run.main(["first-boot.py", "run"])
    assert not host.steps.exists()

    assert run.main(["first-boot.py", "resume"]) == 0
    assert host.status() == "done"
    assert not any(path.exists() for path in host.program)


def test_a_failed_first_boot_is_kept_for_a_person(host, monkeypatch):
    def fails(*_args: object) -> bool:
        raise run.StepFailedError("no space left")

    monkeypatch.setattr(run, "_realise", fails)
    assert run.main(["first-boot.py", "run"]) == 1
    assert host.status() == "failed"
    assert host.asked == [["systemctl", "disable", run.UNIT]]
    assert host.steps.exists() and all(path.exists() for path in host.program)
    assert run.main(["first-boot.py", "resume"]) == 0
    assert host.status() == "failed"


def test_without_steps_and_without_a_result_nothing_is_removed(host):
    host.steps.unlink()
    assert run.main(["first-boot.py", "resume"]) == 0
    assert host.status() is None
    assert all(path.exists() for path in host.program)
