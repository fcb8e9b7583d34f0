"""The lab itself: its hosts are real, and it leaves nothing behind."""

from __future__ import annotations

import subprocess

import pytest

from aiprov.lab import Lab

pytestmark = pytest.mark.lab


def test_hosts_answer_plain_ssh_with_strict_host_keys(lab: Lab) -> None:
    for name in lab.hosts:
        argv = ["ssh", "-F", str(lab.ssh_config), "-o", "BatchMode=yes", name, "cat /etc/hostname"]
        done = subprocess.run(argv, capture_output=True, check=True, timeout=30)
        assert done.stdout.decode().strip() == name


def test_fresh_host(fresh_host) -> None:
    assert fresh_host.text("cat", "/etc/debian_version").startswith("12")
    assert fresh_host.name in fresh_host.inventory.read_text()
