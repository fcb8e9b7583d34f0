"""Hosts that meet in pairs on the loopback, and nothing else is tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiprov.checks.campaign import Campaign, Target
from aiprov.checks.model import Check, Subject
from aiprov.checks.validation import Validation
from aiprov.validation.pairing import WHAT
from tests.processes.validation.site import Site, sited

LOOPBACK = {"gpu_validation_pair_address": "127.0.0.1", "gpu_validation_pair_interface": "lo"}


def nothing_else(name: str, targets: Sequence[Target], budget_s: float, *, seed: int) -> Campaign:
    """A campaign without tests of single devices."""
    document = {"format_version": "1.0", "campaign": name, "stagger_s": 0.0, "self_test": False,
                "cells": []}  # fmt: skip
    plans: dict[str, Any] = {one.host: {**document} for one in targets}
    return Campaign(
        name=name, budget_s=budget_s, seconds=budget_s, plans=plans, planned=(),
        limits=dict.fromkeys(plans, 60.0), by_fault={"network adapter": 0.0},
    )  # fmt: skip


def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Hosts of two GPUs, for which processors stand, on the loopback."""
    yield from sited(
        monkeypatch, Site(tmp_path, LOOPBACK, budget_s=600.0, device="cpu"), nothing_else
    )


def of_pairs(found: Validation) -> dict[Subject, Check]:
    return {check.subject: check for check in found.checks if check.name == WHAT}
