"""The role gpu_validation on a host with simulated GPUs, with PyTorch from a folder of wheels.

The tests build on one another: an install that is cut off, its repair, the payload at work, drift.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiprov import collection, payload_files
from aiprov.lab import HostSpec, Lab, gpus
from aiprov.roles.gpu_validation import layout
from tests.lab.commands import Said, Site, environment, left_behind, site
from tests.torch_wheels import download

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
HOST = "valhost"
WHEELS = "/srv/wheels"
SETTINGS: dict[str, Any] = {
    "aiprov_roles": ["gpu_validation"],
    "gpu_validation_find_links": WHEELS,
    "gpu_validation_gpu_count": 2,
}
PLAN = {
    "format_version": "1.0",
    "campaign": "lab",
    "stagger_s": 0,
    "self_test": False,
    "cells": [
        {
            "kind": "gemm",
            "device": f"cpu:{number}",
            "limit_s": 300,  # the first ones import PyTorch, both at once
            "seed": 7,
            "parameters": {"dtype": "fp32", "n": 128, "phase": "A", "seconds": 2},
        }
        for number in (0, 1)
    ],
}


@pytest.fixture(scope="module")
def hosts(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Debian 12 with two simulated H200 and a folder of wheels."""
    wheels = download(tmp_path_factory.mktemp("wheels"))
    own = Lab(lab_root / "validation")
    own.up([HostSpec(name=HOST, gpus=gpus("h200x2"))])
    own.run(HOST, ["mkdir", WHEELS])
    for wheel in wheels.iterdir():
        own.run(HOST, ["tee", f"{WHEELS}/{wheel.name}"], stdin=wheel.read_bytes())
    yield site(own, tmp_path_factory.mktemp("validation") / "site", SETTINGS)
    own.down()


def on(hosts: Site, *argv: str, stdin: str = "") -> str:
    return hosts.lab.run(HOST, argv, stdin=stdin.encode()).stdout.decode()


def settled(hosts: Site) -> None:
    """A second run, and one by the other engine, have nothing to do."""
    plan = hosts.aiprov("plan", "--role", "gpu_validation")
    assert plan.code == 0, plan.out + plan.err
    assert left_behind(hosts.lab, HOST) == ""


def test_an_install_that_is_cut_off_fails_and_a_second_run_repairs_it(hosts: Site):
    running = hosts.start("apply", "-v", "--engine", "pyinfra", "--role", "gpu_validation")
    # pip has begun to unpack PyTorch, the last and largest, when it is killed.
    cut_off = (
        "import glob, os, signal, time\n"
        "until = time.monotonic() + 500\n"
        f"while not glob.glob('{layout.VENV}/lib/python3*/site-packages/torch/*'):\n"
        "    assert time.monotonic() < until\n"
        "    time.sleep(0.05)\n"
        "for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    try:\n"
        "        if b'\\0pip\\0install\\0' in open(path, 'rb').read():\n"
        "            os.kill(int(path.split('/')[2]), signal.SIGKILL)\n"
        "    except (FileNotFoundError, ProcessLookupError):\n"
        "        continue\n"  # it has ended
    )
    hosts.lab.run(HOST, ["/usr/bin/python3", "-"], stdin=cut_off.encode(), timeout=600)
    said = running.finish()
    assert said.code == 1, said.out + said.err
    assert "pip install" in said.out + said.err
    assert "failed (-9)" in said.out + said.err
    assert hosts.lab.run(HOST, ["test", "-e", layout.VERSION], check=False).returncode == 1

    said = hosts.aiprov("plan", "--role", "gpu_validation")
    assert said.code == 2
    assert "install PyTorch" in said.out
    said = hosts.aiprov("apply", "--engine", "ansible", "--role", "gpu_validation")
    assert said.code == 0, said.out + said.err
    settled(hosts)


