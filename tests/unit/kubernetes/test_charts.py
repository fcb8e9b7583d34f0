"""Charts as resources of the first control plane: Helm with a checksum, a recipe, a command."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aiprov import programs
from aiprov.catalog import kubernetes_gpu
from aiprov.errors import UnsupportedError
from aiprov.kubernetes import charts
from aiprov.kubernetes.charts import Chart, Helm
from aiprov.kubernetes.secret_values import everything_of
from aiprov.resources import Absent, Command, File, Secret, Succeeds
from tests.unit.kubernetes.gpu_hosts import host

HELM = Helm(version="4.2.4", url="https://get.helm.sh/helm.tar.gz", sha256="0" * 64)
CHART = Chart(
    name="gpu-operator",
    namespace="nvidia-gpu",
    repository="https://helm.ngc.nvidia.com/nvidia",
    chart="gpu-operator",
    version="v26.7.0",
    values={"driver": {"enabled": False}},
)


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_helm_is_the_catalogs_for_the_hosts_architecture(machine: str, name: str):
    found = charts.helm(replace(host(), architecture=machine))
    row = next(row for row in kubernetes_gpu.helm_archives() if row.architecture == name)
    assert (found.version, found.sha256) == (row.version, row.sha256)
    assert found.url == f"https://get.helm.sh/helm-v{row.version}-linux-{name}.tar.gz"


def test_helm_from_a_mirror_has_the_catalogs_checksum():
    found = charts.helm(host(), url="https://mirror.example.org/helm.tar.gz")
    assert found.url == "https://mirror.example.org/helm.tar.gz"
    assert found.sha256 == charts.helm(host()).sha256


def test_another_helm_needs_its_checksum():
    with pytest.raises(UnsupportedError) as refused:
        charts.helm(host(), version="4.9.9")
    assert "no checksum of Helm 4.9.9 for amd64 is known" in refused.value.message
    assert "kubernetes_helm_sha256" in (refused.value.hint or "")
    found = charts.helm(host(), version="4.9.9", sha256="1" * 64)
    assert found.url == "https://get.helm.sh/helm-v4.9.9-linux-amd64.tar.gz"


def test_charts_are_installed_once_their_recipe_lies_there():
    found = charts.resources([CHART], HELM, host())
    (command,) = (one for one in found if isinstance(one, Command))
    program = programs.path("kube-chart")
    assert command.argv[:3] == (program, "install", charts.RECIPE)
    assert command.unless == Succeeds(argv=(program, "installed", charts.RECIPE))
    assert f"Command[{command.name}]" == charts.INSTALLED
    (recipe,) = (one for one in found if isinstance(one, File) and one.path == charts.RECIPE)
    document = json.loads(str(recipe.content))
    assert document["helm"]["version"] == "4.2.4"
    assert document["charts"][0]["values"] == {"driver": {"enabled": False}}
    assert recipe.mode == 0o600


def test_a_users_values_are_shown_to_nobody():
    secrets = everything_of({"hubble": {"tls": {"key": "hush-hush"}, "ports": [4244]}})
    found = charts.resources([CHART], HELM, host(), secrets=secrets)
    (recipe,) = (one for one in found if isinstance(one, File) and one.path == charts.RECIPE)
    assert isinstance(recipe.content, Secret)
    assert recipe.content.hidden() == ("hush-hush", "4244")
    assert recipe.content.reveal() == charts.recipe([CHART], HELM)


def test_a_proxy_with_a_password_is_no_ones_to_read():
    found = charts.resources([CHART], HELM, host(), {"HTTPS_PROXY": "http://u:p@proxy:3128"})
    (proxy,) = (one for one in found if isinstance(one, File) and one.path == charts.PROXY)
    assert isinstance(proxy.content, Secret)
    assert proxy.mode == 0o600
    assert Absent(path=charts.PROXY) in charts.resources([CHART], HELM, host())


def test_without_charts_those_of_before_go():
    found = charts.resources([], None, host())
    (recipe,) = (one for one in found if isinstance(one, File) and one.path == charts.RECIPE)
    assert json.loads(str(recipe.content)) == {"format_version": 1, "helm": None, "charts": []}


def test_charts_need_helm():
    with pytest.raises(ValueError, match="Helm"):
        charts.recipe([CHART], None)
