"""A rank for tests: every operation with nothing wrong, and with one element wrong on rank 1."""

import json
import os
import sys

import torch
from torch import distributed

from aiprov.payload.collectives import OPERATIONS, communicate_verified

ours = os.dup(1)
os.dup2(2, 1)
torch.set_num_threads(1)
distributed.init_process_group("gloo")
rank = distributed.get_rank()
for operation in OPERATIONS:
    for injected in (False, True):
        told = []
        parameters = {"operation": operation, "bytes": [int(one) for one in sys.argv[1:]],
                      "seconds": 0}  # fmt: skip
        if injected and rank == 1:
            parameters["inject"] = {"kind": "memory bit", "product": 3, "row": 200, "mask": 1 << 9}
        made = communicate_verified(
            torch.device("cpu"), 7, parameters, lambda event, told=told, **more: told.append(more)
        )
        line = json.dumps({**made, "rank": rank, "injected": injected, "told": told})
        os.write(ours, line.encode() + b"\n")
distributed.destroy_process_group()
