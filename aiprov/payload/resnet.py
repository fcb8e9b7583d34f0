"""ResNet-50, of PyTorch alone (arXiv 1512.03385, table 1; the stride is in the 3x3 convolution).

Two parts are made of others, because their own gradients on a GPU add in no fixed order: the pool
after the first convolution is a maximum of shifted images, and the last one is a mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

import torch
from torch import nn
from torch.nn import functional

CLASSES = 1000
EXPANSION = 4


@dataclass(frozen=True)
class Shape:
    """Blocks of each of the stages, and channels of the first."""

    blocks: Tuple[int, ...]
    width: int


SHAPES = {
    "resnet50": Shape(blocks=(3, 4, 6, 3), width=64),
    "resnet-tiny": Shape(blocks=(1, 1), width=8),
}


def _convolution(inside: int, outside: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False)


class Bottleneck(nn.Module):
    """Three convolutions, and a way around them."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = width * EXPANSION
        self.reduce, self.norm1 = _convolution(inside, width, 1), nn.BatchNorm2d(width)
        self.look, self.norm2 = _convolution(width, width, 3, stride), nn.BatchNorm2d(width)
        self.widen, self.norm3 = _convolution(width, outside, 1), nn.BatchNorm2d(outside)
        self.around = nn.Sequential()
        if stride != 1 or inside != outside:
            self.around = nn.Sequential(
                _convolution(inside, outside, 1, stride), nn.BatchNorm2d(outside)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(self.reduce(x)))
        y = functional.relu(self.norm2(self.look(y)))
        return functional.relu(self.norm3(self.widen(y)) + self.around(x))


class ResNet(nn.Module):
    """Images in, how much they look like each class out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.stem, self.norm = _convolution(3, shape.width, 7, 2), nn.BatchNorm2d(shape.width)
        layers: List[nn.Module] = []
        inside = shape.width
        for stage, count in enumerate(shape.blocks):
            width = shape.width << stage
            for block in range(count):
                layers.append(Bottleneck(inside, width, 2 if stage and not block else 1))
                inside = width * EXPANSION
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(inside, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = _pooled(functional.relu(self.norm(self.stem(images))))
        return self.head(self.layers(x).mean(dim=(2, 3)))


def _pooled(x: torch.Tensor) -> torch.Tensor:
    """The greatest of 3x3 neighbours, every second place. ``x`` has no negative numbers."""
    height, width = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
    padded = functional.pad(x, (1, 2, 1, 2))
    made = None
    for row in range(3):
        for column in range(3):
            shifted = padded[:, :, row : row + 2 * height : 2, column : column + 2 * width : 2]
            made = shifted if made is None else torch.maximum(made, shifted)
    return made
