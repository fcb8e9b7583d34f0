"""What networks are trained on: inputs made from a seed, a loss, and what a step costs.

``length`` is what a size is by: words of a text, or the side of an image in pixels (of latents, for
the UNet).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Tuple

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from . import bert, llama, operands, resnet, unet

Inputs = Tuple[torch.Tensor, ...]
Batch = Tuple[Inputs, torch.Tensor]


@dataclass(frozen=True)
class Task:
    """A network and its work.

    ``batch(seed, batch, length, dtype, device)``: inputs, and what is wanted of them. ``unit``:
    ``tokens`` or ``images``. ``flop(length)``: operations of a training step for one of those.
    """

    build: Callable[[], nn.Module]
    batch: Callable[[int, int, int, torch.dtype, torch.device], Batch]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    unit: str
    flop: Callable[[int], float]

    def count(self, batch: int, length: int) -> int:
        """How many of its unit a step has."""
        return batch * length if self.unit == "tokens" else batch


def _words(seed: int, count: int, most: int, device: torch.device) -> torch.Tensor:
    words = operands.random_bits(seed, 0, count, device)
    return words.bitwise_and_((1 << 31) - 1).remainder_(most)


def _cross_entropy(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(made.float().flatten(0, -2), wanted.flatten())


def _task(
    build: Callable[[], nn.Module],
    batch: Callable[..., Batch],
    unit: str,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _cross_entropy,
) -> Task:
    """PyTorch counts the operations of a step forward, and backward has two for each of them."""

    def flop(length: int) -> float:
        with torch.device("meta"):
            network = build()
            inputs, _ = batch(0, 1, length, torch.float32, torch.device("meta"))
            counter = FlopCounterMode(display=False)
            with counter:
                network(*inputs)
        return 3.0 * int(counter.get_total_flops()) / (length if unit == "tokens" else 1)

    return Task(build=build, batch=batch, loss=loss, unit=unit, flop=flop)


def _llama(shape: llama.Shape) -> Task:
    def batch(
        seed: int, batch: int, length: int, _dtype: torch.dtype, device: torch.device
    ) -> Batch:
        words = _words(seed, batch * (length + 1), shape.words, device).view(batch, length + 1)
        return (words[:, :-1],), words[:, 1:]

    return Task(
        build=lambda: llama.Llama(shape), batch=batch, loss=_cross_entropy, unit="tokens",
        flop=shape.training_flop,
    )  # fmt: skip


def _bert(shape: bert.Shape) -> Task:
    def batch(
        seed: int, batch: int, length: int, _dtype: torch.dtype, device: torch.device
    ) -> Batch:
        words = _words(seed, batch * length, shape.words, device).view(batch, length)
        hidden = _words(seed + (1 << 40), batch * length, 7, device).view(batch, length) == 0
        return (words.masked_fill(hidden, 0),), words  # one word in seven is to be guessed

    return _task(lambda: bert.Bert(shape), batch, "tokens")


def _resnet(shape: resnet.Shape) -> Task:
    def batch(seed: int, batch: int, side: int, dtype: torch.dtype, device: torch.device) -> Batch:
        images = operands.full(seed, (batch, 3 * side * side), dtype, device)
        classes = _words(seed + (1 << 40), batch, resnet.CLASSES, device)
        images = images.view(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
        return (images,), classes

    return _task(lambda: resnet.ResNet(shape), batch, "images")


def _unet(shape: unet.Shape) -> Task:
    def batch(seed: int, batch: int, side: int, dtype: torch.dtype, device: torch.device) -> Batch:
        size = (batch, unet.CHANNELS * side * side)
        latents, noise = (operands.full(seed + (n << 40), size, dtype, device) for n in (0, 1))
        moments = _words(seed + (2 << 40), batch, unet.MOMENTS, device)
        kept = 1.0 - moments.to(torch.float32)[:, None] / unet.MOMENTS
        mixed = (latents * kept.sqrt() + noise * (1.0 - kept).sqrt()).to(dtype)
        shape_4 = (batch, unet.CHANNELS, side, side)
        return (mixed.view(shape_4), moments), noise.view(shape_4)

    def loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(made.float(), wanted.float())

    return _task(lambda: unet.UNet(shape), batch, "images", loss)


TASKS: Dict[str, Task] = {
    **{name: _llama(shape) for name, shape in llama.SHAPES.items()},
    **{name: _bert(shape) for name, shape in bert.SHAPES.items()},
    **{name: _resnet(shape) for name, shape in resnet.SHAPES.items()},
    **{name: _unet(shape) for name, shape in unet.SHAPES.items()},
}
"""By what a cell names. Those called tiny are for CPUs."""
