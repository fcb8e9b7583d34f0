"""One rank of a cell on several devices: joins the others, does its part, says what it sees.

Started by torchrun, srun or a Job. Tests get a process group that is ready (NCCL on GPUs, gloo on
CPUs), and have the signature of any other; they ask torch.distributed who they are.
"""

from __future__ import annotations

import datetime
import json
import os
from typing import Any, Callable, Dict, Mapping

from .launchers import PORT, first_host, rendezvous, world
from .plan import Cell
from .process import end_with_parent
from .rank_events import lines
from .ranks import SESSION

Say = Callable[..., None]

_SHARE_OF_LIMIT = 0.5
"""Of the cell's limit: the time after which a rank that waits for others says so itself."""


def be_rank(text: str) -> int:
    """Do this rank's part of the cell. 0 where it ended as it should."""
    end_with_parent()
    session = os.environ.get(SESSION)
    if session and os.getsid(os.getppid()) != int(session):
        return 1  # the launcher is gone already
    cell = Cell(**json.loads(text))
    number, local = numbers()
    say = _speaker(number)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        result = _test(cell, number, local, say)
    except Exception as error:  # noqa: BLE001 - whatever it is, the journal has to have it
        from .untested import NotTestedError

        if isinstance(error, NotTestedError):
            say("end", status="not tested", error=str(error), result={})
            return 0
        say("end", status="error", error=f"{type(error).__name__}: {error}"[:2000])
        os._exit(1)  # what is left of the others would hold up an orderly end
    say("end", status="done", result=result)
    return 0


def numbers() -> "tuple[int, int]":
    """Its number among all and among those of its host, by torchrun or Slurm."""
    told = os.environ
    if "RANK" not in told:
        told["RANK"], told["WORLD_SIZE"] = told["SLURM_PROCID"], told["SLURM_NTASKS"]
        told["LOCAL_RANK"] = told["SLURM_LOCALID"]
        told.setdefault("MASTER_ADDR", first_host(told["SLURM_STEP_NODELIST"]))
        told.setdefault("MASTER_PORT", str(PORT))
    return int(told["RANK"]), int(told["LOCAL_RANK"])


def _speaker(rank: int) -> Say:
    """Says events on standard output; everything else that writes there is led away."""
    from .inject import SPEAKING  # with PyTorch, which takes its time

    ours = os.dup(1)
    os.dup2(2, 1)
    SPEAKING.append(ours)

    def say(event: str, **fields: Any) -> None:
        for line in lines(rank, {"event": event, **fields}):
            os.write(ours, line)

    return say


def _test(cell: Cell, number: int, local: int, say: Say) -> Dict[str, Any]:
    """Join the others and do the test. A result says of which cell, world, host, device."""
    import torch
    from torch import distributed

    from .worker import RANK_TESTS, device_of

    name = cell.devices[local]
    device = device_of(name)
    rendezvous(cell)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        timeout=datetime.timedelta(seconds=max(5.0, cell.limit_s * _SHARE_OF_LIMIT)),
        **({"device_id": device} if device.type == "cuda" else {}),
    )
    if distributed.get_world_size() != world(cell) or distributed.get_rank() != number:
        raise RuntimeError(
            f"{distributed.get_world_size()} ranks have met, and the cell has {world(cell)}"
        )
    parameters = {**cell.parameters, **_own_fault(cell.parameters, number)}
    result = RANK_TESTS[cell.kind](device, cell.seed, parameters, say)
    # Nobody leaves before all are done: who hosts the meeting place would take it along.
    distributed.barrier(**({"device_ids": [device.index]} if device.type == "cuda" else {}))
    distributed.destroy_process_group()
    own = {"world": world(cell), "cell": cell.id, "host": os.uname().nodename, "device": name}
    return {**own, "torch": torch.__version__, **result}


def _own_fault(parameters: Mapping[str, Any], number: int) -> Dict[str, Any]:
    """The fault that is injected into this rank: ``inject.rank`` says whose it is."""
    told = parameters.get("inject")
    if not told:
        return {}
    own = {key: value for key, value in told.items() if key != "rank"}
    return {"inject": own if told.get("rank", number) == number else None}
