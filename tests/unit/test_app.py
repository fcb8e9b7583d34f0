"""What of an inventory becomes work."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiprov import app
from aiprov.errors import UsageError

HOSTS = """\
all:
  hosts:
    both: {aiprov_roles: [base, docker]}
    plain: {aiprov_roles: [base]}
    none: {aiprov_roles: []}
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    return str(tmp_path / "hosts.yml")


def jobs(source: str, *roles: str, limit: str | None = None) -> dict[str, list[str]]:
    request = app.Request(sources=(source,), roles=roles, limit=limit)
    return {job.host.name: list(job.settings) for job in app.jobs(request)}


def test_hosts_without_roles_are_no_work(source: str):
    assert jobs(source) == {"both": ["base", "containerd", "docker"], "plain": ["base"]}


def test_a_role_is_asked_of_the_hosts_that_have_it(source: str):
    assert jobs(source, "docker") == {"both": ["containerd", "docker"]}
    assert jobs(source, "base") == {"both": ["base"], "plain": ["base"]}


CLUSTER = """\
all:
  children:
    kube_worker:
      hosts: {w2: {}, w1: {}, cp3: {}}
    gpu:
      hosts: {w1: {}, w9: {}}
    kube_control_plane:
      hosts: {cp3: {}, cp1: {}, cp2: {}}
  hosts: {lone: {}}
"""
IN_PLAYS = ["lone", "w2", "w1", "cp3", "w9", "cp1", "cp2"]


@pytest.mark.parametrize("limit", [None, "all:!cp1", "w9,cp2,w1,cp3", "kube_worker"])
def test_control_planes_come_first_and_all_else_as_in_plays(tmp_path: Path, limit: str | None):
    (tmp_path / "hosts.yml").write_text(CLUSTER)
    request = app.Request(sources=(str(tmp_path / "hosts.yml"),), limit=limit)
    found = app.jobs(request)
    names = [job.host.name for job in found]
    first = ["cp3", "cp1", "cp2"]
    assert names == [name for name in dict.fromkeys((*first, *IN_PLAYS)) if name in names]
    assert len(names) == {None: 7, "all:!cp1": 6, "w9,cp2,w1,cp3": 4, "kube_worker": 3}[limit]
    assert {tuple(job.cluster.hosts) for job in found} == {tuple(IN_PLAYS)}


@pytest.mark.parametrize(("roles", "said"), [(("docker",), "role docker"), ((), "any role")])
def test_nothing_to_work_on_is_said(source: str, roles: tuple[str, ...], said: str):
    with pytest.raises(UsageError, match=said):
        jobs(source, *roles, limit="none")


def test_user_data_without_a_role_says_so(tmp_path: Path):
    (tmp_path / "hosts.yml").write_text("all: {hosts: {gpu1: {aiprov_roles: [nvidia_driver]}}}\n")
    request = app.Request(sources=(str(tmp_path / "hosts.yml"),))

    def told(*gpus: str) -> str:
        image = app.Image(system="debian-12", gpus=gpus)
        return app.cloud_init(request, "gpu1", image, compressed=False, allow_secrets=False)[1]

    assert "left out: role nvidia_driver: it has no NVIDIA GPU" in told()
    assert "left out" not in told("L40S")
