"""Models as tests: how fast training steps and decoding are, and whether they are always the same.

Steps are made twice from the same seed, and their losses, norms of gradients and weights must have
the same bits; the fleet compares them across GPUs. That is the production kernels' own work: what
they do wrong is in the weights afterwards.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import torch
from torch import nn

from . import llama, operands, weights
from .inject import Fault, bits_of, fault_from
from .tasks import TASKS, Task
from .untested import NotTestedError

Say = Callable[..., None]

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def train_verified(
    device: torch.device, seed: int, parameters: Mapping[str, Any], say: Say
) -> Dict[str, Any]:
    """Training steps, all of them twice; how fast and whether alike. Raises ``NotTestedError``.

    ``parameters``: ``model`` (of ``TASKS``), ``dtype``, ``batch``, ``length``, ``steps``.
    """
    name, dtype = asked(parameters, TASKS)
    task = TASKS[name]
    batch, length, steps = (int(parameters[name]) for name in ("batch", "length", "steps"))
    fault = fault_from(parameters)
    size = (batch, length, steps)
    with deterministic(device):
        first, _, _ = steps_of(device, seed, task, dtype, size, Fault())
        again, not_finite, seconds = steps_of(device, seed, task, dtype, size, fault)
    wrong = [number for number, (one, two) in enumerate(zip(first, again)) if one != two]
    for number in wrong[:8]:
        say("fault", what="step", number=number, first=first[number], again=again[number])
    tokens = task.count(batch, length) * steps
    return {
        **identity(parameters, device, "train"),
        "steps": steps,
        "not_finite": not_finite,
        "faults": len(wrong),
        "tokens": tokens,
        "unit": task.unit,
        "seconds": round(seconds, 6),
        "flop": task.flop(length) * tokens,
        "references": [{"seed": number, "hash": value} for number, value in enumerate(first)],
    }


def steps_of(
    device: torch.device,
    seed: int,
    task: Task,
    dtype: torch.dtype,
    size: Tuple[int, int, int],
    fault: Fault,
    spread: Callable[[nn.Module], nn.Module] = lambda model: model,
    own: int = 0,
) -> Tuple[List[str], int, float]:
    """What each step came to, the weights last; steps of no finite number; seconds.

    ``spread``: makes the network one of several devices; ``own`` is what this one's inputs are by.
    """
    batch, length, steps = size
    gc.collect()  # networks on several devices refer to themselves, and the last one is large
    model = weights.made(task.build, seed, dtype, device)
    network = spread(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    found, not_finite = [], 0
    _finish(device)
    began = time.monotonic()
    for step in range(steps):
        inputs, wanted = task.batch(seed + step + own, batch, length, dtype, device)
        loss = task.loss(network(*inputs), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        fault.misbehave(step)
        if fault.kind == "bit" and fault.hits(step):
            with torch.no_grad():
                flat = bits_of(_here(model.head.weight)).view(-1)
                flat[(fault.row * 64 + fault.column) % len(flat)] ^= fault.mask
        told = torch.stack((loss.detach().float(), _whole(norm).float()))
        found.append(_hex(told))
        not_finite += not bool(told.isfinite().all())
    _finish(device)
    seconds = time.monotonic() - began
    found.append(weights_hash(model))
    return found, not_finite, seconds


def decode_verified(
    device: torch.device, seed: int, parameters: Mapping[str, Any], say: Say
) -> Dict[str, Any]:
    """A prompt and the words after it, the likeliest each time, twice. Raises ``NotTestedError``.

    ``parameters``: ``model``, ``dtype``, ``batch``, ``length`` of the prompt, ``words`` after it.
    """
    name, dtype = asked(parameters, llama.SHAPES)
    shape = llama.SHAPES[name]
    batch, length, count = (int(parameters[name]) for name in ("batch", "length", "words"))
    fault = fault_from(parameters)
    model = weights.made(lambda: llama.Llama(shape), seed, dtype, device)
    first, _, _ = _decoded(model, seed, (batch, length, count), Fault())
    again, prefill, decode = _decoded(model, seed, (batch, length, count), fault)
    wrong = (first != again).nonzero()
    if len(wrong):
        say("fault", what="words", wrong=len(wrong), words=wrong[:64].tolist())
    return {
        **identity(parameters, device, "decode"),
        "steps": count,
        "faults": len(wrong),
        "tokens": batch * count,
        "prompt_tokens": batch * length,
        "prefill_seconds": round(prefill, 6),
        "seconds": round(decode, 6),
        "weight_bytes": shape.multiplied * model.head.weight.element_size(),
        "references": [{"seed": seed, "hash": _hex(first)}],
    }


def _decoded(
    model: nn.Module, seed: int, size: Tuple[int, int, int], fault: Fault
) -> Tuple[torch.Tensor, float, float]:
    batch, length, count = size
    device = model.head.weight.device
    words = operands.random_bits(seed, 0, batch * length, device)
    words = words.bitwise_and_((1 << 31) - 1).remainder_(model.shape.words).view(batch, length)
    cache, found = model.empty_cache(batch, length + count), []
    with torch.inference_mode():
        _finish(device)
        began = time.monotonic()
        last = model(words, cache)[:, -1:].argmax(-1)
        _finish(device)
        between = time.monotonic()
        for step in range(count):
            found.append(last)
            fault.misbehave(step)
            if fault.kind == "bit" and fault.hits(step):
                last = (last + fault.mask) % model.shape.words
            last = model(last, cache, length + step)[:, -1:].argmax(-1)
        _finish(device)
        ended = time.monotonic()
    return torch.cat(found, dim=1), between - began, ended - between


def asked(parameters: Mapping[str, Any], models: Mapping[str, Any]) -> Tuple[str, torch.dtype]:
    name, dtype = str(parameters["model"]), str(parameters["dtype"])
    if name not in models or dtype not in _DTYPES:
        raise NotTestedError(
            f"there is no model {name} in {dtype}; there are {', '.join(models)} in "
            f"{', '.join(_DTYPES)}"
        )
    return name, _DTYPES[dtype]


def identity(parameters: Mapping[str, Any], device: torch.device, phase: str) -> Dict[str, Any]:
    """What has to be the same where results are compared."""
    size = "x".join(str(parameters[name]) for name in ("batch", "length"))
    return {
        "dtype": str(parameters["dtype"]),
        "phase": phase,
        "n": f"{parameters['model']} {size}",
        "software": f"torch {torch.__version__}, CUDA {torch.version.cuda}",
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
    }


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Ask for kernels that do the same each time; the worker has set cuBLAS' workspace.

    For these steps only: PyTorch then also fills all new memory, which costs other tests time.
    """
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cuda")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def weights_hash(model: nn.Module) -> str:
    """A hash of all weights, or of this device's share of them."""
    total = 0
    for number, weight in enumerate(model.parameters()):
        words = bits_of(_here(weight.detach()).contiguous()).flatten().to(torch.int64)
        total += int((words * operands.weights(number, len(words), words.device)).sum())
    return f"{total & (1 << 64) - 1:016x}"


def _here(values: Any) -> torch.Tensor:
    """This device's share of what is spread over several."""
    return values.to_local() if hasattr(values, "to_local") else values


def _whole(values: Any) -> torch.Tensor:
    """All of what is spread over several devices."""
    return values.full_tensor() if hasattr(values, "full_tensor") else values


def _hex(values: torch.Tensor) -> str:
    words = bits_of(values.contiguous()).flatten().to(torch.int64)
    mixed = (words * operands.weights(3, len(words), words.device)).sum()
    return f"{int(mixed) & (1 << 64) - 1:016x}"


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
