"""Weights of a network made from a seed, the same on every device."""

from __future__ import annotations

from typing import Callable

import torch
from torch import nn

from . import operands


def made(
    build: Callable[[], nn.Module], seed: int, dtype: torch.dtype, device: torch.device
) -> nn.Module:
    """A network with weights that follow from the seed. It is built without memory first."""
    with torch.device("meta"):
        network = build()
    network = network.to(dtype=dtype).to_empty(device=device)
    with torch.no_grad():
        for number, (name, weight) in enumerate(network.named_parameters()):
            _fill(name, weight, seed * 1000 + number)
        for name, buffer in network.named_buffers():
            buffer.fill_(1 if name.endswith("running_var") else 0)
    return network


def _fill(name: str, weight: torch.Tensor, seed: int) -> None:
    if weight.dim() == 1:
        weight.fill_(0.0 if name.endswith("bias") else 1.0)
        return
    rows = weight.shape[0]
    columns = weight.numel() // rows
    # Uniform between -1 and 1 has a third of its square: scaled to keep a sum's size.
    scale = 1.0 if "table" in name else (3.0 / columns) ** 0.5
    values = operands.full(seed, (rows, columns), weight.dtype, weight.device)
    weight.copy_(values.mul_(scale).view(weight.shape))
