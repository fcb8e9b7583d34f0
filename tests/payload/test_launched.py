"""What ``aiprov ranks`` renders, carried out: real ranks, started as Slurm and pods start them."""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from aiprov.cli import root
from tests.payload.ports import free_port
from tests.torch_python import torch_python

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--device", "cpu", "--gpus", "2", "--size", "4KiB", "--budget", "1s"]


def ranks(*words: str, code: int = 0) -> str:
    shown = CliRunner().invoke(root, ["ranks", *words], standalone_mode=False)
    assert shown.return_value == code, shown.output
    return shown.stdout


def environment(**own: str) -> dict[str, str]:
    """That of this process, with nothing that tells ranks who they are."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MASTER_")}
    return {**kept, "GLOO_SOCKET_IFNAME": "lo", **own}


@pytest.mark.parametrize(
    ("nodes", "lost", "says"), [("2", "0", "ok: "), ("1", "1", "not measured")]
)
def test_srun_starts_ranks_that_are_judged(tmp_path: Path, nodes: str, lost: str, says: str):
    (tmp_path / "srun").write_text(
        f"#!{sys.executable}\n{Path(__file__).with_name('stand_in_srun.py').read_text()}"
    )
    (tmp_path / "srun").chmod(0o755)
    payload = shlex.join([torch_python(), "-m", "aiprov.payload"])
    limit = ["--time-limit", "10s" if lost != "0" else "5m"]
    rendered, printed = tmp_path / "test.sh", tmp_path / "test.out"
    rendered.write_text(
        ranks("srun", "all_reduce", *SMALL, "--nodes", nodes, "--payload", payload, *limit,
              "--port", str(free_port()))
    )  # fmt: skip
    own = environment(
        PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHONPATH=str(ROOT), TASKS_LOST=lost
    )
    done = subprocess.run(["sh", rendered], capture_output=True, check=False, env=own, timeout=300)
    printed.write_bytes(done.stdout)
    assert (done.returncode == 0) == (lost == "0"), done.stderr
    shown = ranks("judge", str(rendered), str(printed), code=0 if lost == "0" else 3)
    assert shown.startswith(says), shown


def test_pods_start_ranks_with_the_payload_that_the_manifests_bring(tmp_path: Path):
    rendered, printed = tmp_path / "test.yaml", tmp_path / "test.out"
    rendered.write_text(
        ranks("job", "all_gather", *SMALL, "--nodes", "2", "--port", str(free_port()),
              "--image", "registry.example/torch", "--python", torch_python())
    )  # fmt: skip
    brought, _, job = yaml.safe_load_all(rendered.read_text())
    archive = tmp_path / "aiprov_payload.zip"
    archive.write_bytes(base64.b64decode(brought["binaryData"][archive.name]))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    own = {one["name"]: one["value"] for one in container["env"]}
    assert Path(own["PYTHONPATH"]).name == archive.name
    at = container["command"].index("--master-addr") + 1
    with printed.open("wb") as log:
        pods = []
        for index in range(2):
            words = list(container["command"])
            words[at] = "127.0.0.1"
            words[words.index("$(JOB_COMPLETION_INDEX)")] = str(index)
            told = environment(**{**own, "PYTHONPATH": str(archive)})
            pods.append(subprocess.Popen(words, stdout=log, stderr=log, cwd=tmp_path, env=told))
        assert [pod.wait(300) for pod in pods] == [0, 0], printed.read_text()
    assert ranks("judge", str(rendered), str(printed)).startswith("ok: all_gather of 4 KiB")
