"""Patterns in a GPU's memory: written, read back and compared on the device itself.

Own address: every word holds its own place mixed with a seed, so that two addresses which are one
cell are seen, also after all was written. Moving inversions: a pattern, then, going over it again
in both directions, its inverse (A. van de Goor, Testing semiconductor memories, 1991). Random: as
full as operands. Bandwidth comes of the same passes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping

import torch

from . import operands
from .inject import Fault, fault_from

Say = Callable[..., None]

WORD = 8
"""Bytes."""
MOST_TOLD = 64
LEFT_BYTES, LEFT_SHARE = 1 << 30, 0.02
"""Memory that is left to the driver and to temporary values, at least; of small GPUs a share."""
BLOCK_BYTES, BLOCK_SHARE = 1 << 28, 1 / 128
"""What is gone over at a time, at most; three such blocks have to have room beside."""
_PATTERNS = (0x0000000000000000, 0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F)


@dataclass
class Found:
    """What the patterns found."""

    words: int = 0
    wrong: int = 0
    seconds: Dict[str, float] = field(default_factory=dict)
    moved: Dict[str, int] = field(default_factory=dict)


def test_memory(
    device: torch.device, seed: int, parameters: Mapping[str, Any], say: Say
) -> Dict[str, Any]:
    """Go over the memory with all patterns; what was found.

    ``parameters``: ``share`` of the free memory, or ``bytes``; ``block_bytes``; ``passes``.
    """
    free = _free(device)
    block = int(parameters.get("block_bytes", min(BLOCK_BYTES, free * BLOCK_SHARE))) // WORD
    wanted = int(parameters.get("bytes", 0)) or int(free * float(parameters.get("share", 0.95)))
    blocks = _allocated(device, wanted // WORD, block)
    found = Found(words=sum(len(one) for one in blocks))
    check = _Check(blocks=blocks, found=found, say=say, fault=fault_from(parameters))
    for number in range(int(parameters.get("passes", 1))):
        check.own_address(seed + number)
        check.random(seed + number)
        check.inversions()
    return {
        "bytes": found.words * WORD,
        "free_bytes": free,
        "share": round(found.words * WORD / free, 4) if free else 0.0,
        "faults": found.wrong,
        "seconds": {name: round(value, 6) for name, value in found.seconds.items()},
        "gbs": {
            name: round(found.moved[name] / value / 1e9, 3)
            for name, value in found.seconds.items()
            if value > 0
        },
    }


def _free(device: torch.device) -> int:
    """Bytes; of a CPU what its machine has free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with open("/proc/meminfo", encoding="ascii") as source:
        told = dict(line.split(":", 1) for line in source)
    return int(told["MemAvailable"].split()[0]) * 1024


def _allocated(device: torch.device, words: int, block: int) -> List[torch.Tensor]:
    """Blocks of so many words in all, or fewer where memory ends."""
    blocks: List[torch.Tensor] = []
    left = max(min(LEFT_BYTES, words * WORD * LEFT_SHARE), 3 * block * WORD)
    while words > 0:
        try:
            blocks.append(torch.empty(min(block, words), dtype=torch.int64, device=device))
        except torch.cuda.OutOfMemoryError:
            break
        words -= len(blocks[-1])
    if device.type == "cuda" and blocks:
        # Comparing takes memory as well: give back until there is room.
        while len(blocks) > 1 and _free(device) < left:
            blocks.pop()
            torch.cuda.empty_cache()
    return blocks


@dataclass
class _Check:
    """Blocks of memory and the patterns that are run over them."""

    blocks: List[torch.Tensor]
    found: Found
    say: Say
    fault: Fault
    step: int = 0

    def own_address(self, seed: int) -> None:
        """Write all, then read all: an alias shows where it was overwritten later."""
        mask = operands.signed(seed * 0x9E3779B97F4A7C15)
        with self._timed("own address", 2):
            for first, block in self._places():
                torch.arange(first, first + len(block), out=block)
                block.bitwise_xor_(mask)
            self._spoil()
            for first, block in self._places():
                right = torch.arange(first, first + len(block), device=block.device)
                self._compare("own address", first, block, right.bitwise_xor_(mask))

    def random(self, seed: int) -> None:
        """All bits random; made anew to compare."""
        with self._timed("random", 2):
            for first, block in self._places():
                block.copy_(operands.random_bits(seed, first, len(block), block.device))
            self._spoil()
            for first, block in self._places():
                right = operands.random_bits(seed, first, len(block), block.device)
                self._compare("random", first, block, right)

    def inversions(self) -> None:
        """Each pattern upwards, its inverse written as it is read; then downwards back again."""
        for pattern in _PATTERNS:
            value = operands.signed(pattern)
            with self._timed("inversions", 5):
                for _, block in self._places():
                    block.fill_(value)
                self._spoil()
                for first, block in self._places():
                    self._compare("inversions", first, block, value)
                    block.fill_(~value)
                self._spoil()
                for first, block in reversed(list(self._places())):
                    self._compare("inversions", first, block, ~value)
                    block.fill_(value)

    def _places(self) -> Iterator["tuple[int, torch.Tensor]"]:
        first = 0
        for block in self.blocks:
            yield first, block
            first += len(block)

    def _spoil(self) -> None:
        self.fault.spoil_memory(self.blocks[0], self.step)
        self.step += 1

    def _compare(self, name: str, first: int, block: torch.Tensor, right: Any) -> None:
        wrong = (block != right).nonzero().flatten()
        if not len(wrong):
            return
        self.found.wrong += len(wrong)
        seen = block[wrong[:MOST_TOLD]]
        wanted = right[wrong[:MOST_TOLD]] if isinstance(right, torch.Tensor) else right
        masks = (seen ^ wanted).tolist()
        self.say(
            "fault", what="memory", pattern=name, wrong=len(wrong), address=block.data_ptr(),
            words=[
                {"word": first + place, "mask": f"{mask & (1 << 64) - 1:016x}"}
                for place, mask in zip(wrong[:MOST_TOLD].tolist(), masks)
            ],
        )  # fmt: skip

    def _timed(self, name: str, times: int) -> "_Timer":
        return _Timer(self, name, times * self.found.words * WORD)


@dataclass
class _Timer:
    """Adds what a pattern took and moved."""

    check: _Check
    name: str
    moved: int
    began: float = 0.0

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        device = self.check.blocks[0].device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found, took = self.check.found, time.monotonic() - self.began
        found.seconds[self.name] = found.seconds.get(self.name, 0.0) + took
        found.moved[self.name] = found.moved.get(self.name, 0) + self.moved
