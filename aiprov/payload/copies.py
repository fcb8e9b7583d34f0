"""Copies between a host and its GPUs, within a GPU and between two: how fast, and whether right.

Every timed copy is checked: its target is cleared before and hashed after, outside of the time. By
CUDA's own clock on GPUs. Bytes that are read and written count once, but twice within one memory.
GPUs of a host may share a link to its memory (two of a DGX A100 have one of 16 lanes), so one
copies to or from the host at a time.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from statistics import median
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import torch

from . import operands
from .inject import Fault, fault_from
from .untested import NotTestedError

Say = Callable[..., None]

WORD = 8
PATHS = ("h2d", "d2h", "d2d", "p2p")
_WARM = 2
TURN_S = 10.0
"""For another GPU's copy to end: one that hangs holds up nobody for longer, and that once."""
_LOOK_S = 0.001


def copy_verified(
    device: torch.device, seed: int, parameters: Mapping[str, Any], say: Say
) -> Dict[str, Any]:
    """Copy again and again for ``seconds``; how fast. Raises ``NotTestedError``.

    ``parameters``: ``path`` (of ``PATHS``), ``bytes``, ``seconds``, ``peer`` (the other GPU's
    number, for ``p2p``).
    """
    path, words = str(parameters["path"]), int(parameters["bytes"]) // WORD
    source, target = _ends(path, device, words, parameters)
    fault = fault_from(parameters)
    source.copy_(operands.random_bits(seed, 0, words, device))
    right, wrong = _hash(source, device), 0
    rates: List[float] = []
    turns = Turns(alone=path in ("h2d", "d2h"))
    until = time.monotonic() + float(parameters["seconds"])
    number = -_WARM
    while number < 3 or time.monotonic() < until:
        target.zero_()
        with turns.taken():
            seconds = _timed(source, target, device)
            fault.misbehave(number)
            _spoil(fault, target, number)
            seen = _hash(target, device)  # what lies on the host is copied for it
        if seen != right:
            wrong += 1
            bad = (target.to(device) != source.to(device)).nonzero().flatten()
            say("fault", what="copy", path=path, number=number, wrong=len(bad),
                words=bad[:64].tolist())  # fmt: skip
        if number >= 0 and seconds > 0:
            rates.append(words * WORD * (2 if path == "d2d" else 1) / seconds / 1e9)
        number += 1
    return {
        "path": path,
        "bytes": words * WORD,
        "copies": len(rates),
        "verified": len(rates),
        "faults": wrong,
        "gbs": round(median(rates), 4) if rates else None,
        "slowest_gbs": round(min(rates), 4) if rates else None,
    }


class Turns:
    """One copy at a time among all processes of the payload on a host, if ``alone``.

    The lock is on this file, which all of them have: nothing is left behind.
    """

    def __init__(self, alone: bool, path: str = __file__) -> None:
        self._alone, self._path = alone, path

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While it is this one's turn. Without one where it does not come in ``TURN_S``."""
        handle = os.open(self._path, os.O_RDONLY) if self._alone else None
        try:
            if handle is not None:
                self._alone = _locked(handle)
            yield
        finally:
            if handle is not None:
                os.close(handle)


def _locked(handle: int) -> bool:
    until = time.monotonic() + TURN_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_S)  # flock has no time limit
        else:
            return True


def _ends(
    path: str, device: torch.device, words: int, parameters: Mapping[str, Any]
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Where is copied from and to."""
    host = torch.device("cpu")
    if path == "p2p":
        if device.type != "cuda":
            raise NotTestedError("p2p: only GPUs have peers")
        peer = torch.device("cuda", int(parameters["peer"]))
        if not torch.cuda.can_device_access_peer(device, peer):
            raise NotTestedError(f"p2p: {device} cannot reach the memory of {peer}")
        return _words(words, device), _words(words, peer)
    if path == "d2d":
        return _words(words, device), _words(words, device)
    if path == "h2d":
        return _words(words, host, pinned=device), _words(words, device)
    if path == "d2h":
        return _words(words, device), _words(words, host, pinned=device)
    raise NotTestedError(f"there is no path {path}; there are {', '.join(PATHS)}")


def _words(count: int, where: torch.device, pinned: "torch.device | None" = None) -> torch.Tensor:
    pin = pinned is not None and pinned.type == "cuda"
    return torch.empty(count, dtype=torch.int64, device=where, pin_memory=pin)


def _timed(source: torch.Tensor, target: torch.Tensor, device: torch.device) -> float:
    """Seconds of one copy."""
    if device.type != "cuda":
        began = time.perf_counter()
        target.copy_(source)
        return time.perf_counter() - began
    for one in {source.device, target.device} - {torch.device("cpu")}:
        torch.cuda.synchronize(one)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    target.copy_(source, non_blocking=True)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def _hash(words: torch.Tensor, device: torch.device) -> int:
    """Of all words by their places, made on the GPU; what lies elsewhere is brought there."""
    total, step = 0, operands.MOST_AT_ONCE
    for first in range(0, len(words), step):
        block = words[first : first + step].to(device)
        total += int((block * operands.weights(first + 1, len(block), device)).sum())
    return total & (1 << 64) - 1


def _spoil(fault: Fault, target: torch.Tensor, number: int) -> None:
    if fault.kind == "memory bit" and fault.hits(number):
        target[fault.row] ^= fault.mask
