"""The self-test on a host: with the real worker all is red; with a blind one, that is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiprov import app, payload_files
from aiprov.errors import UsageError
from aiprov.validation import course, proving
from aiprov.validation.folder import unfinished
from tests.processes.validation.local_host import LocalHost, LocalRemote
from tests.torch_python import torch_python


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHost]:
    monkeypatch.setattr(course, "POLL_S", 0.1)
    made = LocalHost(tmp_path, "a")
    made.write("lib/aiprov_payload/worker.py", payload_files.files()["worker.py"])
    launch = (
        f"#!/bin/sh\nexport PYTHONPATH={made.folder}/lib PYTHONDONTWRITEBYTECODE=1\n"
        f'exec {torch_python()} -m aiprov_payload "$@"\n'
    )
    made.write("payload", launch)
    yield made
    made.lost = False
    LocalRemote(made).stop()


def prove(host: LocalHost) -> proving.Proof:
    inventory = host.folder.parent / "hosts.json"
    own = {"ansible_connection": "local", "aiprov_roles": ["gpu_validation"]}
    inventory.write_text(json.dumps({"all": {"hosts": {host.name: own}}}))
    request = app.Request(sources=(str(inventory),))
    root = host.folder.parent / "campaigns"
    return proving.prove(request, "cpu", lambda _event: None, lambda _: LocalRemote(host), root)


def test_every_fault_turns_red_on_a_host(host: LocalHost):
    made = prove(host)
    assert [one.status for one in made.hosts] == ["done"], made.hosts
    assert made.scores["a"].wrong == ()
    assert made.proven
    assert made.scores["a"].injected >= 60
    assert made.folder is not None
    told = json.loads((made.folder / "self-test.json").read_text())
    assert (told["proven"], told["fail_open"]) == (True, 0)
    with pytest.raises(UsageError):  # it is no campaign to go on with
        unfinished(host.folder.parent / "campaigns")


def test_a_checker_that_sees_nothing_is_found(host: LocalHost):
    host.write("lib/aiprov_payload/inject.py", _without_faults())
    made = prove(host)
    assert not made.proven
    assert any("products" in one.check for one in made.scores["a"].wrong)
    assert made.scores["a"].fail_open


def _without_faults() -> str:
    """A payload into which no fault goes: nothing that is injected reaches a checker."""
    text = payload_files.files()["inject.py"]
    before = "    def hits(self, number: int) -> bool:"
    assert before in text
    never = f"{before}\n        return False\n\n    def _was(self, number: int) -> bool:"
    return text.replace(before, never)


def test_a_host_that_cannot_be_tried_proves_nothing(host: LocalHost):
    host.lost = True
    made = prove(host)
    assert not made.proven
    assert made.score.proven  # what needs no host is
    assert [one.status for one in made.hosts] == ["unreachable"]


def test_without_hosts_the_judges_are_tried(tmp_path: Path):
    made = proving.prove(app.Request(), "cuda", lambda _event: None, root=tmp_path)
    assert made.proven
    assert set(made.scores) == {proving.HERE}
    assert made.folder is None