def test_what_is_laid_is_the_payload_of_this_aiprov(hosts: Site):
    assert on(hosts, "cat", layout.VERSION) == f"{payload_files.version()}\n"
    found = on(hosts, "find", layout.PACKAGE, "-type", "f", "-printf", "%P\n").split()
    assert sorted(found) == sorted(payload_files.files())
    assert on(hosts, "stat", "-c", "%a %U", layout.STATE) == "700 root\n"
    assert on(hosts, "ls", "-A", layout.FOLDER).split() == ["lib", "payload", "venv", "version"]
    contract = json.loads(on(hosts, "cat", layout.EXPECTATIONS))
    assert contract["gpu_count"] == 2
    assert [gpu["pci_id"] for gpu in contract["gpus"]] == ["10de:2335"] * 2


def test_the_payload_runs_there(hosts: Site):
    journal = f"{layout.STATE}/lab.jsonl"
    run = (layout.LAUNCHER, "run", "--journal", journal, "--no-telemetry")
    on(hosts, *run, stdin=json.dumps(PLAN))
    events = [json.loads(line) for line in on(hosts, "cat", journal).splitlines()]
    ends = [event for event in events if event["event"] == "end"]
    assert [event["status"] for event in ends] == ["done", "done"], ends
    on(hosts, "rm", journal)
    settled(hosts)


@pytest.mark.parametrize("engine", ["ansible", "pyinfra"])
def test_another_payload_is_drift(hosts: Site, engine: str):
    on(hosts, "tee", "-a", f"{layout.PACKAGE}/worker.py", stdin="# of another version\n")
    on(hosts, "tee", f"{layout.PACKAGE}/of_an_older_version.py", stdin="# gone since\n")
    on(hosts, "tee", layout.VERSION, stdin="0123456789abcdef\n")
    said = hosts.aiprov("plan", "--role", "gpu_validation")
    assert said.code == 2
    assert f"File[{layout.PACKAGE}/worker.py]" in said.out
    assert "of_an_older_version.py" in said.out
    assert "install PyTorch" not in said.out
    said = hosts.aiprov("apply", "--engine", engine, "--role", "gpu_validation")
    assert said.code == 0, said.out + said.err
    settled(hosts)
    test_what_is_laid_is_the_payload_of_this_aiprov(hosts)


def test_what_is_missing_of_pytorch_is_told(hosts: Site):
    library = on(
        hosts, "find", layout.VENV, "-name", "libtorch_cpu.so", "-not", "-path", "*.tmp/*"
    ).strip()
    assert library
    on(hosts, "mv", library, f"{library}.away")
    said = hosts.aiprov("plan", "--role", "gpu_validation")
    on(hosts, "mv", f"{library}.away", library)
    assert said.code == 2
    assert re.search(r"torch-\S+ is not whole: torch/lib/libtorch_cpu.so is not there", said.out)
    settled(hosts)


def test_the_play_lays_nothing_anew_and_validates_as_the_command_does(hosts: Site, tmp_path: Path):
    """The GPUs are simulated and have no driver: what cannot be measured is never ok."""
    collection.link(ROOT)
    said = play(hosts, tmp_path, "site", "--tags", "gpu_validation")
    assert said.code == 0, said.out + said.err
    assert re.search(rf"^{HOST} +: ok=1 +changed=0 ", said.out, re.M), said.out

    wishes = ("-e", "aiprov_budget=1m", "-e", "aiprov_device=cpu", "-e", "aiprov_output=reports")
    said = play(hosts, tmp_path, "validate", *wishes)
    (folder,) = (tmp_path / ".aiprov/validation").glob("*-*")
    document = json.loads((tmp_path / "reports/validation.json").read_text())
    assert json.loads((folder / "validation.json").read_text()) == document
    assert [(host["host"], host["status"]) for host in document["hosts"]] == [(HOST, "done")]
    assert document["verdict"] != "ok"
    assert said.code == 2, said.out + said.err
    assert f"all of it: {folder}" in said.out
    checked = play(hosts, tmp_path, "validate", "--check")
    assert checked.code == 0, checked.out + checked.err
    settled(hosts)


def play(hosts: Site, folder: Path, book: str, *words: str) -> Said:
    """Run a playbook of the project in a folder, where reports then lie."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", *hosts.inventory),
            *(*words, str(ROOT / f"playbooks/{book}.yml")),
        ],
        cwd=folder,
        env={**environment(folder), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    return Said(done.returncode, done.stdout, done.stderr)
