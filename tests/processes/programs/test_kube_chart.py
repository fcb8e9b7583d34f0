"""The program that installs charts, with a Helm of the test's own in a real archive."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from aiprov.kubernetes import charts
from aiprov.kubernetes.charts import Chart, Helm
from tests.processes.programs.kube_host import command
from tests.pythons import find, needed

STANDIN = Path(__file__).parent / "helm_standin.py"
OPERATOR = Chart(
    name="gpu-operator",
    namespace="nvidia-gpu",
    repository="https://helm.example.org/nvidia",
    chart="gpu-operator",
    version="v26.7.0",
    values={"driver": {"enabled": False}, "mig": {"strategy": "single"}},
)


class Host:
    """A control plane: its recipe, its Helm, and the releases of its cluster."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder, self.python = folder, python
        self.program = folder / "bin" / "helm"
        self.program.parent.mkdir()
        (folder / "charts").mkdir()
        text = f"#!{find('3.12')}\n" + STANDIN.read_text()
        self.archive = self.packed("linux-amd64/helm", text)
        self.state: dict[str, Any] = {}
        self.helm = self.of(self.archive)
        self.chart(OPERATOR)

    def packed(self, member: str, text: str) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            about = tarfile.TarInfo(member)
            about.size = len(text)
            archive.addfile(about, io.BytesIO(text.encode()))
        return packed.getvalue()

    def of(self, archive: bytes) -> Helm:
        path = self.folder / "helm.tar.gz"
        path.write_bytes(archive)
        return Helm(version="4.2.4", url=str(path), sha256=hashlib.sha256(archive).hexdigest())

    def chart(self, chart: Chart) -> str:
        """Put a chart's archive into the repository; its checksum."""
        data = f"{chart.chart} {chart.version}".encode()
        (self.folder / "charts" / f"{chart.chart}-{chart.version}.tgz").write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def log(self) -> list[str]:
        log = self.folder / "log"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    def say(self, **state: Any) -> None:
        known = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        self.state_file.write_text(json.dumps({**known, **state}))

    @property
    def releases(self) -> dict[str, Any]:
        return json.loads(self.state_file.read_text()).get("releases", {})

    def run(self, verb: str, *wanted: Chart, helm: Helm | None = None) -> tuple[int, str, str]:
        self.say()
        (self.folder / "recipe.json").write_text(
            charts.recipe(wanted, helm or (self.helm if wanted else None))
        )
        done = subprocess.run(
            [*command(self.python, "charts"), verb, str(self.folder / "recipe.json")],
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": "/root",
                "KUBECONFIG": "/nowhere",
                "AIPROV_TEST_HELM": str(self.program),
                "AIPROV_TEST_LOCK": str(self.folder / "lock"),
                "AIPROV_TEST_PAUSE_S": "0.1",
                "AIPROV_TEST_STATE": str(self.folder),
            },
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["3.6", "3.12"])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Host:
    python = needed(request.param)
    return Host(tmp_path, python)


def changed(**values: Any) -> Chart:
    return Chart(**{**charts.asdict(OPERATOR), **values})


def test_from_nothing_to_installed_and_nothing_more_to_do(host: Host):
    assert host.run("installed", OPERATOR)[:2] == (1, "helm 4.2.4 is not there\n")
    status, said, _ = host.run("install", OPERATOR)
    assert status == 0
    assert "gpu-operator v26.7.0 is installed" in said
    release = host.releases["nvidia-gpu/gpu-operator"]
    assert release["values"] == OPERATOR.values
    assert release["waited"]
    assert host.run("installed", OPERATOR) == (0, "", "")
    before = host.log.count("upgrade")
    assert host.run("install", OPERATOR)[0] == 0
    assert host.log.count("upgrade") == before


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        (changed(values={"mig": {"strategy": "mixed"}}), "has other values: driver, mig"),
        (changed(version="v26.8.0"), "is gpu-operator-v26.7.0, not gpu-operator-v26.8.0"),
        (changed(name="operator-2"), "operator-2 is not installed"),
    ],
)
def test_drift_is_told_and_put_right(host: Host, chart: Chart, said: str):
    host.run("install", OPERATOR)
    host.chart(chart)
    status, told, _ = host.run("installed", chart)
    assert status == 1
    assert said in told
    assert host.run("install", chart)[0] == 0
    assert host.run("installed", chart) == (0, "", "")


def test_what_is_wanted_no_more_is_uninstalled_and_others_releases_stay(host: Host):
    host.run("install", OPERATOR)
    other = {"chart": "x-1", "status": "deployed", "values": {}, "labels": {}}
    host.say(releases={**host.releases, "default/theirs": other})
    assert host.run("installed")[:2] == (1, "gpu-operator is wanted no more\n")
    assert host.run("install")[0] == 0
    assert list(host.releases) == ["default/theirs"]
    assert host.run("installed") == (0, "", "")


def test_without_charts_there_is_no_helm(host: Host):
    assert host.run("installed") == (0, "", "")
    assert host.run("install") == (0, "", "")
    assert not host.program.exists()


