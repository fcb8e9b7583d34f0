"""A language model like Llama 3, of PyTorch alone, with weights made from a seed.

RMS norm, rotary positions, grouped-query attention by PyTorch's own fused kernels, SwiGLU (Llama 2,
arXiv 2307.09288; The Llama 3 herd of models, arXiv 2407.21783, table 3). Nothing is downloaded:
what is measured is the hardware, and it does the same work whatever the weights say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional

Cache = List[Tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Shape:
    """How large a model is. ``groups``: heads of keys and values."""

    layers: int
    width: int
    heads: int
    groups: int
    hidden: int
    words: int

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def multiplied(self) -> int:
        """Weights that each token is multiplied with: all but the table of words."""
        own = self.width * (self.width + 2 * self.groups * self.head_width + self.width)
        return self.layers * (own + 3 * self.width * self.hidden) + self.width * self.words

    def training_flop(self, length: int) -> float:
        """Operations a token of a training step: forward and twice as many backward.

        Attention sees half of the positions on average.
        """
        return 6.0 * self.multiplied + 6.0 * self.layers * self.width * length


SHAPES: Dict[str, Shape] = {
    "tiny": Shape(layers=2, width=64, heads=4, groups=2, hidden=160, words=256),
    "1b": Shape(layers=16, width=2048, heads=32, groups=8, hidden=8192, words=128256),
    "8b": Shape(layers=32, width=4096, heads=32, groups=8, hidden=14336, words=128256),
}
"""Those of Llama 3.2 1B and Llama 3 8B, and one for CPUs."""


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        own = shape.groups * shape.head_width
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, own, bias=False)
        self.value = nn.Linear(shape.width, own, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)

    def forward(
        self, x: torch.Tensor, turns: torch.Tensor, cache: Optional[Cache], layer: int, first: int
    ) -> torch.Tensor:
        batch, length, _ = x.shape
        parts = []
        for made, heads in (
            (self.query(x), self.shape.heads),
            (self.key(x), self.shape.groups),
            (self.value(x), self.shape.groups),
        ):
            parts.append(made.view(batch, length, heads, self.shape.head_width).transpose(1, 2))
        query, key, value = _turned(parts[0], turns), _turned(parts[1], turns), parts[2]
        if cache is not None:
            keys, values = cache[layer]
            keys[:, :, first : first + length] = key
            values[:, :, first : first + length] = value
            key, value = keys[:, :, : first + length], values[:, :, : first + length]
        repeat = self.shape.heads // self.shape.groups
        made = functional.scaled_dot_product_attention(
            query,
            key.repeat_interleave(repeat, dim=1),
            value.repeat_interleave(repeat, dim=1),
            is_causal=length > 1,
        )
        return self.out(made.transpose(1, 2).reshape(batch, length, self.shape.width))


class Block(nn.Module):
    """A layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.before, self.between = nn.RMSNorm(shape.width), nn.RMSNorm(shape.width)
        self.attention = Attention(shape)
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(
        self, x: torch.Tensor, turns: torch.Tensor, cache: Optional[Cache], layer: int, first: int
    ) -> torch.Tensor:
        x = x + self.attention(self.before(x), turns, cache, layer, first)
        y = self.between(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """The model: words in, what the next word may be out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.table = nn.Embedding(shape.words, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.last = nn.RMSNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.words, bias=False)

    def forward(
        self, words: torch.Tensor, cache: Optional[Cache] = None, first: int = 0
    ) -> torch.Tensor:
        x = self.table(words)
        turns = _turns(self.shape, first, words.shape[1], x)
        for number, layer in enumerate(self.layers):
            x = layer(x, turns, cache, number, first)
        return self.head(self.last(x))

    def empty_cache(self, batch: int, length: int) -> Cache:
        """Room for keys and values of so many positions."""
        like, shape = self.head.weight, self.shape
        size = (batch, shape.groups, length, shape.head_width)
        return [(like.new_zeros(size), like.new_zeros(size)) for _ in range(shape.layers)]


def _turns(shape: Shape, first: int, length: int, like: torch.Tensor) -> torch.Tensor:
    """Rotary positions as complex numbers of length 1."""
    half = shape.head_width // 2
    speeds = 500_000.0 ** -(torch.arange(half, device=like.device, dtype=torch.float32) / half)
    places = torch.arange(first, first + length, device=like.device, dtype=torch.float32)
    angles = torch.outer(places, speeds)
    return torch.polar(torch.ones_like(angles), angles)


def _turned(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)
