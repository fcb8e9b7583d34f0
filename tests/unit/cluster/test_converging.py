"""A host of an upgrade goes through the pipeline, with the change of its version allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiprov import app
from aiprov.cluster.converging import Converging
from aiprov.converge import HostResult
from aiprov.errors import HostError
from tests.unit.cluster.made_up import cluster


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def apply_job(job: app.Job, request: app.Request, _show: Any, engine: str) -> HostResult:
        calls.append((job, request, engine))
        return HostResult(host=job.host.name, status="changed")

    monkeypatch.setattr(app, "apply_job", apply_job)
    return calls


def test_the_version_may_change_on_that_host(tmp_path: Path, asked: list[tuple[Any, ...]]):
    found = cluster(tmp_path, "cp1", workers=("gpu1",))
    request = app.Request(sources=(str(tmp_path / "hosts.yml"),), limit="gpu1")
    converge = Converging(request=request, engine="ansible")
    assert converge(found.everyone[0], lambda *_: None).status == "changed"
    job, given, engine = asked[0]
    assert (job.host.name, given, engine) == ("cp1", request, "ansible")
    assert job.settings["kubernetes"].kubernetes_upgrade is True
    assert job.cluster.settings["kubernetes"].kubernetes_upgrade is True
    assert converge.jobs["cp1"].settings["kubernetes"].kubernetes_upgrade is False
    assert list(job.settings) == ["base", "containerd", "kubernetes"]
    document = converge.record.document
    assert (document["verb"], len(document["hosts"])) == ("cluster upgrade", 1)


def test_a_host_without_the_role_is_told(tmp_path: Path):
    found = cluster(tmp_path, "cp1")
    path = tmp_path / "hosts.yml"
    path.write_text(path.read_text().replace('"base", "kubernetes"', '"base"'))
    converge = Converging(request=app.Request(sources=(str(path),)), engine="pyinfra")
    with pytest.raises(HostError, match="does not give it the role"):
        converge(found.first, lambda *_: None)
