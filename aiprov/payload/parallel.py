"""Training steps on several devices at once: each has a copy of the weights, or a share of them.

As in ``models``, all steps are made twice and must have the same bits. With copies (``ddp``) all
devices must have the same weights at the end; with shares (``fsdp``) the norm of the gradients,
which all of them add to, must be the same everywhere.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from .inject import Fault, fault_from
from .models import asked, deterministic, identity, steps_of
from .tasks import TASKS
from .untested import NotTestedError

Say = Callable[..., None]


def train_together(
    device: torch.device, seed: int, parameters: Mapping[str, Any], say: Say
) -> Dict[str, Any]:
    """This rank's training steps, all of them twice. Raises ``NotTestedError``.

    ``parameters``: those of ``train_verified``, ``batch`` being of each device, and ``strategy``:
    ``ddp`` or ``fsdp``.
    """
    name, dtype = asked(parameters, TASKS)
    strategy = str(parameters["strategy"])
    if strategy not in SPREAD:
        raise NotTestedError(f"there is no {strategy}; there are {', '.join(SPREAD)}")
    task, rank = TASKS[name], distributed.get_rank()
    batch, length, steps = (int(parameters[key]) for key in ("batch", "length", "steps"))
    size, own, spread = (batch, length, steps), rank << 32, SPREAD[strategy]
    with deterministic(device):
        first, _, _ = steps_of(device, seed, task, dtype, size, Fault(), spread, own)
        again, not_finite, seconds = steps_of(
            device, seed, task, dtype, size, fault_from(parameters), spread, own
        )
    wrong = [number for number, (one, two) in enumerate(zip(first, again)) if one != two]
    for number in wrong[:8]:
        say("fault", what="step", number=number, first=first[number], again=again[number])
    tokens = task.count(batch, length) * steps
    world = distributed.get_world_size()
    return {
        **identity(parameters, device, f"train {strategy} rank {rank} of {world}"),
        "steps": steps,
        "not_finite": not_finite,
        "faults": len(wrong),
        "unlike": _unlike(again[-1], device) if strategy == "ddp" else 0,
        "tokens": tokens,
        "unit": task.unit,
        "seconds": round(seconds, 6),
        "flop": task.flop(length) * tokens,
        "references": [{"seed": number, "hash": value} for number, value in enumerate(first)],
    }


def _copied(model: nn.Module) -> nn.Module:
    """Each device has all weights, and gradients are added over all of them."""
    return DistributedDataParallel(model)


def _shared(model: nn.Module) -> nn.Module:
    """Each device has a share of the weights of every layer."""
    from torch.distributed.fsdp import fully_shard  # seconds to load, for this alone

    layers = getattr(model, "layers", None)
    for layer in layers if layers is not None else ():
        fully_shard(layer)
    return fully_shard(model)


SPREAD: Mapping[str, Callable[[nn.Module], nn.Module]] = {"ddp": _copied, "fsdp": _shared}


def _unlike(own: str, device: torch.device) -> int:
    """How many ranks have other weights than most. Objects are not gathered: that needs NumPy."""
    bits = torch.tensor(int.from_bytes(bytes.fromhex(own), "big", signed=True), device=device)
    every = [torch.empty_like(bits) for _ in range(distributed.get_world_size())]
    distributed.all_gather(every, bits)
    values = [int(one) for one in every]
    return len(values) - max(values.count(value) for value in values)