@pytest.mark.parametrize("installed_before", [False, True])
def test_a_helm_that_was_killed_is_gone_on_from(host: Host, installed_before: bool):
    if installed_before:
        host.run("install", OPERATOR)
    wanted = changed(values={"mig": {"strategy": "mixed"}})
    host.say(kills="upgrade")
    assert host.run("install", wanted)[0] == -9
    pending = "pending-upgrade" if installed_before else "pending-install"
    assert pending in host.run("installed", wanted)[1]
    assert host.run("install", wanted)[0] == 0
    assert host.releases["nvidia-gpu/gpu-operator"]["values"] == wanted.values
    assert host.run("installed", wanted) == (0, "", "")


def test_a_helm_that_still_works_is_not_disturbed(host: Host):
    lock = os.open(host.folder / "lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, err = host.run("install", OPERATOR)
    finally:
        os.close(lock)
    assert status == 2
    assert "another kube-chart is at work" in err
    assert "hint: " in err


def test_an_archive_of_other_bytes_is_not_run(host: Host):
    host.helm = Helm(version="4.2.4", url=host.helm.url, sha256="0" * 64)
    status, _, err = host.run("install", OPERATOR)
    assert status == 2
    assert f"not {'0' * 64}" in err
    assert "kubernetes_helm_sha256" in err
    assert not host.program.exists()


def test_a_program_that_was_changed_is_laid_anew(host: Host):
    host.run("install", OPERATOR)
    whole = host.program.read_text()
    host.program.write_text(whole + "# changed\n")
    assert host.run("installed", OPERATOR)[0] == 1
    assert host.run("install", OPERATOR)[0] == 0
    assert host.program.read_text() == whole
    assert host.program.stat().st_mode & 0o777 == 0o755


def test_a_chart_of_other_bytes_is_not_installed(host: Host):
    good = host.chart(OPERATOR)
    status, _, err = host.run("install", changed(sha256="0" * 64))
    assert status == 2
    assert f"the chart gpu-operator v26.7.0 of {OPERATOR.repository} has SHA-256 {good}" in err
    assert host.releases == {}
    assert host.run("install", changed(sha256=good))[0] == 0


@pytest.mark.parametrize("repository", ["oci://registry.example.org/charts", "folder"])
def test_charts_come_from_registries_and_folders_too(host: Host, repository: str):
    place = repository if repository != "folder" else str(host.folder / "charts")
    assert host.run("install", changed(repository=place))[0] == 0
    assert "nvidia-gpu/gpu-operator" in host.releases
    pulls = [line for line in (host.folder / "log").read_text().splitlines() if "pull" in line]
    if repository == "folder":
        assert pulls == []
    else:
        assert pulls[0].startswith(f"pull {repository}/gpu-operator --version v26.7.0")


def test_a_network_is_not_waited_for(host: Host):
    host.run("install", changed(wait=False))
    assert not host.releases["nvidia-gpu/gpu-operator"]["waited"]


@pytest.mark.parametrize(
    ("state", "verb", "said", "hint"),
    [
        ({"connection refused": True}, "installed", "cluster unreachable", "kubectl get --raw"),
        ({"fails": {"pull": "no such host"}}, "install", "no such host", "put the chart"),
        ({"fails": {"upgrade": "timed out"}}, "install", "Error: timed out", "get ready"),
    ],
)
def test_failures_say_the_way_out(host: Host, state: Any, verb: str, said: str, hint: str):
    host.run("install", OPERATOR)
    host.say(**state)
    status, _, err = host.run(verb, changed(values={}))
    assert status == 2
    assert said in err
    assert hint in err.partition("hint: ")[2]


@pytest.mark.parametrize("verb", ["list", "get", "upgrade", "uninstall"])
def test_an_api_that_is_away_for_a_moment_costs_no_run(host: Host, verb: str):
    host.run("install", OPERATOR, changed(name="old"))
    away = ["etcdserver: leader changed", "Kubernetes cluster unreachable: i/o timeout"]
    host.say(fails={verb: away})
    status, out, err = host.run("install", changed(values={}))
    assert (status, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("once more: ")]
    assert set(host.releases) == {"nvidia-gpu/gpu-operator"}
    assert host.run("installed", changed(values={}))[0] == 0


@pytest.mark.parametrize(
    ("archive", "said"),
    [(b"no archive", "file could not be opened"), (None, "holds no program helm")],
)
def test_what_is_no_helm_is_told(host: Host, archive: bytes | None, said: str):
    data = host.packed("linux-amd64/README.md", "helm") if archive is None else archive
    status, _, err = host.run("install", OPERATOR, helm=host.of(data))
    assert status == 2
    assert said in err


def test_what_is_not_there_is_told(host: Host):
    (host.folder / "helm.tar.gz").unlink()
    assert "put Helm's archive on this host" in host.run("install", OPERATOR)[2]
    nowhere = Helm(version="4.2.4", url="http://127.0.0.1:9/helm.tar.gz", sha256="0" * 64)
    assert "kubernetes_helm_url" in host.run("install", OPERATOR, helm=nowhere)[2]
