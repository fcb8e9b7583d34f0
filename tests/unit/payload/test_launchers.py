"""The commands and manifests that start ranks: as files, and held against Kubernetes' schemas."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from aiprov.payload import launchers, ranks
from aiprov.payload.launchers import first_host, job, srun, torchrun
from aiprov.payload.plan import Cell
from aiprov.payload.rank_events import heard_in, lines

GOLDEN = Path(__file__).with_name("golden")
ROOT = Path(__file__).resolve().parents[3]
HOST = {"operation": "all_reduce", "bytes": [1 << 28, 1 << 33], "seconds": 30}
MEETING = {
    "address": "10.0.0.1", "port": 29400, "nodes": 2, "node": 1, "name": "1-0",
    "interface": "eth0", "adapter": "mlx5_3",
}  # fmt: skip
CELLS = {
    "host": Cell(kind="collective", device="cuda:0,1,2,3", limit_s=600, seed=1, parameters=HOST),
    "pair": Cell(kind="collective", device="cuda:3", limit_s=120,
                 parameters={**HOST, "operation": "send_recv", "rendezvous": MEETING}),
    "cpu": Cell(kind="collective", device="cpu:0,1", limit_s=60, parameters=HOST),
}  # fmt: skip


def rendered(name: str) -> dict[str, Any]:
    cell, python = CELLS[name], "/opt/aiprov/validation/venv/bin/python"
    hosts = ["gpu1", "gpu2"] if "rendezvous" in cell.parameters else ["gpu1"]
    return {
        "torchrun": torchrun(cell, python, "aiprov_payload"),
        "srun": srun(cell, hosts, ["/opt/aiprov/validation/payload"]),
        "job": job(cell, f"aiprov-{name}", "registry.example/torch:2.9", ["python3"]),
    }


@pytest.mark.parametrize("name", CELLS)
def test_launchers_are_as_they_were(name: str):
    made, path = rendered(name), GOLDEN / f"launchers-{name}.yaml"
    if "UPDATE_GOLDEN" in os.environ:
        plain = json.loads(json.dumps(made))
        path.write_text(yaml.safe_dump(plain, sort_keys=True, width=96))
    assert made == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("version", utils.all_versions())
@pytest.mark.parametrize("name", CELLS)
def test_a_job_is_of_kubernetes_schemas(name: str, version: str):
    for made in rendered(name)["job"]:
        kubernetes_validate.validate(made, ".".join(version.split(".")[:2]), strict=True)


def test_every_launcher_starts_the_same_ranks():
    for name, cell in CELLS.items():
        made = rendered(name)
        wanted = ["rank", "--cell", json.dumps(cell.document, sort_keys=True)]
        command = made["job"][1]["spec"]["template"]["spec"]["containers"][0]["command"]
        assert made["torchrun"][-3:] == wanted
        # Of GPUs that Slurm or Kubernetes lends, the first is number 0.
        lent = {**cell.document, "device": "cuda:0" if name == "pair" else cell.device}
        assert made["srun"][-3:] == command[-3:] == [*wanted[:2], json.dumps(lent, sort_keys=True)]


def test_what_a_job_s_command_refers_to_is_set_by_kubernetes():
    (command,) = (
        one["spec"]["template"]["spec"]["containers"][0]["command"]
        for one in rendered("pair")["job"]
        if one["kind"] == "Job"
    )
    assert re.findall(r"\$\((\w+)\)", " ".join(command)) == ["JOB_COMPLETION_INDEX"]
    assert rendered("pair")["job"][1]["spec"]["completionMode"] == "Indexed"


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[07-09,12],login1", "gpu07"), ("gpu1", "gpu1"), ("a,b", "a"), ("r[1-2]-gpu", "r1-gpu"),
     ("gpu-1-[3,5]", "gpu-1-3")],
)  # fmt: skip
def test_ranks_of_slurm_meet_at_its_first_host(nodes: str, first: str):
    assert first_host(nodes) == first


def test_a_rank_learns_its_number_from_slurm(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    told = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1",
            "SLURM_STEP_NODELIST": "gpu[3-4]"}  # fmt: skip
    code = (
        "import os; from aiprov.payload import rank; print(rank.numbers(), "
        "os.environ['WORLD_SIZE'], os.environ['MASTER_ADDR'], os.environ['MASTER_PORT'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, **told},
    )  # fmt: skip
    assert done.stdout.split() == ["(5,", "1)", "8", "gpu3", str(launchers.PORT)]


def test_what_pods_logged_is_heard_as_a_whole():
    log = b"".join(
        line
        for rank in range(2)
        for event in ({"event": "fault", "wrong": 1},
                      {"event": "end", "status": "done", "result": {"world": 2}})
        for line in lines(rank, event)
    )  # fmt: skip
    told, end = heard_in(log, range(2))
    assert told == [{"event": "fault", "wrong": 1, "rank": rank} for rank in range(2)]
    assert end["result"] == {"ranks": {"0": {"world": 2}, "1": {"world": 2}}}
    assert heard_in(log, range(3))[1]["status"] == "error"
    assert heard_in(b"srun: error: node down\n", range(2))[1]["status"] == "error"


def test_the_network_that_ranks_use_is_told_by_their_environment():
    assert launchers.environment(CELLS["pair"]) == {
        "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "=eth0",
        "NCCL_IB_HCA": "=mlx5_3",
    }  # fmt: skip
    assert ranks.SESSION not in launchers.environment(CELLS["host"])


def test_switches_add_nothing_up_where_bits_are_compared():
    training = Cell(kind="train together", device="cuda:0,1", limit_s=60)
    assert training.kind in worker_kinds()
    assert launchers.environment(training)["NCCL_NVLS_ENABLE"] == "0"
    assert "NCCL_NVLS_ENABLE" not in launchers.environment(CELLS["host"])


def worker_kinds() -> str:
    return (ROOT / "aiprov/payload/worker.py").read_text(encoding="utf-8")
