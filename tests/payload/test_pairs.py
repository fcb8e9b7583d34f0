"""Pairs across hosts with real ranks: the device that sends wrong is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiprov import payload_files
from aiprov.validation import across
from aiprov.validation.folder import Folder
from aiprov.validation.pairing import WHAT
from tests.processes.validation import pair_site
from tests.processes.validation.local_host import LocalHost
from tests.processes.validation.pair_site import of_pairs
from tests.processes.validation.site import Site, why
from tests.torch_python import torch_python


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield from pair_site.made(tmp_path, monkeypatch)


INJECT = {"kind": "memory bit", "product": 3}


def with_ranks(host: LocalHost, *, wrong: str = "") -> None:
    """The host's payload is the real one. What leaves the device ``wrong`` is wrong."""
    for name in ("worker.py", "collectives.py"):
        host.write(f"lib/aiprov_payload/{name}", payload_files.files()[name])
    if wrong:
        text = payload_files.files()["rank.py"]
        before = "    parameters = {**cell.parameters, **_own_fault(cell.parameters, number)}\n"
        assert before in text
        own = f'    if name == "{wrong}":\n        parameters["inject"] = {INJECT!r}\n'
        host.write("lib/aiprov_payload/rank.py", text.replace(before, before + own))
    launch = (
        f"#!/bin/sh\nexport PYTHONPATH={host.folder}/lib PYTHONDONTWRITEBYTECODE=1\n"
        f'exec {torch_python()} -m aiprov_payload "$@"\n'
    )
    host.write("payload", launch)


def test_a_device_that_sends_wrong_is_found_among_two_hosts(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(across, "STAGES", 2)
    with_ranks(site.host("gpu1"))
    with_ranks(site.host("gpu2"), wrong="cpu:1")
    done = site.validate()
    found = of_pairs(done.validation)
    assert {host.status for host in done.validation.hosts} == {"done"}, why(done.validation)
    told = {subject.id: check.verdict for subject, check in found.items()}
    assert told == {"gpu1-1": "ok", "gpu1-2": "ok", "gpu2-1": "ok", "gpu2-2": "failed"}
    assert done.validation.by_fault["network adapter"] > 0
    assert not any(WHAT in one for one in done.validation.not_tested)
    assert [one.stage for one in across.kept(Folder(done.folder)).meetings] == [
        "pairs-0",
        "pairs-1",
    ]
    (bad,) = (check for check in found.values() if check.verdict == "failed")
    assert "gpu2/cpu:1/lo: 1 wrong results" in bad.evidence[0].text
    assert WHAT in (done.folder / "report.md").read_text()
