"""A cluster's secrets in ``ansible-playbook``: its inventory, its vault passwords, its workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiprov.cluster_secrets import ClusterSecrets, ca_hash, store
from tests.unit.cluster_secrets.conftest import PASSWORD, vault

ACTION = """
from ansible.plugins.action import ActionBase
from aiprov import play, settings
from aiprov.cluster_secrets import ca_hash
from aiprov.errors import InventoryError

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        secrets = settings.secrets_of(play._sources())
        try:
            return {"msg": "found " + ca_hash(secrets().secrets)}
        except InventoryError as error:
            return {"failed": True, "msg": f"{error} hint: {error.hint}"}
"""
PLAY = "- hosts: all\n  gather_facts: false\n  tasks: [probe: {}]\n"


@pytest.fixture
def site(tmp_path: Path, cluster: ClusterSecrets) -> Path:
    files = {
        "prod/hosts.yml": "all: {hosts: {n1: {ansible_connection: local}}}\n",
        "action_plugins/probe.py": ACTION,
        "play.yml": PLAY,
        "ansible.cfg": "[defaults]\nnocolor = true\n",
        "password": PASSWORD,
        "wrong": "wrong",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    store.save(store.place([str(tmp_path / "prod")]), cluster, vault())
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-i", "prod", "--vault-password-file", "password"), None),
        (("-i", "prod/hosts.yml", "--vault-id", "prod@password"), None),
        (("-i", "prod"), "there is no vault password"),
        (("-i", "prod", "--vault-password-file", "wrong"), "no vault password opens"),
    ],
)
def test_a_play_opens_them(
    site: Path, arguments: tuple[str, ...], said: str | None, cluster: ClusterSecrets
):
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-v", "play.yml", *arguments],
        cwd=site,
        env={name: value for name, value in os.environ.items() if "ANSIBLE" not in name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (said is None), done.stdout + done.stderr
    assert (said or f"found {ca_hash(cluster)}") in done.stdout
    if said:
        assert str(site / "prod/group_vars" / store.NAME) in done.stdout
    assert "PRIVATE KEY" not in done.stdout + done.stderr
