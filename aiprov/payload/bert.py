"""BERT, of PyTorch alone, with its task of masked words (arXiv 1810.04805, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """How large a model is; ``places``: the longest text in words."""

    layers: int
    width: int
    heads: int
    words: int
    places: int


SHAPES = {
    "bert-large": Shape(layers=24, width=1024, heads=16, words=30522, places=512),
    "bert-tiny": Shape(layers=2, width=32, heads=2, words=128, places=64),
}


class Layer(nn.Module):
    """Attention both ways and a wide step, each normalised after it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.mixed = nn.Linear(shape.width, 3 * shape.width)
        self.out, self.norm1 = nn.Linear(shape.width, shape.width), nn.LayerNorm(shape.width)
        self.up, self.down = (
            nn.Linear(shape.width, 4 * shape.width),
            nn.Linear(4 * shape.width, shape.width),
        )
        self.norm2 = nn.LayerNorm(shape.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.mixed(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value)
        x = self.norm1(x + self.out(seen.transpose(1, 2).reshape(batch, length, width)))
        return self.norm2(x + self.down(functional.gelu(self.up(x))))


class Bert(nn.Module):
    """Words in, what each of them may be out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.table = nn.Embedding(shape.words, shape.width)
        self.places = nn.Embedding(shape.places, shape.width)
        self.norm = nn.LayerNorm(shape.width)
        self.layers = nn.Sequential(*(Layer(shape) for _ in range(shape.layers)))
        self.last, self.norm2 = nn.Linear(shape.width, shape.width), nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.words)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        places = torch.arange(words.shape[1], device=words.device)
        x = self.layers(self.norm(self.table(words) + self.places(places)))
        return self.head(self.norm2(functional.gelu(self.last(x))))
