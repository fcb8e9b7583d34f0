"""What tests do to those after them and beside them on a host: nothing that is judged."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from aiprov import payload
from tests.torch_python import torch_python


def said(path: Path, code: str, given: str = "") -> Any:
    """What a program says last, with the payload as a host has it."""
    shutil.copytree(Path(payload.__file__).parent, path / "aiprov_payload")
    done = subprocess.run(
        [torch_python(), "-c", code], input=given, capture_output=True, text=True, check=False,
        cwd=path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SLOW_FIRST = """
import json, time, torch
from aiprov_payload import products

first, real = [3.0], products.row_hashes

def hashes(*given):
    while first:
        time.sleep(first.pop())
    return real(*given)

products.row_hashes = hashes
told = {"dtype": "fp32", "n": 64, "phase": "A", "seconds": 0, "products": 4}
made = products.multiply_verified(torch.device("cpu"), 1, told, lambda *_, **__: None)
print(json.dumps(made["seconds"]))
"""


def test_what_is_compiled_at_first_is_not_taken_for_slow_products(tmp_path: Path):
    assert said(tmp_path, SLOW_FIRST) < 2.9


ALLOWED = """
import torch
from aiprov_payload import worker

def asked(*_):
    told = torch.backends.cuda.matmul
    return {"allowed": [told.allow_tf32, told.allow_bf16_reduced_precision_reduction]}

worker.TESTS = {**worker.TESTS, "asked": asked}
worker.work("cpu:0")
"""


def test_products_leave_nothing_set_for_the_cells_after_them(tmp_path: Path):
    gemm = {"dtype": "bf16", "phase": "A", "n": 64, "seconds": 0, "products": 4}
    cells = [
        {"kind": "gemm", "seed": 1, "parameters": gemm},
        {"kind": "asked", "seed": 0, "parameters": {}},
    ]
    end = said(tmp_path, ALLOWED, "".join(json.dumps(cell) + "\n" for cell in cells))
    assert end["result"]["allowed"] == [False, True]


def test_integers_are_multiplied_in_the_layout_that_is_fast(tmp_path: Path):
    code = "from aiprov_payload.arithmetic import _FULL; print(int(_FULL['int8'].by_columns))"
    assert said(tmp_path, code) == 1


TURNS = """
import sys, time
from aiprov_payload import copies

copies.TURN_S = 4
first, second, others = (copies.Turns(alone=alone) for alone in (True, True, False))
told = []
with first.taken():
    for one in (second, others, second):
        began = time.monotonic()
        with one.taken():
            told.append(round(time.monotonic() - began, 1))
with second.taken(), copies.Turns(alone=True).taken():
    print(told)
"""


def test_one_gpu_at_a_time_copies_and_one_that_hangs_holds_up_others_once(tmp_path: Path):
    waited, others, again = said(tmp_path, TURNS)
    assert waited >= 4
    assert others < 3.5 and again < 3.5


NEAR = """
import json, os
from types import SimpleNamespace
from aiprov_payload import worker

own = sorted(os.sched_getaffinity(0))
found = []
near = "0000:2a:00.0"
for address, cpus in (("", ""), (near, "4096"), (near, f"4096,{own[0]}-{own[0]}")):
    if address:
        os.makedirs(f"sys/bus/pci/devices/{address}", exist_ok=True)
        with open(f"sys/bus/pci/devices/{address}/local_cpulist", "w") as file:
            file.write(cpus + "\\n")
    told = SimpleNamespace(pci_domain_id=0, pci_bus_id=42, pci_device_id=0)
    worker.torch.cuda.get_device_properties = lambda _: told
    worker.go_near(worker.torch.device("cuda", 0), root="./")
    found.append(sorted(os.sched_getaffinity(0)))
worker.torch.cuda.get_device_properties = lambda _: SimpleNamespace()
worker.go_near(worker.torch.device("cuda", 0), root="./")
print(json.dumps([found[0] == own, found[1] == own, found[2] == own[:1]]))
"""


def test_a_worker_runs_beside_its_gpu_where_it_may(tmp_path: Path):
    assert said(tmp_path, NEAR) == [True, True, True]
