"""The gpu_sharing role, seen from outside."""

from __future__ import annotations

from typing import Any

WANTED = {"debian12": 2, "debian13": 7}


def test_the_first_gpu_is_cut_as_asked(host: Any) -> None:
    said = host.check_output("nvidia-smi -L")
    assert said.count("MIG ") == WANTED[host.check_output("hostname")]


def test_the_layout_is_made_again_at_boot(host: Any) -> None:
    assert host.service("aiprov-mig").is_enabled
