"""A diffusion UNet, of PyTorch alone: it learns which noise was added to an image of latents.

As in Denoising diffusion probabilistic models (arXiv 2006.11239, appendix B), with the width and
the four latent channels of latent diffusion (arXiv 2112.10752, table 15).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Tuple

import torch
from torch import nn
from torch.nn import functional

CHANNELS = 4
MOMENTS = 1000
"""Steps from an image to noise."""


@dataclass(frozen=True)
class Shape:
    """Channels, their multiples by level, blocks a level; attention is in the last two levels."""

    width: int
    multiples: Tuple[int, ...]
    blocks: int
    groups: int = 32


SHAPES = {
    "unet": Shape(width=320, multiples=(1, 2, 4, 4), blocks=2),
    "unet-tiny": Shape(width=8, multiples=(1, 2), blocks=1, groups=4),
}


class Block(nn.Module):
    """Two convolutions that hear of the moment, and a way around them."""

    def __init__(self, inside: int, outside: int, moment: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inside)
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.moment = nn.Linear(moment, outside)
        self.norm2 = nn.GroupNorm(groups, outside)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.around = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
        y = self.first(functional.silu(self.norm1(x)))
        y = y + self.moment(functional.silu(moment))[:, :, None, None]
        return self.around(x) + self.second(functional.silu(self.norm2(y)))


class Attention(nn.Module):
    """Every place looks at every other."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.heads = max(width // 64, 1)
        self.norm = nn.GroupNorm(groups, width)
        self.mixed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, width, height, across = x.shape
        flat = self.norm(x).flatten(2).transpose(1, 2)
        parts = self.mixed(flat).view(batch, -1, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value)
        seen = self.out(seen.transpose(1, 2).reshape(batch, -1, width))
        return x + seen.transpose(1, 2).view(batch, width, height, across)


class UNet(nn.Module):
    """Noisy latents and their moments in, the noise out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.width = shape.width
        moment, last = 4 * shape.width, len(shape.multiples) - 1
        self.moment = nn.Sequential(
            nn.Linear(shape.width, moment), nn.SiLU(), nn.Linear(moment, moment)
        )
        self.first = nn.Conv2d(CHANNELS, shape.width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inside, kept = shape.width, [shape.width]

        def attention(level: int, width: int) -> nn.Module:
            return Attention(width, shape.groups) if level >= last - 1 else nn.Identity()

        for level, multiple in enumerate(shape.multiples):
            outside = shape.width * multiple
            for _ in range(shape.blocks):
                block = Block(inside, outside, moment, shape.groups)
                self.down.append(nn.ModuleList([block, attention(level, outside)]))
                inside = outside
                kept.append(inside)
            if level < last:
                self.down.append(nn.Conv2d(inside, inside, 3, stride=2, padding=1))
                kept.append(inside)
        self.middle = nn.ModuleList(
            [
                Block(inside, inside, moment, shape.groups),
                Attention(inside, shape.groups),
                Block(inside, inside, moment, shape.groups),
            ]
        )
        for level, multiple in reversed(list(enumerate(shape.multiples))):
            outside = shape.width * multiple
            for _ in range(shape.blocks + 1):
                block = Block(inside + kept.pop(), outside, moment, shape.groups)
                self.up.append(nn.ModuleList([block, attention(level, outside)]))
                inside = outside
            if level:
                self.up.append(nn.Conv2d(inside, inside, 3, padding=1))
        self.last = nn.GroupNorm(shape.groups, inside)
        self.head = nn.Conv2d(inside, CHANNELS, 3, padding=1)

    def forward(self, x: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
        moment = self.moment(_waves(moments, self.width).to(x.dtype))
        x = self.first(x)
        kept = [x]
        for layer in self.down:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer[1](layer[0](x, moment))
            kept.append(x)
        x = self.middle[2](self.middle[1](self.middle[0](x, moment)), moment)
        for layer in self.up:
            if isinstance(layer, nn.Conv2d):
                x = layer(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
            else:
                x = layer[1](layer[0](torch.cat((x, kept.pop()), dim=1), moment))
        return self.head(functional.silu(self.last(x)))


def _waves(moments: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines of a moment, from fast to slow."""
    half = width // 2
    places = torch.arange(half, device=moments.device, dtype=torch.float32)
    angles = moments[:, None].float() * torch.exp(-math.log(10_000.0) / half * places)
    return torch.cat((angles.sin(), angles.cos()), dim=1)
